"""timm's dataset names: hfds/NAME (Hugging Face datasets, through timm's reader) and wds/FOLDER (WebDataset tars)."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from alexnet_zoo.data.sources.archives import Members, members_of
from alexnet_zoo.data.sources.source import Listing, Source, is_photograph
from alexnet_zoo.errors import UserError

NAMES = re.compile(r"(hfds|wds|hfids|tfds|torch)/.", re.IGNORECASE)
HELD_OUT = {"val": ("validation", "val", "valid"), "test": ("test",)}  # the names under which others publish them


def is_dataset_name(source: Path | str) -> bool:
    """Say whether this is a name of timm's, and no file or folder of that name is here."""
    return bool(NAMES.match(str(source))) and not os.path.exists(source)


def named(name: str, splits: tuple[str, ...] | None = None, cache: Path | None = None) -> Source:
    """List the photographs behind a name, in the order in which the data set has them.

    Raises UserError where the data set, or the package that reads it, is not here.
    """
    prefix, _, rest = name.partition("/")
    if prefix.lower() == "hfds":
        return _hugging_face(rest, splits)
    if prefix.lower() == "wds":
        return _web_dataset(Path(rest), splits, cache)
    raise UserError(f"{name}: {prefix}/ can only be streamed; give hfds/NAME, wds/FOLDER or a folder", exit_code=2)


class Items(Sequence):
    """Reads each encoded image when it is asked for; slices are Items too."""

    def __init__(self, read: Callable[[int], bytes], rows: range):
        self.read, self.rows = read, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key):
        return Items(self.read, self.rows[key]) if isinstance(key, slice) else self.read(self.rows[key])


def _hugging_face(name: str, splits: tuple[str, ...] | None) -> Source:
    try:
        from timm.data.readers.reader_hfds import ReaderHfds
    except ImportError:
        raise UserError(f"hfds/{name}: needs the package datasets: pip install datasets") from None
    readers = {}
    for split in splits or ("train", *HELD_OUT):
        for published in HELD_OUT.get(split, (split,)):
            try:
                readers[split] = ReaderHfds(name, split=published)
                break
            except ValueError:  # datasets' "Unknown split"
                continue
            except Exception as error:
                raise UserError(f"hfds/{name}: cannot be read ({type(error).__name__}: {error})") from None
    lacking = [split for split in splits or ("train",) if split not in readers]
    if lacking or len(readers) < (1 if splits else 2):
        raise UserError(f"hfds/{name}: has no split {(lacking or ['val'])[0]}; it has {', '.join(readers) or 'none'}")
    class_to_idx = next(iter(readers.values())).class_to_idx
    if not class_to_idx:
        raise UserError(f"hfds/{name}: names no classes in its column 'label'")
    classes = sorted(class_to_idx)
    index = {class_to_idx[label]: number for number, label in enumerate(classes)}
    listings = {}
    for split, reader in readers.items():
        labels = [index.get(int(target), -1) for target in reader.dataset[reader.label_key]]
        if any(label < 0 for label in labels):
            raise UserError(f"hfds/{name}: {split} has labels outside its {len(classes)} classes")
        names = [f"{classes[label]}/{split}_{row:08d}" for row, label in enumerate(labels)]
        listings[split] = Listing(names, labels, Items(_reading(reader), range(len(labels))))
    return Source(name, classes, listings)


def _reading(reader) -> Callable[[int], bytes]:
    def read(row: int) -> bytes:
        with reader[row][0] as file:
            return file.read()

    return read


def _web_dataset(folder: Path, splits: tuple[str, ...] | None, cache: Path | None) -> Source:
    """Tars in which KEY.jpg and KEY.cls (a number) lie side by side; _info.json says which are of which split.

    They are read in place like any tar, several at once, which timm's own reader, made for streams, cannot do.
    """
    archives = _archives_by_split(folder)
    wanted = splits or tuple(archives)
    if lacking := [split for split in wanted if split not in archives]:
        raise UserError(f"wds/{folder}: has no split {lacking[0]!r}; it has {', '.join(archives)}")
    found = {split: _pairs(members_of(archives[split], cache), folder) for split in wanted}
    numbers = sorted({number for _, labels, _ in found.values() for number in labels})
    width = len(str(numbers[-1]))
    classes = [f"{number:0{width}d}" for number in range(numbers[-1] + 1)]
    listings = {
        split: Listing([f"{classes[n]}/{key}" for key, n in zip(keys, labels, strict=True)], labels, images)
        for split, (keys, labels, images) in found.items()
    }
    return Source(folder.resolve().name, classes, listings)


def _archives_by_split(folder: Path) -> dict[str, list[Path]]:
    info = next((folder / name for name in ("_info.json", "info.json") if (folder / name).is_file()), None)
    if info is None:
        tars = sorted(folder.glob("*.tar"))
        found = {"train": [tar for tar in tars if "train" in tar.name], "val": [t for t in tars if "val" in t.name]}
    else:
        try:
            described = json.loads(info.read_text())["splits"]
            found = {split: _files(folder, described, split) for split in ("train", *HELD_OUT)}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{info}: cannot be read ({error!r})") from None
    found = {split: tars for split, tars in found.items() if tars}
    if not found:
        raise UserError(f"wds/{folder}: no tars of WebDataset there, named for train or val or listed in _info.json")
    return found


def _files(folder: Path, described: dict, split: str) -> list[Path]:
    for published in HELD_OUT.get(split, (split,)):
        if published in described:
            return [folder / name for name in described[published]["filenames"]]
    return []


def _pairs(members: Members, folder: Path) -> tuple[list[str], list[int], Members]:
    """Return keys, classes and photographs of the samples; raise UserError where a photograph has no class."""
    photographs, classes = {}, {}
    for row, name in enumerate(members.names):
        key, _, ending = name.rpartition(".")
        if is_photograph(name):
            photographs[members.archive[row], key] = row
        elif ending == "cls":
            archive, start, size = members[row]
            with open(archive, "rb") as file:
                file.seek(start)
                classes[members.archive[row], key] = file.read(size)
    both = [key for key in photographs if key in classes]
    if not both or len(both) < len(photographs):
        found = f"{len(photographs):,} photographs, {len(both):,} of them with a .cls beside them"
        raise UserError(f"wds/{folder}: {found}")
    numbers = [classes[key].strip() for key in both]
    if odd := [number for number in numbers if not number.isdigit()]:
        raise UserError(f"wds/{folder}: {odd[0]!r} in a .cls is not the number of a class")
    rows = [photographs[key] for key in both]
    return [key[1].removeprefix("./") for key in both], [int(number) for number in numbers], members.take(rows)
