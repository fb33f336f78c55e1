"""Says what a split is, where that can be verified; this decides which rows of the paper's tables it may fill."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from alexnet_zoo.data.published import CIFAR_10, CIFAR_10_CLASSES, FALL_2009, FALL_2011, ILSVRC_2010, ILSVRC_2012

# The 1,000 wnids of ILSVRC-2012, sorted, joined by newlines.
WNIDS_2012 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
# The label (index into the sorted wnids) of ILSVRC2012_val_00000001 .. 00050000, joined by newlines.
VAL_LABELS_2012 = "98a8901d9451abefb286c3a7f2ac88321a17d691fa44809acbbf1e7f77187a7d"
WNID = re.compile(r"n\d{8}")


def identify(split: str, classes: list[str], names: list[str], labels: Iterable[int], unreadable: int) -> str:
    """Return a verified description such as "ILSVRC-2012 val, 50,000 images, complete", or "" for anything else.

    A few unreadable photographs are counted: "4,449,999 images, complete but for 1 unreadable" (PublishedSet.may_lack).
    Args: names, the source name CLASS/FILE of every image; labels, their classes; unreadable, how many were left out.
    """
    fitting = [check for check in _CHECKS if check[0].fits(split, len(names) + unreadable, len(classes))]
    fitting = [check for check in fitting if check[0].may_lack(split, unreadable)]
    if not fitting:
        return ""
    stems = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in names]
    labels = [int(label) for label in labels]
    lacking = f" but for {unreadable:,} unreadable" if unreadable else ""
    for published, suffix, verify in fitting:
        if verify(split, classes, stems, labels):
            return f"{published.name}{suffix} {split}, {len(names):,} images, complete{lacking}"
    return ""


def _ilsvrc2012(split: str, classes: list[str], stems: list[str], labels: list[int]) -> bool:
    if _sha256(classes) != WNIDS_2012:
        return False
    if split == "train":
        return _named_after_class(classes, stems, labels)
    truth = _by_number(f"ILSVRC2012_{split}", stems, labels)
    return truth is not None and (split == "test" or _sha256(truth) == VAL_LABELS_2012)


def _ilsvrc2010(split: str, classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """Check names and numbers; there is no list of 2010's wnids and ground truth to compare with."""
    if not all(map(WNID.fullmatch, classes)) or _sha256(classes) == WNIDS_2012:
        return False
    if split == "train":
        return _named_after_class(classes, stems, labels)
    truth = _by_number(f"ILSVRC2010_{split}", stems, labels)
    return truth is not None and _equally_many(classes, truth)


def _fall(split: str, classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """Check names, since there is no list. A hash of the names makes the parts (sources/fall.py)."""
    return all(map(WNID.fullmatch, classes)) and _named_after_class(classes, stems, labels)


def _cifar10(split: str, classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """Check the names that sources/cifar10.py gives to the images of the archive, in its order."""
    in_order = stems == [f"{split}_{number:05d}" for number in range(len(stems))]
    return in_order and classes == CIFAR_10_CLASSES and _equally_many(classes, labels)


def _cifar10_as_jpeg(split: str, classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """Check the names that the tree of JPEGs has; its pixels are not the archive's, and fill no row of the tables."""
    expected = [(label, f"{number:04d}") for label in range(10) for number in range(len(stems) // 10)]
    return classes == CIFAR_10_CLASSES and sorted(zip(labels, stems, strict=True)) == expected


_CHECKS = (
    (ILSVRC_2012, "", _ilsvrc2012),
    (ILSVRC_2010, "", _ilsvrc2010),
    (FALL_2009, "", _fall),
    (FALL_2011, "", _fall),
    (CIFAR_10, "", _cifar10),
    (CIFAR_10, " as JPEG", _cifar10_as_jpeg),
)


def _by_number(stem: str, stems: list[str], labels: list[int]) -> list[int] | None:
    """Return the labels of STEM_00000001, STEM_00000002 ...; None unless every number is there once."""
    numbers = [re.fullmatch(rf"{stem}_(\d{{8}})", name) for name in stems]
    if not all(numbers):
        return None
    truth = {int(number[1]): label for number, label in zip(numbers, labels, strict=True)}
    return [truth[n] for n in range(1, len(stems) + 1)] if set(truth) == set(range(1, len(stems) + 1)) else None


def _named_after_class(classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """Say whether all names differ, and each begins with its class: n01440764_10026."""
    return len(set(stems)) == len(stems) and all(
        stem.startswith(classes[label] + "_") for stem, label in zip(stems, labels, strict=True)
    )


def _equally_many(classes: list[str], labels: list[int]) -> bool:
    return set(Counter(labels).values()) == {len(labels) // len(classes)}


def _sha256(lines: Iterable) -> str:
    return hashlib.sha256("\n".join(map(str, lines)).encode("utf-8", "surrogateescape")).hexdigest()
