"""Makes a prepared folder, in which every file is complete, synced and checked before it has its final name.

    prepared.json, mean.npy, SPLIT-labels.npy, SPLIT-names.txt, SPLIT-00000.npy or .jpegs ...   (dataset.py reads them)

Until prepared.json is written, last of all, preparing.json lists the shards that are finished. index-*.npz says where
photographs lie in their archives (sources/archives.py), so that a second run need not look again.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_zoo.data.prepared.identity import identify
from alexnet_zoo.data.prepared.moments import moments, principal_components
from alexnet_zoo.data.prepared.shards import open_shard
from alexnet_zoo.data.sources.archives import INDEX
from alexnet_zoo.data.sources.source import NO_LABEL
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import PARTIAL, sha256_of, written_whole

FORMAT = 1
SHARD_IMAGES = 4096  # 805 MB at 256x256
PREPARED, PREPARING = "prepared.json", "preparing.json"


@dataclass
class Split:
    """Holds what describes a split: labels and names of the images in its shards, in their order."""

    labels: list[int]  # all NO_LABEL where they are not known
    names: list[str]
    shards: list[dict]  # {"file", "images", "sha256"}
    unreadable: list[str] = field(default_factory=list)  # "NAME: reason"


class Store:
    """Begins a prepared folder, goes on with it, or finds it finished.

    Attributes: finished, whether it was complete; shards, {file: entry} of the shards that are finished.
    """

    def __init__(
        self,
        folder: Path,
        source_sha256: str,
        image_size: int,
        shard_images: int = SHARD_IMAGES,
        encoding: str = "npy",
        keep: Callable[[], dict[str, dict]] | None = None,
    ):
        """Open a folder for the photographs whose checksum is source_sha256.

        Args: keep, what returns the shards that stay where a finished folder holds other photographs; the rest is made
        again. Raises UserError where the folder holds anything else: without `keep`, nothing is overwritten.
        """
        self.folder, self.image_size, self.encoding = folder, image_size, encoding
        self.key: dict[str, Any] = {"source_sha256": source_sha256, "image_size": image_size}
        self.key |= {"shard_images": shard_images, "encoding": encoding}
        self.shards: dict[str, dict] = {}
        self.lock = threading.Lock()
        self.finished = False
        check_free(folder)
        begun = next((folder / file for file in (PREPARED, PREPARING) if (folder / file).is_file()), None)
        content = read_json(begun) if begun else self.key
        differs = [name for name, value in self.key.items() if content.get(name, "npy") != value]
        if differs and (differs != ["source_sha256"] or not keep):
            what = "other photographs; --update it" if differs == ["source_sha256"] else f"another {differs[0]}"
            raise UserError(f"{folder}: already holds data prepared from {what}, or choose another folder")
        if begun and not differs:
            self.finished = begun.name == PREPARED
            self.shards = content.get("shards", {})
        else:
            finished = [shard["file"] for split in content.get("splits", {}).values() for shard in split["shards"]]
            self.shards = keep() if finished else {}
            self._write_json(PREPARING, self.key | {"shards": self.shards})
            for file in {PREPARED, *finished, *content.get("shards", {})} - set(self.shards):
                (folder / file).unlink(missing_ok=True)
        for left_over in folder.glob(f"*{PARTIAL}"):
            left_over.unlink()

    def add_shard(self, file: str, entry: dict) -> None:
        """Record a shard that has its final name."""
        with self.lock:
            self.shards[file] = entry
            self._write_json(PREPARING, self.key | {"shards": self.shards})

    def finish(
        self, name: str, classes: list[str], splits: dict[str, Split], threads: int, devkit_ids: list[int] | None = None
    ) -> None:
        """Write labels, names, mean and colour of "train", and prepared.json."""
        described = {split: self._describe(split, classes, content) for split, content in splits.items()}
        mean_of = "train" if "train" in splits else next(iter(splits))  # an evaluation may want no more than a test set
        opened = [open_shard(self.folder, shard, self.image_size, self.encoding) for shard in splits[mean_of].shards]
        mean, covariance = moments(opened, threads)
        eigenvalues, eigenvectors = principal_components(covariance)
        with written_whole(self.folder / "mean.npy") as path, open(path, "wb") as out:
            np.save(out, mean)
        prepared = {"format": FORMAT, "name": name, **self.key, "classes": classes, "splits": described}
        prepared["devkit_ids"] = devkit_ids
        prepared["mean"] = self._checksummed("mean.npy") | {"of": mean_of}
        colour = dict(covariance=covariance, eigenvalues=eigenvalues, eigenvectors=eigenvectors)
        prepared["colour"] = {name: array.tolist() for name, array in colour.items()}
        self._write_json(PREPARED, prepared)
        (self.folder / PREPARING).unlink()

    def _describe(self, split: str, classes: list[str], content: Split) -> dict:
        labels, names = f"{split}-labels.npy", f"{split}-names.txt"
        with written_whole(self.folder / labels) as path, open(path, "wb") as out:
            np.save(out, np.array(content.labels, np.int64))
        with written_whole(self.folder / names) as path:
            path.write_text("".join(f"{name}\n" for name in content.names), "utf-8", "surrogateescape", "\n")
        return {
            "images": len(content.names),
            "labelled": NO_LABEL not in content.labels,
            "identity": identify(split, classes, content.names, content.labels, len(content.unreadable)),
            "shards": content.shards,
            "labels": self._checksummed(labels),
            "names": self._checksummed(names),
            "unreadable": content.unreadable,
        }

    def _checksummed(self, file: str) -> dict:
        return {"file": file, "sha256": sha256_of(self.folder / file)}

    def _write_json(self, file: str, content: dict) -> None:
        with written_whole(self.folder / file) as path:
            path.write_text(json.dumps(content, indent=1) + "\n")


def check_free(folder: Path) -> None:
    """Raise UserError where a folder holds what no preparation wrote."""
    if any((folder / file).is_file() for file in (PREPARED, PREPARING)):
        return
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")
    ours = INDEX.format("*"), f"*{PARTIAL}"  # an index may lie there before anything else does
    try:
        foreign = folder.exists() and any(not any(map(path.match, ours)) for path in folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); choose another folder") from None
    if foreign:
        raise UserError(f"{folder}: not empty, and no prepared data; choose another folder")


def read_json(path: Path) -> dict:
    """Read a JSON object; raise UserError where the file holds anything else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object")
    return content
