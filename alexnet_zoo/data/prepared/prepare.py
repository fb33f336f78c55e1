"""Turns photographs into 256x256 arrays, once (section 2): decodes in parallel, writes shards, can be resumed."""

import os
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from alexnet_zoo.cores import cores
from alexnet_zoo.data.prepared.dataset import Prepared, open_prepared
from alexnet_zoo.data.prepared.decoders import Decoders
from alexnet_zoo.data.prepared.shards import ENCODINGS, begin_shard, end_shard, expected_bytes
from alexnet_zoo.data.prepared.slices import Slice, finished_split, slices_of, unchanged, unreadable_lines
from alexnet_zoo.data.prepared.store import PREPARED, SHARD_IMAGES, Store, check_free
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.data.sources.source import Source
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import PARTIAL, check_writable, sha256_of, written_whole
from alexnet_zoo.progress import Progress, say

TASK_IMAGES = 32  # images that a process decodes between two reports
OPEN_SHARDS = 2  # while one is finished, the next is decoded
MAX_UNREADABLE = 0.01  # of all photographs
MARGIN = 64 * 2**20  # bytes of disk beyond the shards: labels, names, mean


def prepare(
    source: Path | str | Source,
    out: Path,
    image_size: int = 256,
    workers: int | None = None,
    shard_images: int = SHARD_IMAGES,
    encoding: str = "npy",
    skip_unreadable: bool = False,
    update: bool = False,
) -> Prepared:
    """Prepare photographs: scale the shorter side to image_size (bicubic), cut out the central square, as RGB.

    Args: source, what `open_source` takes or returns; out, a new or empty folder, or one that this function began;
    workers, decoding processes (one a core); encoding, "npy" or "jpeg" (a tenth of the disk); skip_unreadable, whether
    any number of photographs may be unreadable; update, whether a folder whose photographs have changed since is made
    anew, but for the shards whose photographs are the same, by their names.

    A killed run goes on at the shards it had finished; a finished one is a no-op. Raises UserError for a source that
    cannot be used, a full disk, or over 1% unreadable photographs (all named in OUT/unreadable.txt).
    """
    out, workers = Path(out), cores() if workers is None else workers
    if encoding not in ENCODINGS:
        raise UserError(f"encoding {encoding!r}: there are {' and '.join(ENCODINGS)}", exit_code=2)
    for name, value in {"image_size": image_size, "shard_images": shard_images, "workers": workers}.items():
        if value < 1:
            raise UserError(f"{name} {value}: must be at least 1", exit_code=2)
    if not isinstance(source, Source):
        check_out(out, source)
        source = open_source(source, cache=out)
    slices = slices_of(source, shard_images, encoding)
    keep = (lambda: unchanged(out, slices)) if update else None
    store = Store(out, source.sha256(), image_size, shard_images, encoding, keep)
    if not store.finished:
        _write_shards(source.name, slices, store, workers, 1.0 if skip_unreadable else MAX_UNREADABLE)
        splits = {split: finished_split(slices, store, split) for split in source.splits}
        store.finish(source.name, source.classes, splits, workers, source.devkit_ids)
        if shared := shared_images(open_prepared(out)):
            say(f"{out}: {len(shared)} images of train are in val or test too, such as {shared[0]}; errors are too low")
    return open_prepared(out)


def shared_images(prepared: Prepared) -> list[str]:
    """List the images of train that are, under the same name and pixel for pixel, in another split too."""
    rows = {split: {name: row for row, name in enumerate(dataset.names)} for split, dataset in prepared.splits.items()}
    train, found = rows.pop("train", {}), []
    for split, others in rows.items():
        for name in train.keys() & others.keys():
            places = (("train", train[name]), (split, others[name]))
            one, other = (prepared.split(s).gather([row], [0], [0], prepared.image_size) for s, row in places)
            found += [name] if one.equal(other) else []
    return sorted(found)


def check_out(out: Path, source: Path | str) -> None:
    """Raise UserError for a folder that a source cannot be prepared in."""
    if out.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{out}: lies in the folder of photographs; choose a folder outside it")
    check_free(out)
    check_writable(out / PREPARED)


def _write_shards(name: str, slices: list[Slice], store: Store, workers: int, most_unreadable: float) -> None:
    todo = [part for part in slices if part.shard not in store.shards]
    total, left = sum(len(part.names) for part in slices), sum(len(part.names) for part in todo)
    _check_space(store.folder, expected_bytes(left, store.image_size, store.encoding))
    workers = max(1, min(workers, left // TASK_IMAGES))
    with Progress(total, f"prepare {name}", initial=total - left) as progress, Decoders(workers) as decoders:
        writer = _Writer(store, decoders, progress, slices, most_unreadable)
        with ThreadPoolExecutor(OPEN_SHARDS) as finishers:
            begun: deque[tuple[Slice, Path, list[Future]]] = deque()
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

    def __init__(
        self, store: Store, decoders: Decoders, progress: Progress, slices: list[Slice], most_unreadable: float
    ):
        self.most_unreadable = most_unreadable
        self.store, self.decoders, self.progress = store, decoders, progress
        self.total = sum(len(part.names) for part in slices)
        finished = [part for part in slices if part.shard in store.shards]
        self.unreadable = [line for part in finished for line in unreadable_lines(part, store)]

    def begin(self, part: Slice) -> tuple[Slice, Path, list[Future]]:
        size, encoding = self.store.image_size, self.store.encoding
        partial = self.store.folder / f"{part.shard}.{os.getpid()}{PARTIAL}"
        offset, stride = begin_shard(partial, len(part.files), size, encoding)
        task = {"shard": str(partial), "offset": offset, "stride": stride, "image_size": size, "encoding": encoding}
        starts = range(0, len(part.files), TASK_IMAGES)
        tasks = [task | {"first_row": start, "files": part.files[start : start + TASK_IMAGES]} for start in starts]
        return part, partial, [self.decoders.submit(task) for task in tasks]

    def wait(self, part: Slice, tasks: list[Future]) -> tuple[list[list], list[int]]:
        """Wait until a slice is decoded; return [row, reason] of each unreadable photograph and the bytes of each row.

        Raises UserError when too many are unreadable.
        """
        unreadable, sizes = [], []
        for start, future in zip(range(0, len(part.files), TASK_IMAGES), tasks, strict=True):
            answer = future.result()
            found = answer["unreadable"]
            unreadable += found
            sizes += answer["sizes"]
            self.unreadable += [f"{part.names[row]}: {reason}" for row, reason in found]
            if len(self.unreadable) > self.most_unreadable * self.total:
                self._give_up()
            images = min(TASK_IMAGES, len(part.files) - start)
            self.progress.update(images, **({"unreadable": len(self.unreadable)} if self.unreadable else {}))
        return unreadable, sizes

    def finish(self, part: Slice, partial: Path, unreadable: list[list], sizes: list[int]) -> None:
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
            f"over {MAX_UNREADABLE:.0%} of {self.total}; mend or remove them, or --skip-unreadable: {some}"
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + MARGIN > free:
        raise UserError(f"{folder}: needs {(needed + MARGIN) / 1e9:.2f} GB of disk, {free / 1e9:.2f} GB are free")
