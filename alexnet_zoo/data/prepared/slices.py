"""Says which photographs make each shard, and which shards stay after photographs were added or removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.data.prepared.shards import shard_name
from alexnet_zoo.data.prepared.store import PREPARED, Split, Store, read_json
from alexnet_zoo.data.sources.source import Source


@dataclass
class Slice:
    """Lists the photographs of one shard, in three sequences of equal length."""

    shard: str
    split: str
    names: list[str]
    labels: list[int]
    files: Sequence


def slices_of(photographs: Source, shard_images: int, encoding: str) -> list[Slice]:
    slices = []
    for split, listing in photographs.splits.items():
        for number, start in enumerate(range(0, len(listing.names), shard_images)):
            part = slice(start, start + shard_images)
            lists = listing.names[part], listing.labels[part], listing.files[part]
            slices.append(Slice(shard_name(split, number, encoding), split, *lists))
    return slices


def unreadable_lines(part: Slice, store: Store) -> list[str]:
    return [f"{part.names[row]}: {reason}" for row, reason in store.shards[part.shard]["unreadable"]]


def finished_split(slices: list[Slice], store: Store, split: str) -> Split:
    """Put a split together from its slices, without the photographs that could not be read."""
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
        content.unreadable += unreadable_lines(part, store)
    return content


def unchanged(folder: Path, slices: list[Slice]) -> dict[str, dict]:
    """Return {file: entry} of the shards in a finished folder that hold all photographs of their slice, by name."""
    by_file = {part.shard: part for part in slices}
    kept = {}
    for split in read_json(folder / PREPARED)["splits"].values():
        names, start = (folder / split["names"]["file"]).read_text("utf-8", "surrogateescape").split("\n"), 0
        for shard in split["shards"]:
            held, start = names[start : start + shard["images"]], start + shard["images"]
            part = by_file.get(shard["file"])
            if part and part.names == held:
                kept[part.shard] = shard | {"unreadable": []}
    return kept
