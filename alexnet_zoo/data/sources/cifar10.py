"""Reads CIFAR-10 as distributed: cifar-10-python.tar.gz or cifar-10-binary.tar.gz, 60,000 images of 32x32 pixels.

The first is made of pickles. Their instructions are read, and none is carried out.
"""

import pickletools
from pathlib import Path

import numpy as np

from alexnet_zoo.data.published import CIFAR_10
from alexnet_zoo.data.published import CIFAR_10_CLASSES as CLASSES
from alexnet_zoo.data.sources.archives import unpacked
from alexnet_zoo.data.sources.source import Listing, Source
from alexnet_zoo.errors import UserError

ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
BATCH, SIDE = 10_000, 32  # images in a file
PIXELS = 3 * SIDE * SIDE
HEADER = f"P6 {SIDE} {SIDE} 255\n".encode()  # makes a PPM file of raw pixels


def cifar10(path: Path, batch: int = BATCH) -> Source:
    """List train (50,000) and test (10,000); raise UserError where the archive is incomplete or damaged."""
    names, contents = unpacked(path)
    files = {Path(name).stem: content for name, content in zip(names, contents, strict=True)}
    parts = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    if missing := [file for split in parts.values() for file in split if file not in files]:
        raise UserError(f"{path}: {6 - len(missing)} of its 6 files found; missing: {', '.join(missing)}")
    read = _binary if "binary" in path.name else _pickled
    splits = {}
    for split, stems in parts.items():
        labels, images = [], []
        for stem in stems:
            found_labels, pixels = read(files[stem], batch, f"{path}: {stem}")
            if any(label >= len(CLASSES) for label in found_labels):
                raise UserError(f"{path}: {stem} has labels outside the {len(CLASSES)} classes")
            labels += found_labels
            planes = np.frombuffer(pixels, np.uint8).reshape(-1, 3, SIDE, SIDE)
            images += [HEADER + image.tobytes() for image in planes.transpose(0, 2, 3, 1)]
        names = [f"{CLASSES[label]}/{split}_{number:05d}" for number, label in enumerate(labels)]
        splits[split] = Listing(names, labels, images)
    return Source(CIFAR_10.name, CLASSES, splits)


def _binary(content: bytes, batch: int, what: str) -> tuple[list[int], bytes]:
    """Read images of one byte of label and 3,072 bytes of pixels."""
    if len(content) != batch * (1 + PIXELS):
        raise UserError(f"{what}: {len(content):,} bytes found, {batch * (1 + PIXELS):,} expected")
    records = np.frombuffer(content, np.uint8).reshape(batch, 1 + PIXELS)
    return records[:, 0].tolist(), records[:, 1:].tobytes()


def _pickled(content: bytes, batch: int, what: str) -> tuple[list[int], bytes]:
    """Read a pickled dict: the numbers behind the text "labels", and the string that is as long as the pixels."""
    labels, pixels, behind = [], None, ""
    try:
        for operation, argument, _ in pickletools.genops(content):
            if isinstance(argument, bytes):
                argument = argument.decode("latin-1")  # pickletools itself does so to Python 2's strings
            if isinstance(argument, str):
                behind = argument
                if len(argument) == batch * PIXELS:
                    pixels = argument.encode("latin-1")
            elif behind == "labels" and operation.name in ("BININT", "BININT1", "BININT2"):
                labels.append(argument)
    except Exception as error:  # pickletools has no exception of its own
        raise UserError(f"{what}: cannot be read ({error})") from None
    if pixels is None:
        raise UserError(f"{what}: holds no {batch:,} images of {SIDE}x{SIDE} pixels")
    if len(labels) != batch:
        raise UserError(f"{what}: {len(labels):,} labels found, {batch:,} expected")
    return labels, pixels
