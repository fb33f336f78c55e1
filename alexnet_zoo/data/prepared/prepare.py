"""Photographs to 256x256 arrays, once (section 2): decoded in parallel, written as shards, resumable."""

import os
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.dataset import Prepared, open_prepared
from alexnet_zoo.data.prepared.decoders import Decoders
from alexnet_zoo.data.prepared.shards import ENCODINGS, begin_shard, end_shard, expected_bytes, shard_name
from alexnet_zoo.data.prepared.store import SHARD_IMAGES, Split, Store, check_free
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.data.sources.source import Source
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import PARTIAL, sha256_of, written_whole
from alexnet_zoo.progress import Progress

TASK_IMAGES = 32  # what a decoding process does between two reports
OPEN_SHARDS = 2  # while one is finished, the next is decoded
MAX_UNREADABLE = 0.01  # of all photographs
MARGIN = 64 * 2**20  # bytes of disk beyond the shards: labels, names, mean


def prepare(
    source: Path | str,
    out: Path,
    image_size: int = 256,
    workers: int | None = None,
    val_fraction: float = 0.1,
    shard_images: int = SHARD_IMAGES,
    encoding: str = "npy",
    splits: tuple[str, ...] | None = None,
) -> Prepared:
    """Prepare photographs: shorter side to image_size, central square, RGB.

    Args: source, val_fraction and splits, as `open_source` takes them: a folder or an archive of photographs, or a data
    set's name; out, a new or empty folder, or one that this function began; workers, decoding processes (all cores);
    encoding, "npy" or "jpeg" (a tenth of the disk).

    A killed run goes on at the shards it had finished; a finished one is a no-op. Raises UserError for a source that
    cannot be used, a full disk, or over 1% unreadable photographs (all named in OUT/unreadable.txt).
    """
    out = Path(out)
    if encoding not in ENCODINGS:
        raise UserError(f"encoding {encoding!r}: there are {' and '.join(ENCODINGS)}", exit_code=2)
    if image_size < 1 or shard_images < 1:
        raise UserError(f"image_size {image_size}, shard_images {shard_images}: both must be at least 1", exit_code=2)
    if out.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{out}: lies in the folder of photographs; choose a folder outside it")
    check_free(out)
    photographs = open_source(source, val_fraction, splits, cache=out)
    store = Store(out, photographs.sha256(), image_size, shard_images, encoding)
    if not store.finished:
        workers = workers or cores()
        shards = _slices(photographs, shard_images, encoding)
        _write_shards(photographs.name, shards, store, workers)
        splits = {split: _finished_split(shards, store, split) for split in photographs.splits}
        store.finish(photographs.name, photographs.classes, splits, workers, photographs.devkit_ids)
    return open_prepared(out)


@dataclass
class _Slice:
    """The photographs that one shard is made of; three lists of equal length."""

    shard: str
    split: str
    names: list[str]
    labels: list[int]
    files: Sequence


def _slices(photographs: Source, shard_images: int, encoding: str) -> list[_Slice]:
    slices = []
    for split, listing in photographs.splits.items():
        for number, start in enumerate(range(0, len(listing.names), shard_images)):
            part = slice(start, start + shard_images)
            lists = listing.names[part], listing.labels[part], listing.files[part]
            slices.append(_Slice(shard_name(split, number, encoding), split, *lists))
    return slices


