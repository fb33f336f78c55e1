"""What several rooms do with files."""

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from alexnet_zoo.errors import UserError

PARTIAL = ".partial"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path: Path) -> None:
    """Raise UserError where no file can be written to `path`: before work begins whose result goes there."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file", exit_code=2)
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


@contextmanager
def written_whole(path: Path, advice: str = "make room, or choose another place") -> Iterator[Path]:
    """Give a temporary path beside `path`, on which the block makes a file or a folder; then sync and rename it.

    What lay at `path` stays until then, and stays where the block fails. Makes the folder around it. Raises UserError,
    which ends with `advice`, where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for part in (*partial.rglob("*"), partial):
            _sync(part)
        if partial.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # a folder cannot be renamed to one that holds files
        os.replace(partial, path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error}); {advice}") from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        elif partial.exists():
            partial.unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    windows = os.name == "nt"  # it opens no folder, and writes no file back that is open to be read
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
