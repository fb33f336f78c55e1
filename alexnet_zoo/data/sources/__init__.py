"""Finds photographs: which files make up which split, and the class of each."""
