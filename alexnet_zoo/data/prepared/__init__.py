"""The prepared folder: 256x256 arrays made from photographs once, and read by everything else."""
