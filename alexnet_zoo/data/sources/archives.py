"""Reads photographs where they lie in tar archives, by an index of names, first bytes and lengths, made once."""

import hashlib
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from alexnet_zoo.data.sources.source import SPLITS, Source, Tree, check_names, first_few, is_photograph, source_of_trees
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.progress import Progress

INDEX = "index-{}.npz"
COMPRESSED = (".gz", ".tgz", ".xz", ".bz2")
MAX_COMPRESSED = 4 * 2**30  # bytes of an archive without random access, which is unpacked into memory
BLOCK = 512  # a tar is made of blocks of this many bytes; a block of zeros ends it


class Members(Sequence):
    """Lists files in archives, in a given order: members[i] is [archive, first byte, bytes]; slices are Members.

    It holds arrays, since Fall 2011 has 14 million files. `names` are as in the archive, and INNER.tar/NAME where a
    tar lies in a tar.
    """

    def __init__(self, archives: list[str], names: Sequence[str], archive: np.ndarray, starts, sizes):
        self.archives, self.names = archives, names
        self.archive, self.starts, self.sizes = archive, starts, sizes

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, key):
        if isinstance(key, slice):
            return Members(self.archives, self.names[key], self.archive[key], self.starts[key], self.sizes[key])
        return [self.archives[self.archive[key]], int(self.starts[key]), int(self.sizes[key])]

    def take(self, order: Sequence[int]) -> "Members":
        """Return the members `order`, in that order."""
        rows = np.asarray(order, np.int64)
        names = [self.names[row] for row in order]
        return Members(self.archives, names, self.archive[rows], self.starts[rows], self.sizes[rows])


def members_of(archives: list[Path], cache: Path | None = None) -> Members:
    """List the files in uncompressed tars, and in the tars inside those (one level), in the order of the archives.

    Args: cache, a folder where the index is kept, so that the same archives (by name, length and time of change) are
    scanned once: 150 GB of ILSVRC-2012 hold 1.3 million headers.

    Raises UserError where an archive is missing, is no tar or is cut short.
    """
    for archive in archives:
        if not archive.is_file():
            raise UserError(f"{archive}: no such archive")
    key = _key(archives)
    kept = cache / INDEX.format(key[:16]) if cache else None
    if kept and kept.is_file():
        try:
            return _load(kept, archives)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            kept.unlink()  # of a run that was killed: scanned again
    members = _scan(archives)
    if kept:
        names = np.frombuffer("\n".join(members.names).encode("utf-8", "surrogateescape"), np.uint8)
        with written_whole(kept) as partial, open(partial, "wb") as out:
            np.savez(out, names=names, archive=members.archive, starts=members.starts, sizes=members.sizes)
    return members


def image_tar(path: Path, val_fraction: float = 0.1, cache: Path | None = None) -> Source:
    """List an ImageFolder in a tar: train/CLASS/FILE with val/ or test/, or CLASS/FILE, within any number of folders.

    A compressed tar is unpacked into memory. Raises UserError as image_folder does, and for a damaged archive.
    """
    names: Sequence[str]
    files: Sequence
    if path.suffix in COMPRESSED:
        names, files = unpacked(path)
    else:
        files = members_of([path], cache)
        names = files.names
    rows = {name.removeprefix("./"): row for row, name in enumerate(names) if is_photograph(name)}
    check_names(path, list(rows))
    prefix = _common_folders(list(rows))
    trees: dict[str, Tree] = {}
    places = {}
    for name, row in sorted(rows.items()):
        split, name = _in_split(name.removeprefix(prefix))
        if "/" not in name:
            raise UserError(f"{path}: {name} lies in no class folder; photographs lie as CLASS/FILE")
        trees.setdefault(split, {}).setdefault(name.split("/")[0], []).append(name)
        places[split, name] = files[row]
    if not trees:
        raise UserError(f"{path}: no photographs in it; they lie as CLASS/FILE.jpg (or .png, .webp ...)")
    if "" in trees and len(trees) > 1:
        raise UserError(f"{path}: some photographs lie in {first_few(sorted(set(trees) - {''}))}/ and others do not")
    return source_of_trees(path, trees, lambda split, name: places[split, name], val_fraction)


