"""Writes and reads the files that hold a split's images.

"npy": uint8 (images, S, S, 3), memory-mapped. "jpeg": JPEGs of S x S pixels one after another, then their offsets; a
tenth of the disk, and something to decode at every use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from alexnet_zoo.data.prepared.cut import OFFSET, Jpegs
from alexnet_zoo.errors import UserError

ENCODINGS = {"npy": ".npy", "jpeg": ".jpegs"}  # and what their files' names end with
JPEG_SLOT = 4096  # bytes, beyond those of its pixels, that a JPEG may take


def shard_name(split: str, number: int, encoding: str = "npy") -> str:
    return f"{split}-{number:05d}{ENCODINGS[encoding]}"


def expected_bytes(images: int, image_size: int, encoding: str) -> int:
    """Say how much disk so many images take; for JPEGs an estimate, measured on ImageNet's photographs."""
    pixels = images * image_size**2 * 3
    return pixels if encoding == "npy" else int(pixels * 0.11) + images * 1024


def begin_shard(partial: Path, images: int, image_size: int, encoding: str) -> tuple[int, int]:
    """Make a file into which decoders write images in any order.

    Returns where the first image starts, and the bytes from one to the next.

    For JPEGs the file is sparse: each has more room than it needs, and takes only what it fills.
    """
    with open(partial, "wb") as out:
        offset, stride = _write_header(out, images, image_size, encoding)
        out.truncate(offset + images * stride)
    return offset, stride


def end_shard(partial: Path, path: Path, image_size: int, encoding: str, sizes: list[int], left_out: set[int]) -> None:
    """Turn what the decoders wrote into a shard at `path`, without the rows left_out; sizes, the bytes of each row."""
    if encoding == "npy" and not left_out:
        os.replace(partial, path)
        return
    kept = [row for row in range(len(sizes)) if row not in left_out]
    with open(partial, "rb") as written, open(path, "wb") as out:
        offset, stride = _write_header(out, len(kept), image_size, encoding)
        for row in kept:
            written.seek(offset + row * stride)
            out.write(written.read(sizes[row]))
        if encoding == "jpeg":
            out.write(np.cumsum([0] + [sizes[row] for row in kept]).astype(OFFSET).tobytes())
    partial.unlink()


def open_shard(folder: Path, shard: dict, image_size: int, encoding: str) -> "np.ndarray | JpegShard":
    """Open images to be read as an array: shard[row, top:bottom, left:right]; raise UserError for a file cut short."""
    path = folder / shard["file"]
    if encoding == "jpeg":
        return JpegShard(path, shard["images"], image_size)
    images = load_array(path, (shard["images"], image_size, image_size, 3), np.uint8, mmap_mode="r")
    return images.view(np.ndarray)  # the same memory; slicing np.memmap itself costs several microseconds more


class JpegShard(Jpegs):
    """Opens a file of JPEGs, and finds it whole; has len(), [row] and [row, rows, columns] as an array has."""

    def __init__(self, path: Path, images: int, image_size: int):
        self.path, self.shape = path, (images, image_size, image_size, 3)
        with _read_whole(path):
            super().__init__(path, images)
        whole = len(self.offsets) == images + 1 and self.offsets[0] == 0 and (np.diff(self.offsets) > 0).all()
        if not whole or self.offsets[-1] + self.offsets.nbytes != len(self.bytes):
            raise UserError(f"{path}: is cut short or damaged (its offsets do not fit); prepare the data again")

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, key) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        if not 0 <= key[0] < len(self):
            raise IndexError(f"{self.path}: image {key[0]} of {len(self)}")
        return super().__getitem__(key)


def load_array(
    path: Path, shape: tuple[int, ...], dtype: type, mmap_mode: Literal["r", "c"] | None = None
) -> np.ndarray:
    """Load a .npy file of exactly this shape and type; raise UserError where it is missing, cut short or other."""
    with _read_whole(path):
        array = np.load(path, mmap_mode=mmap_mode)
    if array.shape != shape or array.dtype != dtype:
        wanted = f"{np.dtype(dtype)} {shape}"
        raise UserError(f"{path}: holds {array.dtype} {array.shape}, not {wanted}; prepare the data again")
    return array


def _write_header(out, images: int, image_size: int, encoding: str) -> tuple[int, int]:
    """Write what stands before the images, for JPEGs nothing.

    Returns where the first image starts, and the bytes from one to the next while they are written in any order.
    """
    if encoding == "jpeg":
        return 0, image_size**2 * 3 + JPEG_SLOT
    header = {"descr": "|u1", "fortran_order": False, "shape": (images, image_size, image_size, 3)}
    np.lib.format.write_array_header_1_0(out, header)
    return out.tell(), image_size**2 * 3


@contextmanager
def _read_whole(path: Path) -> Iterator[None]:
    """Turn what the block raises for a missing or damaged file into a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; prepare the data again") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: is cut short or damaged ({error}); prepare the data again") from None
