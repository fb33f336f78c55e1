"""Photographs (sources) -> 256x256 arrays (prepared) -> batches."""
