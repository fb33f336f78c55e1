"""Photographs -> 256x256 arrays (prepare, digits) -> crops (dataset) -> batches (augment)."""
