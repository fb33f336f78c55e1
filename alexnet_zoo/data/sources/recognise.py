"""Recognises a source of photographs by its name and by the names of what lies in it."""

import tarfile
from pathlib import Path

from alexnet_zoo.data.sources.archives import COMPRESSED, image_tar
from alexnet_zoo.data.sources.cifar10 import ARCHIVES as CIFAR_ARCHIVES
from alexnet_zoo.data.sources.cifar10 import cifar10
from alexnet_zoo.data.sources.fall import SYNSET_TAR, fall, synset_tars
from alexnet_zoo.data.sources.ilsvrc import ilsvrc, year_of
from alexnet_zoo.data.sources.named import is_dataset_name, named
from alexnet_zoo.data.sources.source import Source, image_folder
from alexnet_zoo.errors import UserError

FALL_WHOLE = "fall11_whole.tar"


def open_source(
    source: Path | str, val_fraction: float = 0.1, splits: tuple[str, ...] | None = None, cache: Path | None = None
) -> Source:
    """Find the photographs of a source.

    Args: source, a folder (the archives of ILSVRC-2010 or -2012; tars of synsets; CIFAR-10's archive; class folders),
    an archive (of class folders; of tars of synsets; CIFAR-10's), or one of timm's dataset names ("hfds/...",
    "wds/..."); val_fraction, what becomes val where a source has one tree of classes only; splits, those that are
    wanted (all); cache, a folder that keeps the index of large archives.

    Raises UserError, in one line, for whatever cannot be used.
    """
    if is_dataset_name(source):
        return named(str(source), splits, cache)
    path = Path(source)
    unpacked = (path / "train").is_dir()  # a tree beside its archives, as torchvision's ImageNet leaves it
    if path.is_dir() and not unpacked and (year := year_of(path)):
        return ilsvrc(path, year, splits, cache)
    found = _others(path, val_fraction, cache)
    return found.only(splits) if splits else found


def _others(path: Path, val_fraction: float, cache: Path | None) -> Source:
    if path.is_dir():
        if synset_tars(path):
            return fall(path, val_fraction, cache)
        for name in (FALL_WHOLE, *CIFAR_ARCHIVES):
            if (path / name).is_file():
                return _archive(path / name, val_fraction, cache)
        return image_folder(path, val_fraction)
    if path.is_file():
        return _archive(path, val_fraction, cache)
    raise UserError(f"{path}: no such folder, archive or dataset name (hfds/NAME, wds/FOLDER)")


def _archive(path: Path, val_fraction: float, cache: Path | None) -> Source:
    if path.name in CIFAR_ARCHIVES:
        return cifar10(path)
    if path.suffix not in (".tar", *COMPRESSED):
        raise UserError(f"{path}: neither a folder nor a .tar, .tar.gz or .tar.xz of photographs")
    if path.suffix == ".tar" and _holds_synset_tars(path):
        return fall(path, val_fraction, cache)
    return image_tar(path, val_fraction, cache)


def _holds_synset_tars(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as tar:
            first = next((member for member in tar if member.isfile()), None)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{path}: is no tar ({error}); download it again") from None
    return first is not None and SYNSET_TAR.fullmatch(Path(first.name).name) is not None
