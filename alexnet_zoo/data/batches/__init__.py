"""Batches: crops, mirror images, mean and colour, gathered while the device computes."""
