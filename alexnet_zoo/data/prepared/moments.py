"""Computes the mean image (section 2) and the colour covariance (section 4.1) of a training set from its shards."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement

import numpy as np

from alexnet_zoo.cores import blas_on_one_thread
from alexnet_zoo.progress import Progress

UINT16_IMAGES = 257  # as many as 16 bits can sum, even if all pixels are 255


def moments(shards: list, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean image, float32 (S, S, 3) in 0..255, and the covariance of RGB, float64 (3, 3) in [0, 1].

    Args: shards, arrays uint8 (n, S, S, 3) or what shards.py opens.

    Every sum is a whole number that its type holds exactly, so neither the order of the shards nor the number of
    threads nor an interruption changes a bit of the result.
    """
    images, total, products = 0, np.zeros((), np.int64), np.zeros((), np.int64)
    counts = [len(shard) for shard in shards]
    progress = Progress(sum(counts), "mean and colour")
    with progress, blas_on_one_thread(), ThreadPoolExecutor(threads) as pool:
        for count, (pixel_sum, product_sum) in zip(counts, pool.map(_sums, shards), strict=True):
            images, total, products = images + count, total + pixel_sum, products + product_sum
            progress.update(count)
    mean = (total / images).astype(np.float32)
    pixels = images * mean.shape[0] * mean.shape[1]
    colour = total.sum(axis=(0, 1)) / pixels
    covariance = products / pixels - np.outer(colour, colour)
    return mean, covariance / 255**2


def _sums(images) -> tuple[np.ndarray, np.ndarray]:
    """Sum a shard's images, int64 (S, S, 3), and r*r, r*g ... over all its pixels, int64 (3, 3)."""
    pixel_sum = np.zeros(images.shape[1:], np.int64)
    products = np.zeros((3, 3), np.int64)
    some_sum = np.zeros(images.shape[1:], np.uint16)
    planes = np.empty((3, images.shape[1] * images.shape[2]))
    for number, image in enumerate(images, 1):  # one at a time stays in the cache
        some_sum += image
        if number % UINT16_IMAGES == 0 or number == len(images):
            pixel_sum += some_sum
            some_sum[...] = 0
        for channel, plane in enumerate(planes):
            plane[...] = image[..., channel].reshape(-1)
        for a, b in combinations_with_replacement(range(3), 2):
            products[a, b] += int(planes[a] @ planes[b])  # whole numbers below 2^53: exact in float64, in any order
    return pixel_sum, np.triu(products) + np.triu(products, 1).T


def principal_components(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (3,), falling, and eigenvectors (3, 3) as columns, each with its largest entry positive."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), range(3)]
    return values, vectors * np.sign(largest)
