"""Opens a prepared folder: maps its 256x256 images into memory, and reads only what a crop needs."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.cut import cut
from alexnet_zoo.data.prepared.identity import identify
from alexnet_zoo.data.prepared.shards import ENCODINGS, load_array, open_shard
from alexnet_zoo.data.prepared.store import FORMAT, PREPARED, PREPARING, read_json
from alexnet_zoo.data.sources.source import NO_LABEL
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.progress import Progress


class Images(Protocol):
    """States what an evaluation asks of its images: a Dataset has it, and random pixels do (batches/noise.py)."""

    name: str
    image_size: int
    classes: list[str]
    labels: np.ndarray

    def __len__(self) -> int: ...

    def gather(self, indices, tops, lefts, size: int) -> torch.Tensor: ...


class Dataset:
    """Reads one split of a prepared folder.

    Attributes: name ("train", "val" or "test"), labels (int64, len(self)), classes (label = index), identity ("" unless
    verified), image_size; labelled, False where the labels are kept back (all are -1); names, the source name of each
    image: CLASS/FILE, or FILE without labels; data_name and data_sha256, the prepared folder's.
    """

    def __init__(
        self, folder: Path, name: str, described: dict, classes: list[str], image_size: int, encoding: str = "npy"
    ):
        self.folder, self.name, self.classes, self.image_size = folder, name, classes, image_size
        self.encoding = encoding
        self.data_name = self.data_sha256 = ""
        self.labelled: bool = described.get("labelled", True)
        self.identity: str = described["identity"]
        self.unreadable: list[str] = described["unreadable"]
        self.names_file = folder / described["names"]["file"]
        self.labels = load_array(folder / described["labels"]["file"], (described["images"],), np.int64)
        self.paths = [folder / shard["file"] for shard in described["shards"]]
        self.shards = [open_shard(folder, shard, image_size, encoding) for shard in described["shards"]]
        self.starts = np.cumsum([0] + [len(shard) for shard in self.shards])
        if self.starts[-1] != len(self.labels):
            raise UserError(f"{folder}: {name} has {self.starts[-1]} images in its shards, {len(self.labels)} labels")
        low, high = (0, len(classes) - 1) if self.labelled else (NO_LABEL, NO_LABEL)
        if len(self.labels) and not low <= self.labels.min() <= self.labels.max() <= high:
            raise UserError(f"{folder}: {name} has labels outside its {len(classes)} classes")
        if not self.names_file.is_file() or self.names_file.read_bytes().count(b"\n") != len(self.labels):
            raise UserError(f"{self.names_file}: does not name {len(self.labels)} images; prepare the data again")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def names(self) -> list[str]:
        return self.names_file.read_text("utf-8", "surrogateescape").split("\n")[:-1]

    def places(self, indices) -> tuple[np.ndarray, np.ndarray]:
        """Find the shard (its number) and the row in it of each image; raise IndexError where there is none."""
        indices = np.asarray(indices)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"{self.folder}: {self.name} has no images {indices.min()} to {indices.max()}")
        numbers = np.searchsorted(self.starts, indices, side="right") - 1
        return numbers, indices - self.starts[numbers]

    def gather(self, indices, tops, lefts, size: int) -> torch.Tensor:
        """Cut crops out of the images `indices`, with their upper left corners at (tops, lefts).

        Args: three sequences of B whole numbers (tensors on the CPU, arrays or lists); size, the crop's side.
        Returns uint8 (B, size, size, 3), RGB. Only reads, so several threads may call it at once.
        """
        numbers, rows = self.places(indices)
        crops = torch.empty((len(rows), size, size, 3), dtype=torch.uint8)
        places = (part.tolist() for part in (numbers, rows, np.asarray(tops), np.asarray(lefts)))
        jobs = zip(crops.numpy(), *places, strict=True)
        if self.encoding == "jpeg":
            for _ in self._decoders.map(self._cut, jobs):
                pass
        else:
            for job in jobs:
                self._cut(job)
        return crops

    def _cut(self, job: tuple) -> None:
        crop, number, *place = job
        cut(crop, self.shards[number], *place)

    @cached_property
    def _decoders(self) -> ThreadPoolExecutor:
        """Make the threads that decode; threads suffice, since Pillow decodes without Python's lock."""
        return ThreadPoolExecutor(cores())


