"""Finds what is declared in files: recipes (reproduce/), export targets (export/), published numbers (reports/)."""

from difflib import SequenceMatcher
from pathlib import Path

from alexnet_zoo.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def folder_of(folder: str) -> Path:
    """`reproduce`, `export` or `reports`: inside the package in a wheel, beside the package in a checkout."""
    inside = PACKAGE / "_declared" / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def list_declared(folder: str, suffix: str = ".toml") -> list[Path]:
    """The files of a folder that end with `suffix`, by name."""
    return sorted(folder_of(folder).glob(f"*{suffix}"))


def declared(folder: str, name: str | Path, suffix: str = ".toml") -> Path:
    """The file NAME + suffix of a folder; a path to a file of the user's own is itself.

    Raises: UserError (exit code 2), which lists the names there are, the nearest first.
    """
    if Path(name).is_file():
        return Path(name)
    stem = str(name).removesuffix(suffix)
    path = folder_of(folder) / f"{stem}{suffix}"
    if path.is_file():
        return path
    names = [file.name.removesuffix(suffix) for file in list_declared(folder, suffix)]
    names.sort(key=lambda other: -SequenceMatcher(None, stem, other).ratio())
    have = ", ".join(names) or "nothing"
    raise UserError(f"{name}: no such file, and not in {folder}/, which has: {have}", exit_code=2)
