"""Prepares the embedded data: scikit-learn's 1,797 handwritten digits, as if they were photographs."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_zoo.data.prepared.dataset import Prepared, open_prepared
from alexnet_zoo.data.prepared.shards import shard_name
from alexnet_zoo.data.prepared.store import Split, Store
from alexnet_zoo.files import sha256_of, written_whole
from alexnet_zoo.progress import stage

EVERY = 5  # each fifth image of a digit, in the order of the file, is for testing


def prepare_digits(out: Path, image_size: int = 128) -> Prepared:
    """Prepare the digits as "digits": 8x8 grey values 0..16 to RGB 0..255, scaled up to image_size.

    Split once and for all: of each digit's images, in load_digits' order, numbers 0, 5, 10, ... are "test" (364
    images), the others "train" (1,433). Raises UserError where `out` holds other data; a no-op when done.
    """
    from sklearn.datasets import load_digits  # here, since it takes a second to import

    digits = load_digits()
    source_sha256 = hashlib.sha256(digits.images.tobytes() + digits.target.astype(np.int64).tobytes()).hexdigest()
    store = Store(Path(out), source_sha256, image_size)
    if not store.finished:
        with stage("preparing the digits"):
            test = in_test(digits.target)
            splits = {
                "train": _write(store, "train", digits, np.flatnonzero(~test)),
                "test": _write(store, "test", digits, np.flatnonzero(test)),
            }
            store.finish("digits", [str(digit) for digit in range(10)], splits, threads=1)
    return open_prepared(out)


def in_test(target: np.ndarray) -> np.ndarray:
    """Say which images are for testing, bool: each fifth of each digit."""
    test = np.zeros(len(target), bool)
    for digit in np.unique(target):
        test[np.flatnonzero(target == digit)[::EVERY]] = True
    return test


def _write(store: Store, split: str, digits, indices: np.ndarray) -> Split:
    file = shard_name(split, 0)
    images = np.stack([_enlarge(digits.images[index], store.image_size) for index in indices])
    with written_whole(store.folder / file) as path, open(path, "wb") as out:
        np.save(out, images)
    shard = {"file": file, "images": len(images), "sha256": sha256_of(store.folder / file)}
    names = [f"{digits.target[index]}/{index:04d}" for index in indices]
    return Split(digits.target[indices].tolist(), names, [shard])


def _enlarge(image: np.ndarray, image_size: int) -> np.ndarray:
    """Scale (8, 8), 0..16, up to uint8 (image_size, image_size, 3), 0..255."""
    grey = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
    large = grey.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(large.convert("RGB"))
