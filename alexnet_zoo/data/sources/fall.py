"""The whole of ImageNet: a folder of one tar for each synset, or one tar of those; Fall 2009 and Fall 2011."""

import re
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.data.published import FALL_2009, FALL_2011, PublishedSet
from alexnet_zoo.data.sources.archives import Members, members_of
from alexnet_zoo.data.sources.source import Listing, Source, check_fraction, first_few, in_val, is_photograph
from alexnet_zoo.errors import UserError

SYNSET_TAR = re.compile(r"n\d{8}\.tar")


@dataclass(frozen=True)
class Release:
    published: PublishedSet
    second: str  # the split beside train
    fraction: float | None  # the part of the photographs in that split; None: as the user says
    pattern: str  # matches the name of its folder or archive


# "We used half of the images for training and half for testing" (section 6), but not which; here a hash decides.
RELEASES = (
    Release(FALL_2009, "test", 0.5, r"fall[-_ ]?(20)?09"),
    Release(FALL_2011, "val", None, r"fall[-_ ]?(20)?11"),
)


def synset_tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if SYNSET_TAR.fullmatch(path.name))


def fall(
    path: Path, val_fraction: float = 0.1, cache: Path | None = None, releases: tuple[Release, ...] = RELEASES
) -> Source:
    """List all photographs in a folder of synset tars, or in a tar of them, split by a hash of the name (in_val).

    The number of synsets says which release it is, Fall 2009 is halved; any other number is just photographs. Raises
    UserError where the name says which release it is, and the number of synsets is another.
    """
    archives = synset_tars(path) if path.is_dir() else [path]
    members = members_of(archives, cache)
    rows = _rows_by_class(members, single=path.is_dir())
    release = _release(path, len(rows), releases)
    second, fraction = (release.second, release.fraction or val_fraction) if release else ("val", val_fraction)
    if len(rows) < 2:
        raise UserError(f"{path}: has one class only ({first_few(list(rows))}); a classifier needs two or more")
    check_fraction(fraction)
    halves = {"train": ([], [], []), second: ([], [], [])}  # names, labels, rows
    for label, wnid in enumerate(sorted(rows)):
        named = rows[wnid]
        chosen = [in_val(name, fraction) for name, _ in named]
        if all(chosen) and fraction < 1:  # a synset of one or two photographs: none would be left to train on
            chosen[0] = False
        for (name, row), held_out in zip(named, chosen, strict=True):
            names, labels, places = halves[second if held_out else "train"]
            names.append(name)
            labels.append(label)
            places.append(row)
    halves = {split: lists for split, lists in halves.items() if lists[0]}
    if second not in halves and fraction:
        raise UserError(f"{path}: leaves no photograph for {second}; give more of them")
    splits = {split: Listing(names, labels, members.take(places)) for split, (names, labels, places) in halves.items()}
    return Source(release.published.name if release else path.resolve().stem, sorted(rows), splits)


def _release(path: Path, synsets: int, releases: tuple[Release, ...]) -> Release | None:
    for release in releases:
        known = release.published
        if re.search(release.pattern, path.resolve().name, re.IGNORECASE) and synsets != known.classes:
            raise UserError(f"{path}: {synsets:,} synsets found, {known.classes:,} expected of {known.name}")
    return next((release for release in releases if release.published.classes == synsets), None)


def _rows_by_class(members: Members, single: bool) -> dict[str, list[tuple[str, int]]]:
    """{wnid: [(WNID/FILE, row), ...]}, sorted; the wnid is the name of the tar that a photograph lies in."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for row, name in enumerate(members.names):
        tar = Path(members.archives[members.archive[row]]).name if single else name.partition("/")[0]
        file = name.rpartition("/")[2]
        if is_photograph(file):
            wnid = tar.removesuffix(".tar")
            rows.setdefault(wnid, []).append((f"{wnid}/{file}", row))
    return {wnid: sorted(found) for wnid, found in rows.items()}
