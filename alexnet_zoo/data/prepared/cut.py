"""Cuts crops out of prepared images, and as a small program does so into memory that it shares with a loader.

cutters.py runs this file by its path, in several processes: a process then starts in a tenth of a second, with numpy
and Pillow alone. Importing it as part of the package would bring torch into every one of them.
"""

import io
import json
import mmap
import sys

import numpy as np
from PIL import Image

OFFSET = np.dtype("<i8")


class Jpegs:
    """Decodes the JPEGs of a file one at a time as they are asked for: [row, rows, columns], as of an array."""

    def __init__(self, path, images: int):
        end = OFFSET.itemsize * (images + 1)
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.offsets = np.frombuffer(self.bytes[-end:], OFFSET) if len(self.bytes) >= end else np.zeros(0, OFFSET)

    def __getitem__(self, key: tuple) -> np.ndarray:
        row, *part = key
        start, end = self.offsets[row : row + 2].tolist()
        with Image.open(io.BytesIO(self.bytes[start:end])) as image:
            return np.asarray(image)[tuple(part)]


def cut(crop: np.ndarray, images, row: int, top: int, left: int) -> None:
    """Fill a crop (s, s, 3) with what lies at (top, left) of an image; images, a shard's."""
    crop[...] = images[row, top : top + crop.shape[0], left : left + crop.shape[1]]


def opened(path: str, images: int, encoding: str):
    """Open a shard that the loader has found whole."""
    return Jpegs(path, images) if encoding == "jpeg" else np.load(path, mmap_mode="r").view(np.ndarray)


def main() -> None:
    """Answer tasks until stdin is closed, with an empty line each, or with what is wrong.

    The first line of stdin is JSON: the shards, and the memory to fill. Then each task is whole numbers of 8 bytes: the
    first place in the memory, how many crops, and for each of them its shard, row, top and left.
    """
    told = json.loads(sys.stdin.buffer.readline())
    shards = [opened(*shard) for shard in told["shards"]]
    size, memory = told["crop_size"], mmap.mmap(told["file"], 0)
    places = np.frombuffer(memory, np.uint8).reshape(-1, size, size, 3)
    while head := sys.stdin.buffer.read(16):
        first, count = np.frombuffer(head, np.int64).tolist()
        task = np.frombuffer(sys.stdin.buffer.read(32 * count), np.int64).reshape(count, 4).tolist()
        problem = ""
        try:
            for crop, (shard, row, top, left) in zip(places[first : first + count], task):
                cut(crop, shards[shard], row, top, left)
        except Exception as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
        print(problem, flush=True)


if __name__ == "__main__":
    main()
