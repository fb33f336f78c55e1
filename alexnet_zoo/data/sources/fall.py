"""Lists the whole of ImageNet, Fall 2009 or Fall 2011: a folder with a tar for each synset, or one tar of those."""

import re
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.data.published import FALL_2009, FALL_2011, PublishedSet
from alexnet_zoo.data.sources.archives import Members, members_of
from alexnet_zoo.data.sources.source import SPLITS, Listing, Source, check_fraction, first_few, in_val, is_photograph
from alexnet_zoo.errors import UserError

SYNSET_TAR = re.compile(r"n\d{8}\.tar")


@dataclass(frozen=True)
class Release:
    published: PublishedSet
    pattern: str  # matches the name of its folder or archive


# "We used half of the images for training and half for testing" (section 6), but not which; here a hash decides.
RELEASES = (Release(FALL_2009, r"fall[-_ ]?(20)?09"), Release(FALL_2011, r"fall[-_ ]?(20)?11"))


def synset_tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if SYNSET_TAR.fullmatch(path.name))


def fall(
    path: Path, val_fraction: float = 0.1, cache: Path | None = None, releases: tuple[Release, ...] = RELEASES
) -> Source:
    """List all photographs in a folder of synset tars, or in a tar of them, split by a hash of the name (in_val).

    The number of synsets says which release it is, and so what is held out; any other number is just photographs.
    Raises UserError where the name says which release it is, and the number of synsets is another.
    """
    archives = synset_tars(path) if path.is_dir() else [path]
    members = members_of(archives, cache)
    rows = _rows_by_class(members, single=path.is_dir())
    release = _release(path, len(rows), releases)
    if len(rows) < 2:
        raise UserError(f"{path}: has one class only ({first_few(list(rows))}); a classifier needs two or more")
    check_fraction(val_fraction)
    held_out = release.published.held_out if release else {"val": val_fraction}
    parts: dict[str, tuple[list, list, list]]  # names, labels, rows
    parts = {split: ([], [], []) for split in ("train", *held_out)}
    for label, wnid in enumerate(sorted(rows)):
        named = rows[wnid]
        chosen = [_split_of(name, held_out) for name, _ in named]
        if "train" not in chosen and sum(held_out.values()) < 1:  # a synset of one or two: none would be trained on
            chosen[0] = "train"
        for (name, row), split in zip(named, chosen, strict=True):
            names, labels, places = parts[split]
            names.append(name)
            labels.append(label)
            places.append(row)
    bare = [split for split, share in held_out.items() if share and not parts[split][0]]
    if bare:
        raise UserError(f"{path}: leaves no photograph for {bare[0]}; give more of them")
    parts = {split: parts[split] for split in SPLITS if split in parts and parts[split][0]}
    splits = {split: Listing(names, labels, members.take(places)) for split, (names, labels, places) in parts.items()}
    return Source(release.published.name if release else path.resolve().stem, sorted(rows), splits)


def _split_of(name: str, held_out: dict[str, float]) -> str:
    """The split of a photograph, by the hash of its name: each one that is held out takes its share, train the rest."""
    bound = 0.0
    for split, share in held_out.items():
        bound += share
        if in_val(name, bound):
            return split
    return "train"


def _release(path: Path, synsets: int, releases: tuple[Release, ...]) -> Release | None:
    for release in releases:
        known = release.published
        if re.search(release.pattern, path.resolve().name, re.IGNORECASE) and synsets != known.classes:
            raise UserError(f"{path}: {synsets:,} synsets found, {known.classes:,} expected of {known.name}")
    return next((release for release in releases if release.published.classes == synsets), None)


def _rows_by_class(members: Members, single: bool) -> dict[str, list[tuple[str, int]]]:
    """Group photographs by the tar that they lie in, whose name is a wnid: {wnid: [(WNID/FILE, row), ...]}, sorted."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for row, name in enumerate(members.names):
        tar = Path(members.archives[members.archive[row]]).name if single else name.partition("/")[0]
        file = name.rpartition("/")[2]
        if is_photograph(file):
            wnid = tar.removesuffix(".tar")
            rows.setdefault(wnid, []).append((f"{wnid}/{file}", row))
    return {wnid: sorted(found) for wnid, found in rows.items()}
