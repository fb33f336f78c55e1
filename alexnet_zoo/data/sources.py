"""Where photographs come from: which files make up which split, and the class of each."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.errors import UserError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"}


@dataclass
class Listing:
    """The photographs of one split, in the order in which they are prepared; three lists of equal length."""

    names: list[str]  # CLASS/FILE: the same wherever the tree lies
    labels: list[int]  # indices into Source.classes
    files: list[str]  # what a decoding process opens


@dataclass
class Source:
    """A set of photographs: classes sorted by name (a label is an index into them), splits "train" and "val"."""

    name: str
    classes: list[str]
    splits: dict[str, Listing]

    def sha256(self) -> str:
        """Of the classes and of every split's names: the same photographs in the same order, wherever they lie."""
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogateescape"))
        for split, listing in self.splits.items():
            digest.update("\n".join(["", split, *listing.names]).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def image_folder(root: Path, val_fraction: float = 0.1) -> Source:
    """An ImageFolder tree: ROOT/train/CLASS/FILE and ROOT/val/CLASS/FILE, or ROOT/CLASS/FILE split by `in_val`.

    Raises UserError where the folder is missing, is empty, has one class, or has classes in val that train lacks.
    """
    if not root.is_dir():
        wrong = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {wrong}; give a folder of photographs")
    halves = [name for name in ("train", "val") if (root / name).is_dir() and _folders(root / name)]
    if len(halves) == 1:
        missing = "val" if halves == ["train"] else "train"
        raise UserError(f"{root}: has {halves[0]}/ but no photographs in {missing}/; give both, or one tree of classes")
    trees = {name: _tree(root / name) for name in halves} or {"train": _tree(root)}
    classes = sorted(trees["train"])
    if len(classes) == 1:
        raise UserError(f"{root}: has one class only ({classes[0]}); a classifier needs two or more")
    if not halves:
        trees = _split(root, trees["train"], val_fraction)
    unknown = sorted(set(trees["val"]) - set(classes))
    if unknown:
        raise UserError(f"{root}: {len(unknown)} classes in val are unknown to train: {_some(unknown)}")
    base = {name: root / name if halves else root for name in trees}
    splits = {name: _listing(base[name], tree, classes) for name, tree in trees.items()}
    return Source(root.resolve().name, classes, splits)


def in_val(name: str, fraction: float) -> bool:
    """Whether the image CLASS/FILE belongs to val: by a hash of its name, so it stays there whatever is added."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _tree(root: Path) -> dict[str, list[str]]:
    """{class: [CLASS/FILE, ...]} with every list sorted; folders inside a class folder belong to that class."""
    tree = {name: _photographs(root, name) for name in _folders(root)}
    if not any(tree.values()):
        raise UserError(f"{root}: no photographs in class folders; they lie as CLASS/FILE.jpg (or .png, .webp ...)")
    empty = [name for name, files in tree.items() if not files]
    if empty:
        raise UserError(f"{root}: {len(empty)} class folders hold no photographs: {_some(empty)}")
    return tree


def _photographs(root: Path, name: str) -> list[str]:
    found = []
    for folder, _, files in os.walk(root / name, followlinks=True):
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        photographs = (file for file in files if os.path.splitext(file)[1].lower() in EXTENSIONS)
        found += [f"{prefix}/{file}" for file in photographs if not file.startswith(".")]
    odd = [file for file in found if len(file.splitlines()) != 1]
    if odd:
        raise UserError(f"{root}: a line break in the name {odd[0]!r}; rename it")
    return sorted(found)


def _split(root: Path, tree: dict[str, list[str]], fraction: float) -> dict[str, dict[str, list[str]]]:
    if not 0 < fraction < 1:
        raise UserError(f"val_fraction: {fraction} is not between 0 and 1", exit_code=2)
    train = {label: [name for name in names if not in_val(name, fraction)] for label, names in tree.items()}
    val = {label: [name for name in names if in_val(name, fraction)] for label, names in tree.items()}
    bare = [label for label, names in train.items() if not names]
    if bare:
        raise UserError(f"{root}: val_fraction {fraction} leaves {len(bare)} classes none to train on: {_some(bare)}")
    if not any(val.values()):
        raise UserError(f"{root}: val_fraction {fraction} leaves no photograph for val; give more of them")
    return {"train": train, "val": {label: names for label, names in val.items() if names}}


def _listing(root: Path, tree: dict[str, list[str]], classes: list[str]) -> Listing:
    index = {name: label for label, name in enumerate(classes)}
    pairs = [(name, index[label]) for label, names in sorted(tree.items()) for name in names]
    names, labels = [name for name, _ in pairs], [label for _, label in pairs]
    return Listing(names, labels, [os.path.join(root, name) for name in names])


def _some(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
