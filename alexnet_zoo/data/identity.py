"""What a split is, where that can be verified: it decides which rows of the paper's tables a result may fill."""

import hashlib
import re
from collections.abc import Iterable

# The 1,000 wnids of ILSVRC-2012, sorted, joined by newlines.
WNIDS_2012 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
# The label (index into the sorted wnids) of ILSVRC2012_val_00000001 .. 00050000, joined by newlines.
VAL_LABELS_2012 = "98a8901d9451abefb286c3a7f2ac88321a17d691fa44809acbbf1e7f77187a7d"


def identify(split: str, classes: list[str], names: list[str], labels: Iterable[int], unreadable: int) -> str:
    """A verified description such as "ILSVRC-2012 val, 50,000 images, complete", or "" for anything else.

    Args: names, the source name CLASS/FILE of every image; labels, their classes; unreadable, how many were left out.
    """
    if unreadable or _sha256(classes) != WNIDS_2012:
        return ""
    stems = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in names]
    checks = {"train": _is_train_2012, "val": _is_val_2012}
    if split in checks and checks[split](classes, stems, [int(label) for label in labels]):
        return f"ILSVRC-2012 {split}, {len(names):,} images, complete"
    return ""


def _is_val_2012(classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """All 50,000 numbers once, each with the label of the published ground truth (which has 50 of each class)."""
    if len(stems) != 50_000:
        return False
    numbers = [re.fullmatch(r"ILSVRC2012_val_(\d{8})", stem) for stem in stems]
    if not all(numbers):
        return False
    truth = {int(number[1]): label for number, label in zip(numbers, labels, strict=True)}
    if sorted(truth) != list(range(1, 50_001)):
        return False
    return _sha256(truth[number] for number in sorted(truth)) == VAL_LABELS_2012


def _is_train_2012(classes: list[str], stems: list[str], labels: list[int]) -> bool:
    """1,281,167 different images, each named after its class: n01440764_10026."""
    if len(stems) != 1_281_167 or len(set(stems)) != len(stems):
        return False
    return all(stem.startswith(classes[label] + "_") for stem, label in zip(stems, labels, strict=True))


def _sha256(lines: Iterable) -> str:
    return hashlib.sha256("\n".join(map(str, lines)).encode("utf-8", "surrogateescape")).hexdigest()
