"""Lists ILSVRC-2010 and -2012 as distributed: tars of photographs, and a development kit that says what they are.

Labels here are indices into the sorted wnids. The kits number the classes in another order, 1 to 1,000; inner nodes of
the hierarchy come after those.
"""

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from alexnet_zoo.data.published import ILSVRC_2010, ILSVRC_2012, PublishedSet
from alexnet_zoo.data.sources.archives import Members, members_of, read_member
from alexnet_zoo.data.sources.source import NO_LABEL, Listing, Source, first_few
from alexnet_zoo.errors import UserError


@dataclass(frozen=True)
class Year:
    """Says what one year's distribution consists of."""

    published: PublishedSet
    needed: tuple[str, ...]  # splits that the paper's tables are measured on
    devkit: str
    train: str
    val: str
    test: str  # a pattern: the test archive of 2012 was published twice

    @property
    def name(self) -> str:
        return self.published.name

    @property
    def stem(self) -> str:
        """Return how all its names begin: ILSVRC2012."""
        return self.name.replace("-", "")


NAMES_2010 = [f"ILSVRC2010_images_{split}.tar" for split in ("train", "val", "test")]
NAMES_2012 = ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_img_test*.tar"]
ILSVRC2010 = Year(ILSVRC_2010, ("train", "val", "test"), "ILSVRC2010_devkit-1.0.tar.gz", *NAMES_2010)
ILSVRC2012 = Year(ILSVRC_2012, ("train", "val"), "ILSVRC2012_devkit_t12.tar.gz", *NAMES_2012)
YEARS = (ILSVRC2010, ILSVRC2012)


@dataclass
class Devkit:
    """Holds a year's classes: ground truths and the test server give wnids[i] the id i + 1."""

    wnids: list[str]
    train_images: dict[str, int]  # of each wnid, as the kit counts them

    @property
    def classes(self) -> list[str]:
        return sorted(self.wnids)

    def labels(self, ids: list[int], what: str) -> list[int]:
        """Turn ids, 1.., into labels; raise UserError for one outside the classes."""
        if outside := [i for i in ids if not 1 <= i <= len(self.wnids)]:
            raise UserError(f"{what}: the id {outside[0]} is not a class's, 1 to {len(self.wnids)}")
        index = {wnid: label for label, wnid in enumerate(self.classes)}
        return [index[self.wnids[i - 1]] for i in ids]


def year_of(folder: Path) -> Year | None:
    """Tell by the archives' names which year a folder holds; raise UserError where it holds both."""
    found = [year for year in YEARS if any(folder.glob(f"{year.stem}*.tar"))]
    found = found or [year for year in YEARS if any(folder.glob(f"{year.stem}*.tar.gz"))]
    if len(found) > 1:
        raise UserError(f"{folder}: holds archives of {found[0].name} and {found[1].name}; give each a folder")
    return found[0] if found else None


def ilsvrc(folder: Path, year: Year, splits: tuple[str, ...] | None = None, cache: Path | None = None) -> Source:
    """List a year's photographs in a folder: those of `splits`, or the needed ones, and test where it is there.

    Raises UserError where an archive is missing or incomplete, where the kit is of the other year, or where a ground
    truth does not fit.
    """
    wanted = splits or tuple(s for s in ("train", "val", "test") if s in year.needed or _find(folder, year, s))
    archives = {split: _find(folder, year, split) for split in wanted}
    missing = [getattr(year, split) for split, archive in archives.items() if archive is None]
    if missing:
        raise UserError(f"{folder}: {year.name} is not complete here, missing: {', '.join(missing)}")
    devkit = read_devkit(folder, year)
    listings = {}
    for split, archive in archives.items():
        members = members_of([archive], cache)
        if split == "train":
            listings[split] = _train(members, archive, year, devkit)
        else:
            labels = _truth(folder, year, split, devkit)
            listings[split] = _numbered(members, archive, year, split, devkit.classes, labels)
    return Source(year.name, devkit.classes, listings, [devkit.wnids.index(wnid) + 1 for wnid in devkit.classes])


