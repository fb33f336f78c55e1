"""Writes and reads the prepared folder: 256x256 arrays, made from photographs once, read by everything else."""
