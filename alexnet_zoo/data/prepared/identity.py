"""What a split is, where that can be verified: it decides which rows of the paper's tables a result may fill."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

# The 1,000 wnids of ILSVRC-2012, sorted, joined by newlines.
WNIDS_2012 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
# The label (index into the sorted wnids) of ILSVRC2012_val_00000001 .. 00050000, joined by newlines.
VAL_LABELS_2012 = "98a8901d9451abefb286c3a7f2ac88321a17d691fa44809acbbf1e7f77187a7d"

CIFAR_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
FALL_2009_SYNSETS = 10_184
FALL_2009_IMAGES = 8_900_000, 50_000  # section 6 says 8.9 million: so many, give or take
WNID = re.compile(r"n\d{8}")


def identify(split: str, classes: list[str], names: list[str], labels: Iterable[int], unreadable: int) -> str:
    """A verified description such as "ILSVRC-2012 val, 50,000 images, complete", or "" for anything else.

    Args: names, the source name CLASS/FILE of every image; labels, their classes; unreadable, how many were left out.
    """
    if unreadable:
        return ""
    stems = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in names]
    known = _ilsvrc2012 if _sha256(classes) == WNIDS_2012 else _KNOWN.get(len(classes))
    name = known(split, classes, stems, [int(label) for label in labels]) if known else ""
    return f"{name} {split}, {len(names):,} images, complete" if name else ""


def _ilsvrc2012(split: str, classes: list[str], stems: list[str], labels: list[int]) -> str:
    if split == "train":
        right = len(stems) == 1_281_167 and _named_after_class(classes, stems, labels)
    elif split == "val":
        truth = _by_number("ILSVRC2012_val", 50_000, stems, labels)
        right = truth is not None and _sha256(truth) == VAL_LABELS_2012
    else:
        right = split == "test" and _by_number("ILSVRC2012_test", 100_000, stems, labels) is not None
    return "ILSVRC-2012" if right else ""


def _ilsvrc2010(split: str, classes: list[str], stems: list[str], labels: list[int]) -> str:
    """By counts and numbers: 2010's wnids and ground truth are on no list that this could be held against."""
    if not all(map(WNID.fullmatch, classes)):
        return ""
    if split == "train":
        right = len(stems) == 1_261_406 and _named_after_class(classes, stems, labels)
    else:
        images = {"val": 50_000, "test": 150_000}.get(split, 0)
        truth = _by_number(f"ILSVRC2010_{split}", images, stems, labels)
        right = truth is not None and set(Counter(truth).values()) == {images // len(classes)}
    return "ILSVRC-2010" if right else ""


def _fall2009(split: str, classes: list[str], stems: list[str], labels: list[int]) -> str:
    """By counts: the paper names no list. Each split is the half that a hash of its names makes (sources/fall.py)."""
    images, tolerance = FALL_2009_IMAGES
    half = abs(2 * len(stems) - images) <= tolerance and split in ("train", "test")
    right = half and all(map(WNID.fullmatch, classes)) and _named_after_class(classes, stems, labels)
    return "ImageNet Fall 2009" if right else ""


def _cifar10(split: str, classes: list[str], stems: list[str], labels: list[int]) -> str:
    """By the names that sources/cifar10.py gives to the images, or by those that the tree of JPEGs has."""
    images = {"train": 50_000, "test": 10_000}.get(split)
    if classes != CIFAR_CLASSES.split() or len(stems) != images:
        return ""
    if set(Counter(labels).values()) != {images // 10}:
        return ""
    if stems == [f"{split}_{number:05d}" for number in range(images)]:
        return "CIFAR-10"
    numbered = sorted(zip(labels, stems, strict=True))
    expected = [(label, f"{number:04d}") for label in range(10) for number in range(images // 10)]
    return "CIFAR-10 as JPEG" if numbered == expected else ""  # not the same pixels: no row of the tables


_KNOWN = {1000: _ilsvrc2010, FALL_2009_SYNSETS: _fall2009, 10: _cifar10}  # by the number of classes


def _by_number(stem: str, images: int, stems: list[str], labels: list[int]) -> list[int] | None:
    """The labels of STEM_00000001, STEM_00000002 ...; None unless all `images` numbers are there, once each."""
    if len(stems) != images:
        return None
    numbers = [re.fullmatch(rf"{stem}_(\d{{8}})", name) for name in stems]
    if not all(numbers):
        return None
    truth = {int(number[1]): label for number, label in zip(numbers, labels, strict=True)}
    return [truth[number] for number in range(1, images + 1)] if set(truth) == set(range(1, images + 1)) else None


def _named_after_class(classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """All different, and each named after its class: n01440764_10026."""
    return len(set(stems)) == len(stems) and all(
        stem.startswith(classes[label] + "_") for stem, label in zip(stems, labels, strict=True)
    )


def _sha256(lines: Iterable) -> str:
    return hashlib.sha256("\n".join(map(str, lines)).encode("utf-8", "surrogateescape")).hexdigest()
