"""Where photographs come from: which files make up which split, and the class of each."""