class Prepared:
    """Reads a prepared folder.

    Attributes: folder, name, image_size, classes (sorted names; label = index), mean (float32 (S, S, 3), 0..255, of the
    train split), eigenvalues (3,) falling and eigenvectors (3, 3) columns of the RGB covariance of train pixels in
    [0, 1], both float64; devkit_ids, ILSVRC's number of each class, or None; encoding, a key of shards.ENCODINGS;
    sha256, of prepared.json, which holds the checksum of every file: the checksum of the data.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.described = _read_prepared(folder)
        self.sha256 = sha256_of(folder / PREPARED)
        try:
            self._open(self.described)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / PREPARED}: is damaged ({error!r}); prepare the data again") from None

    def _open(self, described: dict) -> None:
        self.name: str = described["name"]
        self.image_size: int = described["image_size"]
        self.classes: list[str] = described["classes"]
        self.devkit_ids: list[int] | None = described.get("devkit_ids")
        self.encoding: str = described.get("encoding", "npy")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding {self.encoding!r}")
        shape = (self.image_size, self.image_size, 3)
        self.mean = load_array(self.folder / described["mean"]["file"], shape, np.float32)
        self.eigenvalues = np.array(described["colour"]["eigenvalues"], np.float64).reshape(3)
        self.eigenvectors = np.array(described["colour"]["eigenvectors"], np.float64).reshape(3, 3)
        self.splits = {
            name: Dataset(self.folder, name, split, self.classes, self.image_size, self.encoding)
            for name, split in described["splits"].items()
        }
        for dataset in self.splits.values():
            dataset.data_name, dataset.data_sha256 = self.name, self.sha256

    def __reduce__(self):
        return open_prepared, (self.folder,)  # another process opens it again

    def split(self, name: str) -> Dataset:
        """Return the split "train", "val" or "test"; raise UserError where this folder lacks it."""
        if name not in self.splits:
            raise UserError(f"{self.folder}: has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def open_prepared(folder: Path) -> Prepared:
    """Open a folder that prepare or prepare_digits made, checking the size and shape of everything in it.

    Raises UserError where it is missing, unfinished, of another kind, or cut short.
    """
    return Prepared(Path(folder))


def verify(folder: Path) -> Prepared:
    """Open a prepared folder and check every byte of it: all checksums, and each split's identity.

    Raises UserError, which names the first file that has changed.
    """
    prepared = open_prepared(folder)
    splits = prepared.described["splits"]
    parts = [part for split in splits.values() for part in (*split["shards"], split["labels"], split["names"])]
    with Progress(len(parts), "checksums", unit="files") as progress, ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(lambda part: _check_sha256(prepared.folder, part), parts):
            progress.update()
    for split in splits:
        dataset = prepared.split(split)
        found = identify(split, prepared.classes, dataset.names, dataset.labels, len(dataset.unreadable))
        if found != dataset.identity:
            raise UserError(f"{prepared.folder}: {split} says it is {dataset.identity!r}, but is {found or 'not'!r}")
    _check_sha256(prepared.folder, prepared.described["mean"])
    return prepared


def describe(prepared: Prepared) -> list[str]:
    """Describe each split in a line: "ILSVRC-2012 val, 50,000 images, complete" where that was verified."""
    lines = []
    for split, dataset in prepared.splits.items():
        line = dataset.identity or f"{prepared.name} {split}, {len(dataset):,} images, not verified as a published set"
        line += "" if dataset.labelled else ", without labels"
        line += f", {len(dataset.unreadable)} more were unreadable" if dataset.unreadable else ""
        lines.append(f"{line} ({prepared.image_size}x{prepared.image_size}, {prepared.encoding}; checksums hold)")
    return lines


def _read_prepared(folder: Path) -> dict:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of prepared data")
    if (folder / PREPARING).is_file() and not (folder / PREPARED).is_file():
        raise UserError(f"{folder}: was not prepared to the end; run the same preparation again to finish it")
    if not (folder / PREPARED).is_file():
        raise UserError(f"{folder}: is not prepared data (no {PREPARED} in it)")
    described = read_json(folder / PREPARED)
    if described.get("format") != FORMAT:
        raise UserError(f"{folder / PREPARED}: format {described.get('format')!r}, but this version reads {FORMAT}")
    return described


def _check_sha256(folder: Path, part: dict) -> None:
    if sha256_of(folder / part["file"]) != part["sha256"]:
        raise UserError(f"{folder / part['file']}: has changed since (checksum); prepare the data again")