def read_devkit(folder: Path, year: Year) -> Devkit:
    """Read the classes of a year from meta.mat, in the kit that lies in the folder."""
    from scipy.io import loadmat  # here, since it takes a while to import

    path = _devkit_path(folder, year)
    content = read_member(path, "data/meta.mat")
    if content is None:
        raise UserError(f"{path}: holds no data/meta.mat; download it again")
    try:
        synsets = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=True)["synsets"]
        id_name = next(name for name in synsets.dtype.names if name.endswith("_ID"))
        rows = [(int(row[id_name]), str(row["WNID"]), int(row["num_train_images"])) for row in synsets.ravel()]
    except Exception as error:  # scipy raises nearly every type there is for a file that is not as it should be
        raise UserError(f"{path}: its meta.mat cannot be read ({type(error).__name__}: {error})") from None
    if id_name != f"{year.stem}_ID":
        wrong = f"is the kit of another year (its ids are {id_name})"
        raise UserError(f"{path}: {wrong}, the photographs are {year.name}'s")
    leaves = sorted(row for row in rows if 1 <= row[0] <= year.published.classes)
    if [leaf for leaf, _, _ in leaves] != list(range(1, year.published.classes + 1)):
        raise UserError(f"{path}: {len(leaves):,} classes found, {year.published.classes:,} expected")
    return Devkit([wnid for _, wnid, _ in leaves], {wnid: images for _, wnid, images in leaves})


def _devkit_path(folder: Path, year: Year) -> Path:
    path = folder / year.devkit
    if path.is_file():
        return path
    other = next((kit for other in YEARS for kit in folder.glob(f"{other.stem}*devkit*")), None)
    there = f" (there is {other.name}, another one)" if other else ""
    raise UserError(f"{path}: no such archive{there}; it says which class each photograph is of")


def _find(folder: Path, year: Year, split: str) -> Path | None:
    return max((path for path in folder.glob(getattr(year, split)) if path.is_file()), default=None)


def _train(members: Members, archive: Path, year: Year, devkit: Devkit) -> Listing:
    """List a tar of one tar for each synset: n01440764.tar/n01440764_10026.JPEG."""
    wnids = [name.partition(".tar/")[0] for name in members.names]
    counts, expected = Counter(wnids), year.published.images["train"]
    total = len(devkit.classes)
    if absent := [wnid for wnid in devkit.classes if wnid not in counts]:
        missing = f"{total - len(absent):,} synsets found, {total:,} expected; missing: {first_few(absent)}"
        raise UserError(f"{archive}: {missing}")
    if unknown := sorted(set(counts) - set(devkit.classes)):
        raise UserError(f"{archive}: {len(unknown)} synsets that {year.name}'s kit does not know: {first_few(unknown)}")
    if len(members) != expected:
        said = sorted((wnid, counts[wnid], images) for wnid, images in devkit.train_images.items())
        differing = [f"{wnid}.tar has {found:,} of {images:,}" for wnid, found, images in said if found != images]
        raise UserError(f"{archive}: {len(members):,} images found, {expected:,} expected; {first_few(differing)}")
    names = [name.replace(".tar/", "/", 1) for name in members.names]
    order = sorted(range(len(names)), key=names.__getitem__)
    index = {wnid: label for label, wnid in enumerate(devkit.classes)}
    return Listing([names[row] for row in order], [index[wnids[row]] for row in order], members.take(order))


def _numbered(
    members: Members, archive: Path, year: Year, split: str, classes: list[str], labels: list[int] | None
) -> Listing:
    """List ILSVRC2012_val_00000001.JPEG ... by their numbers, as the ground truth is ordered."""
    pattern = re.compile(rf"(?:.*/)?({year.stem}_{split}_(\d{{8}})\.JPEG)")
    found = {}
    for row, name in enumerate(members.names):
        if match := pattern.fullmatch(name):
            found[int(match[2])] = row, match[1]
    expected = year.published.images[split]
    if len(found) != expected:
        raise UserError(f"{archive}: {len(found):,} images of {split} found, {expected:,} expected; download it again")
    if sorted(found) != list(range(1, expected + 1)):
        raise UserError(f"{archive}: its images are not numbered 1 to {expected:,}")
    rows, files = zip(*(found[number] for number in range(1, expected + 1)), strict=True)
    if labels is None:
        return Listing(list(files), [NO_LABEL] * expected, members.take(rows))
    names = [f"{classes[label]}/{file}" for label, file in zip(labels, files, strict=True)]
    return Listing(names, labels, members.take(rows))


def _truth(folder: Path, year: Year, split: str, devkit: Devkit) -> list[int] | None:
    """Read the labels of val or test, from the folder or from the kit; None for 2012's test set."""
    if split == "test" and "test" not in year.needed:
        return None
    name = f"{year.stem}_{'validation' if split == 'val' else split}_ground_truth.txt"
    path = folder / name
    content = path.read_bytes() if path.is_file() else read_member(_devkit_path(folder, year), f"/{name}")
    if content is None:
        raise UserError(f"{path}: no such file, nor does {year.devkit} hold it; it has the labels of {split}")
    lines, expected = content.split(), year.published.images[split]
    if len(lines) != expected or not all(line.isdigit() for line in lines):
        raise UserError(f"{path}: {len(lines):,} labels found, {expected:,} expected")
    return devkit.labels([int(line) for line in lines], str(path))