def _write_shards(name: str, slices: list[_Slice], store: Store, workers: int) -> None:
    todo = [part for part in slices if part.shard not in store.shards]
    total, left = sum(len(part.names) for part in slices), sum(len(part.names) for part in todo)
    _check_space(store.folder, expected_bytes(left, store.image_size, store.encoding))
    workers = max(1, min(workers, left // TASK_IMAGES))
    with Progress(total, f"prepare {name}", initial=total - left) as progress, Decoders(workers) as decoders:
        writer = _Writer(store, decoders, progress, slices)
        with ThreadPoolExecutor(OPEN_SHARDS) as finishers:
            begun: deque[tuple[_Slice, Path, list[Future]]] = deque()
            finishing: list[Future] = []
            waiting = deque(todo)
            while waiting or begun:
                if waiting and len(begun) < OPEN_SHARDS:
                    begun.append(writer.begin(waiting.popleft()))
                    continue
                part, partial, tasks = begun.popleft()
                unreadable, sizes = writer.wait(part, tasks)
                finishing.append(finishers.submit(writer.finish, part, partial, unreadable, sizes))
            for future in finishing:
                future.result()


class _Writer:
    """Takes a slice through three steps: begin (hand to the decoders), wait (for them), finish (name and record)."""

    def __init__(self, store: Store, decoders: Decoders, progress: Progress, slices: list[_Slice]):
        self.store, self.decoders, self.progress = store, decoders, progress
        self.total = sum(len(part.names) for part in slices)
        self.unreadable = [line for part in slices if part.shard in store.shards for line in _unreadable(part, store)]

    def begin(self, part: _Slice) -> tuple[_Slice, Path, list[Future]]:
        size, encoding = self.store.image_size, self.store.encoding
        partial = self.store.folder / f"{part.shard}.{os.getpid()}{PARTIAL}"
        offset, stride = begin_shard(partial, len(part.files), size, encoding)
        task = {"shard": str(partial), "offset": offset, "stride": stride, "image_size": size, "encoding": encoding}
        starts = range(0, len(part.files), TASK_IMAGES)
        tasks = [task | {"first_row": start, "files": part.files[start : start + TASK_IMAGES]} for start in starts]
        return part, partial, [self.decoders.submit(task) for task in tasks]

    def wait(self, part: _Slice, tasks: list[Future]) -> tuple[list[list], list[int]]:
        """[row, reason] of each unreadable photograph and the bytes of each row, once all are decoded.

        Raises UserError when too many are unreadable.
        """
        unreadable, sizes = [], []
        for start, future in zip(range(0, len(part.files), TASK_IMAGES), tasks, strict=True):
            answer = future.result()
            found = answer["unreadable"]
            unreadable += found
            sizes += answer["sizes"]
            self.unreadable += [f"{part.names[row]}: {reason}" for row, reason in found]
            if len(self.unreadable) > MAX_UNREADABLE * self.total:
                self._give_up()
            images = min(TASK_IMAGES, len(part.files) - start)
            self.progress.update(images, **({"unreadable": len(self.unreadable)} if self.unreadable else {}))
        return unreadable, sizes

    def finish(self, part: _Slice, partial: Path, unreadable: list[list], sizes: list[int]) -> None:
        images = len(part.files) - len(unreadable)
        with written_whole(self.store.folder / part.shard) as path:
            left_out = {row for row, _ in unreadable}
            end_shard(partial, path, self.store.image_size, self.store.encoding, sizes, left_out)
        entry = {"file": part.shard, "images": images, "sha256": sha256_of(self.store.folder / part.shard)}
        self.store.add_shard(part.shard, entry | {"unreadable": unreadable})

    def _give_up(self) -> None:
        with written_whole(self.store.folder / "unreadable.txt") as path:
            path.write_text("".join(f"{line}\n" for line in self.unreadable), "utf-8", "surrogateescape")
        some = "; ".join(self.unreadable[:5]) + ("; ..." if len(self.unreadable) > 5 else "")
        raise UserError(
            f"{self.store.folder / 'unreadable.txt'}: lists {len(self.unreadable)} photographs that cannot be read, "
            f"over {MAX_UNREADABLE:.0%} of {self.total}; mend or remove them: {some}"
        )


def _unreadable(part: _Slice, store: Store) -> list[str]:
    return [f"{part.names[row]}: {reason}" for row, reason in store.shards[part.shard]["unreadable"]]


def _finished_split(slices: list[_Slice], store: Store, split: str) -> Split:
    content = Split([], [], [])
    for part in slices:
        if part.split != split:
            continue
        entry = store.shards[part.shard]
        left_out = {row for row, _ in entry["unreadable"]}
        kept = [row for row in range(len(part.names)) if row not in left_out]
        content.names += [part.names[row] for row in kept]
        content.labels += [part.labels[row] for row in kept]
        content.shards.append({key: entry[key] for key in ("file", "images", "sha256")})
        content.unreadable += _unreadable(part, store)
    return content


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + MARGIN > free:
        raise UserError(f"{folder}: needs {needed / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free")
