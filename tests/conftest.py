"""Fixtures that several rooms share. Photographs are never committed: tests that need them skip where they are not."""

import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest

A_CLASS = 8  # photographs of each class and split in `photographs`


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images and ground truth lists: ALEXZOO_TEST_DATA, else ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALEXZOO_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not a folder; ALEXZOO_TEST_DATA can name another")
    return folder


@pytest.fixture(scope="session")
def photographs(data_folder, tmp_path_factory) -> Path:
    """A tree train/WNID/*.JPEG, val/WNID/*.JPEG: 8 photographs of each of Imagenette's ten classes and each split."""
    archives = [data_folder / name for name in ("imagenette-train-0.tar", "imagenette-val.tar")]
    missing = [archive.name for archive in archives if not archive.is_file()]
    if missing:
        pytest.skip(f"no photographs: {data_folder} lacks {', '.join(missing)}")
    tree = tmp_path_factory.mktemp("photographs")
    for archive in archives:
        _unpack_some(archive, tree)
    return tree


def _unpack_some(archive: Path, tree: Path) -> None:
    taken = Counter()
    with tarfile.open(archive) as tar:
        for member in tar:
            folder = Path(member.name).parent
            if not member.isfile() or taken[folder] == A_CLASS:
                continue
            taken[folder] += 1
            (tree / folder).mkdir(parents=True, exist_ok=True)
            (tree / member.name).write_bytes(tar.extractfile(member).read())
