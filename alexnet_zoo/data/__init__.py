"""Turns photographs (sources) into 256x256 arrays (prepared), and those into batches."""