def unpacked(path: Path) -> tuple[list[str], list[bytes]]:
    """Return names and contents of the files in a small compressed tar."""
    if not path.is_file():
        raise UserError(f"{path}: no such archive")
    if path.stat().st_size > MAX_COMPRESSED:
        raise UserError(f"{path}: too large to be unpacked into memory; unpack it to a .tar, which is read in place")
    names, contents = [], []
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile():
                    names.append(member.name)
                    contents.append(tar.extractfile(member).read())
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise UserError(f"{path}: cannot be read, or is cut short ({error})") from None
    except Exception as error:  # zlib.error, lzma.LZMAError: each codec has its own
        raise UserError(f"{path}: is damaged ({error})") from None
    return names, contents


def read_member(path: Path, ending: str) -> bytes | None:
    """Return the file in a small compressed tar whose name ends with `ending`, or None."""
    names, contents = unpacked(path)
    return next((content for name, content in zip(names, contents, strict=True) if name.endswith(ending)), None)


def _key(archives: list[Path]) -> str:
    stats = [(archive.name, archive.stat().st_size, archive.stat().st_mtime_ns) for archive in archives]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _load(kept: Path, archives: list[Path]) -> Members:
    with np.load(kept, allow_pickle=False) as index:
        names = index["names"].tobytes().decode("utf-8", "surrogateescape").split("\n") if index["names"].size else []
        members = Members(_paths(archives), names, index["archive"], index["starts"], index["sizes"])
    if not len(names) == len(members.archive) == len(members.starts) == len(members.sizes):
        raise ValueError("lengths differ")
    return members


def _paths(archives: list[Path]) -> list[str]:
    return [str(archive.resolve()) for archive in archives]


def _scan(archives: list[Path]) -> Members:
    names, archive_numbers, starts, sizes = [], [], [], []
    total = sum(archive.stat().st_size for archive in archives) // 10**6
    with Progress(total, "reading the archives' headers", unit="MB") as progress:
        for number, archive in enumerate(archives):
            done = 0
            for name, start, size in _members(archive):
                names.append(name)
                archive_numbers.append(number)
                starts.append(start)
                sizes.append(size)
                progress.update(start // 10**6 - done)
                done = start // 10**6
            progress.update(archive.stat().st_size // 10**6 - done)
    check_names(archives[0], names)
    arrays = np.array(archive_numbers, np.int32), np.array(starts, np.int64), np.array(sizes, np.int64)
    return Members(_paths(archives), names, *arrays)


def _members(archive: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, first byte, bytes) of each file in a tar, and in the tars that lie in it."""
    with open(archive, "rb") as file:
        end = archive.stat().st_size
        for name, start, size in _headers(file, 0, end, str(archive)):
            if not name.endswith(".tar"):
                yield name, start, size
                continue
            inner = f"{archive}: {name} in it"
            for inner_name, inner_start, inner_size in _headers(file, start, start + size, inner):
                yield f"{name.rpartition('/')[2]}/{inner_name.removeprefix('./')}", inner_start, inner_size


def _headers(file, start: int, end: int, what: str) -> Iterator[tuple[str, int, int]]:
    """Walk over the tar that lies at start..end of an open file."""
    try:
        file.seek(start)
        tar = tarfile.TarFile(fileobj=file, mode="r")
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # tarfile would keep them all
            if member.offset_data + member.size > end:
                raise tarfile.ReadError(f"{member.name} goes beyond its end")
            if member.isfile():
                yield member.name, member.offset_data, member.size
        file.seek(tar.offset)
        if tar.offset + BLOCK > end or file.read(BLOCK).strip(b"\0"):
            raise tarfile.ReadError("it has no end")
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise UserError(f"{what}: is no whole tar ({error}); download it again") from None


def _common_folders(names: list[str]) -> str:
    """Find the folders that hold everything, down to the classes or the splits: "data/pets/", or ""."""
    prefix = ""
    while names:
        heads = {name[len(prefix) :].partition("/")[0] for name in names}
        if len(heads) > 1 or heads <= set(SPLITS) or any(name[len(prefix) :].count("/") < 2 for name in names):
            break
        prefix += heads.pop() + "/"
    return prefix


def _in_split(name: str) -> tuple[str, str]:
    """Split train/CLASS/FILE into ("train", CLASS/FILE), and CLASS/FILE into ("", CLASS/FILE)."""
    head, _, rest = name.partition("/")
    return (head, rest) if head in SPLITS and "/" in rest else ("", name)
