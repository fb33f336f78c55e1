"""Finds photographs: which files make up which split, and the class of each.

This file knows trees of class folders; archives.py, ilsvrc.py, fall.py, cifar10.py and named.py know other sources.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from alexnet_zoo.errors import UserError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}
SPLITS = ("train", "val", "test")
NO_LABEL = -1  # stands for a class that is kept back, as in ILSVRC-2012's test set

Tree = dict[str, list[str]]  # {class: [CLASS/FILE, ...]}


@dataclass
class Listing:
    """Lists the photographs of one split, in the order in which they are prepared; three sequences of equal length."""

    names: list[str]  # CLASS/FILE: the same wherever the tree lies
    labels: list[int]  # indices into Source.classes; all NO_LABEL where they are not known
    files: Sequence  # what picture.read takes: a path, [archive, first byte, bytes], or the encoded image itself


@dataclass
class Source:
    """Lists a set of photographs: classes sorted by name (a label is an index into them), splits from SPLITS."""

    name: str
    classes: list[str]
    splits: dict[str, Listing]
    devkit_ids: list[int] | None = None  # ILSVRC's number of each class, where its kit came with the photographs

    def sha256(self) -> str:
        """Sum up the classes and every split's names: equal for the same photographs in the same order, anywhere."""
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogateescape"))
        for split, listing in self.splits.items():
            digest.update("\n".join(["", split, *listing.names]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def only(self, splits: Sequence[str]) -> "Source":
        """Return the source with some of its splits; raise UserError for one that it lacks."""
        if lacking := [split for split in splits if split not in self.splits]:
            raise UserError(f"{self.name}: has no split {lacking[0]!r}; it has {', '.join(self.splits)}", exit_code=2)
        return replace(self, splits={split: self.splits[split] for split in self.splits if split in splits})


def image_folder(root: Path, val_fraction: float = 0.1) -> Source:
    """List an ImageFolder tree: ROOT/train/CLASS/FILE with val/ or test/, or ROOT/CLASS/FILE split by `in_val`.

    Raises UserError where the folder is missing, is empty, has one class, or has classes in val that train lacks.
    """
    if not root.is_dir():
        wrong = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {wrong}; give a folder of photographs")
    parts = [name for name in SPLITS if (root / name).is_dir() and _folders(root / name)]
    trees = {name: _tree(root / name) for name in parts} or {"": _tree(root)}
    return source_of_trees(root, trees, lambda split, name: os.path.join(root, split, name), val_fraction)


def source_of_trees(
    root: Path, trees: dict[str, Tree], place: Callable[[str, str], object], val_fraction: float
) -> Source:
    """Make a source from {split: tree}, or split {"": tree} by `in_val`; place(split, name) finds a file."""
    if set(trees) == {"train"}:
        raise UserError(f"{root}: has train/ but no photographs in val/; give both, or one tree of classes")
    classes = sorted(trees.get("train") or set().union(*trees.values()))  # without train/, images to be tested on
    if len(classes) == 1:
        raise UserError(f"{root}: has one class only ({classes[0]}); a classifier needs two or more")
    whole = "" in trees
    if whole:
        trees = _split(root, trees[""], val_fraction)
    splits = {}
    for split, tree in sorted(trees.items(), key=lambda item: SPLITS.index(item[0])):
        if unknown := sorted(set(tree) - set(classes)):
            raise UserError(f"{root}: {len(unknown)} classes in {split} are unknown to train: {first_few(unknown)}")
        splits[split] = _listing(tree, classes, partial(place, "" if whole else split))
    return Source(archive_stem(root.resolve().name), classes, splits)


def in_val(name: str, fraction: float) -> bool:
    """Say whether the image CLASS/FILE belongs to val, by a hash of its name: it stays there whatever is added."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def check_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise UserError(f"val_fraction {fraction}: must be from 0 to 1", exit_code=2)


def is_photograph(name: str) -> bool:
    base = name.rpartition("/")[2]
    return os.path.splitext(base)[1].lower() in EXTENSIONS and not base.startswith(".")


def check_names(root: Path, names: list[str]) -> None:
    """Raise UserError for a name with a line break: names are kept one a line."""
    if odd := [name for name in names if len(name.splitlines()) != 1]:
        raise UserError(f"{root}: a line break in the name {odd[0]!r}; rename it")


def archive_stem(name: str) -> str:
    """Take the endings off: cifar10-jpeg.tar.xz is cifar10-jpeg."""
    for ending in (".gz", ".xz", ".bz2", ".tar", ".tgz"):
        name = name.removesuffix(ending)
    return name


def first_few(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _tree(root: Path) -> Tree:
    """Find each class folder's photographs, sorted; those in folders inside it are of that class."""
    tree = {name: _photographs(root, name) for name in _folders(root)}
    if not any(tree.values()):
        raise UserError(f"{root}: no photographs in class folders; they lie as CLASS/FILE.jpg (or .png, .webp ...)")
    if empty := [name for name, files in tree.items() if not files]:
        raise UserError(f"{root}: {len(empty)} class folders hold no photographs: {first_few(empty)}")
    return tree


def _photographs(root: Path, name: str) -> list[str]:
    found = []
    for folder, _, files in os.walk(root / name, followlinks=True):
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        found += [f"{prefix}/{file}" for file in files if is_photograph(file)]
    check_names(root, found)
    return sorted(found)


def _split(root: Path, tree: Tree, fraction: float) -> dict[str, Tree]:
    check_fraction(fraction)
    train = {label: [name for name in names if not in_val(name, fraction)] for label, names in tree.items()}
    val = {label: [name for name in names if in_val(name, fraction)] for label, names in tree.items()}
    if fraction < 1 and (bare := [label for label, names in train.items() if not names]):
        left = f"leaves {len(bare)} classes none to train on: {first_few(bare)}"
        raise UserError(f"{root}: val_fraction {fraction} {left}; with 1, all are to be tested on")
    if fraction and not any(val.values()):
        raise UserError(f"{root}: val_fraction {fraction} leaves no photograph for val; give more of them")
    trees = {"train": train, "val": {label: names for label, names in val.items() if names}}
    return {split: tree for split, tree in trees.items() if any(tree.values())}


def _listing(tree: Tree, classes: list[str], place: Callable[[str], object]) -> Listing:
    index = {name: label for label, name in enumerate(classes)}
    pairs = [(name, index[label]) for label, names in sorted(tree.items()) for name in names]
    names, labels = [name for name, _ in pairs], [label for _, label in pairs]
    return Listing(names, labels, [place(name) for name in names])
