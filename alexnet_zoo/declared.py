"""Finds what is declared in files: recipes (reproduce/), export targets (export/), published numbers (reports/)."""

import tomllib
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from alexnet_zoo.errors import UserError, names_there_are
from alexnet_zoo.progress import say

PACKAGE = Path(__file__).resolve().parent
RENAMED = {"export": {"fast": "plain", "portable": "lrn"}}  # old names go on; nothing else may ever have one


class Strict(BaseModel):
    """Holds what a file declares: it allows no other fields, and no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def folder_of(folder: str) -> Path:
    """Find `reproduce`, `export` or `reports`: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / "_declared" / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def list_declared(folder: str, suffix: str = ".toml") -> list[Path]:
    """List the files of a folder that end with `suffix`, by name."""
    return sorted(folder_of(folder).glob(f"*{suffix}"))


def declared(folder: str, name: str | Path, suffix: str = ".toml") -> Path:
    """Find the file NAME + suffix of a folder; a path to a file of the user's own is itself. Says a name's new one.

    Raises: UserError (exit code 2), which lists the names there are, and which may be meant.
    """
    if Path(name).is_file():
        return Path(name)
    stem = str(name).removesuffix(suffix)
    if new := RENAMED.get(folder, {}).get(stem):
        say(f"{stem}: is now called {new}; {folder}/README.md says what it is")
        stem = new
    path = folder_of(folder) / f"{stem}{suffix}"
    if path.is_file():
        return path
    names = [file.name.removesuffix(suffix) for file in list_declared(folder, suffix)]
    raise UserError(f"{name}: no such file, and not in {folder}/; {names_there_are(stem, names)}", exit_code=2)


def notes_of(path: Path) -> dict[str, str]:
    """Read the comment that opens a file: its first line, as "title", and lines such as "# Cost: ...", as "Cost"."""
    comment = takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
    lines = [line.lstrip("# ") for line in comment]
    named = [line.partition(": ") for line in lines[1:]]
    return {"title": lines[0] if lines else "", **{name: text for name, _, text in named if name.isalpha()}}


def read_declared(folder: str, path: Path, own: tuple[str, ...] = ("name",)) -> dict:
    """Read a TOML file's fields on top of its base's; `base` names a file beside it or in the folder.

    Tables are merged field by field; the fields in `own` are not taken from a base. UserError where it is not TOML, or
    its base is not there or leads back to it.
    """
    merged: dict[str, Any] = {}
    for _, fields in _with_bases(folder, path, own):
        for field, value in fields.items():
            merged[field] = {**merged.get(field, {}), **value} if isinstance(value, dict) else value
    return merged


def origins(folder: str, path: Path, own: tuple[str, ...] = ("name",)) -> dict[str, str]:
    """Name the files that set each field of `read_declared`; for a table, all that set any part of it."""
    found: dict[str, list[str]] = {}
    for file, fields in _with_bases(folder, path, own):
        for field, value in fields.items():
            found[field] = [*found.get(field, []), file.name] if isinstance(value, dict) else [file.name]
    return {field: ", ".join(files) for field, files in found.items()}


def _with_bases(folder: str, path: Path, own: tuple[str, ...]) -> list[tuple[Path, dict]]:
    """List a file and the bases below it, the lowest first, each with what it sets."""
    found: list[tuple[Path, dict]] = []
    while path not in (file for file, _ in found):
        try:
            fields = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not TOML: {error}; mend the file", exit_code=2) from error
        base = fields.pop("base", None)
        found.insert(0, (path, {f: value for f, value in fields.items() if f not in own} if found else fields))
        if base is None:
            return found
        if not isinstance(base, str):
            raise UserError(f"{path}: base = {base!r}: must be the name of a file", exit_code=2)
        beside = path.parent / f"{base}.toml"
        path = beside if beside.exists() else declared(folder, base)
    raise UserError(f"{path}: its base leads back to itself; break the circle", exit_code=2)


def label_of(path: Path) -> str:
    """Give what a message calls a declaration: a shipped one by its name, a user's own by its path."""
    shipped = any(path.is_relative_to(folder_of(folder)) for folder in ("reproduce", "export"))
    return path.stem if shipped else str(path)


def validated(model: type[BaseModel], path: Path, fields: dict[str, Any]):
    """Make a `model` of the fields; raise UserError (exit code 2) with the file, the field and what is allowed."""
    try:
        return model(**fields)
    except ValidationError as error:
        explained = _explain(error, list(model.model_fields))
        raise UserError(f"{label_of(path)}: {explained}", exit_code=2) from error


def _explain(error: ValidationError, allowed: list[str]) -> str:
    """Put pydantic's findings into one line, each with its field and what is allowed."""
    lines = []
    for found in error.errors():
        field = ".".join(str(part) for part in found["loc"])
        if found["type"] == "extra_forbidden":
            near = get_close_matches(field, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(allowed)}"
            lines.append(f"{field}: no such field; {hint}")
        else:
            lines.append(f"{field} = {found['input']!r}: {found['msg']}")
    return "; ".join(lines)
