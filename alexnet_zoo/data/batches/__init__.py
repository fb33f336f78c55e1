"""Makes batches: crops, mirror images, mean and colour, gathered while the device computes."""
