"""ILSVRC as distributed, small: real names and layout, four classes whose ids are in another order than their wnids."""

import dataclasses

import numpy as np
import pytest

from alexnet_zoo.data.prepared.dataset import describe, verify
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.published import PublishedSet
from alexnet_zoo.data.sources.ilsvrc import ILSVRC2010, ILSVRC2012, Devkit, ilsvrc, read_devkit, year_of
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.errors import UserError

WNIDS = ["n02119789", "n02100735", "n01440764", "n07615774"]  # ids 1 to 4
COUNTS = [3, 5, 4, 2]
IDS = {"val": [3, 1, 4, 2, 2, 1], "test": [4, 4, 3, 1, 2, 2, 1]}
YEARS = {
    year.stem: dataclasses.replace(year, published=PublishedSet(year.name, 4, {"train": 14, "val": 6, "test": 7}))
    for year in (ILSVRC2010, ILSVRC2012)
}
YEAR_2010, YEAR_2012 = YEARS["ILSVRC2010"], YEARS["ILSVRC2012"]


@pytest.fixture
def write(tmp_path, fabricate):
    """write(year): a folder with all that was distributed; changes replace a file's content, None leaves it out."""
    counts = dict(zip(WNIDS, COUNTS, strict=True))
    return lambda year, **changes: fabricate.ilsvrc(tmp_path / year.stem, year, counts, IDS, **changes)


def colours(listing, fabricate):
    """Of each photograph, read where it lies: which number's colour it has."""
    import io

    from PIL import Image

    from alexnet_zoo.data.prepared.picture import read

    known = np.stack([fabricate.colour(seed) for seed in range(10)])
    found = [np.asarray(Image.open(io.BytesIO(read(file))))[18, 20] for file in listing.files]
    return [int(np.abs(known - pixel).sum(1).argmin()) for pixel in found]


@pytest.mark.parametrize("year", YEARS.values(), ids=YEARS)
def test_every_photograph_with_its_class(write, fabricate, year):
    folder = write(year)
    assert year_of(folder).name == year.name
    source = ilsvrc(folder, year)
    assert source.classes == sorted(WNIDS) and list(source.splits) == ["train", "val", "test"]
    train, val, test = source.splits.values()
    assert train.names[:5] == ["n01440764/n01440764_0.JPEG"] + [
        f"n01440764/n01440764_{n}.JPEG" for n in (14, 21, 7)
    ] + ["n02100735/n02100735_0.JPEG"]
    assert [source.classes[label] for label in train.labels] == [name[:9] for name in train.names]
    numbers = [int(name.split("_")[1].split(".")[0]) // 7 for name in train.names]
    assert colours(train, fabricate) == numbers
    assert [source.classes[label] for label in val.labels] == [WNIDS[i - 1] for i in IDS["val"]]
    assert val.names[0] == f"n01440764/{year.stem}_val_00000001.JPEG" and colours(val, fabricate) == list(range(6))
    assert colours(test, fabricate) == list(range(7))
    if year is YEAR_2010:  # its test labels are public, Table 1 is on them
        assert [source.classes[label] for label in test.labels] == [WNIDS[i - 1] for i in IDS["test"]]
    else:
        assert test.labels == [-1] * 7 and test.names[6] == "ILSVRC2012_test_00000007.JPEG"


def test_only_some_splits(write):
    folder = write(YEAR_2012, train=None)
    assert list(ilsvrc(folder, YEAR_2012, ("val",)).splits) == ["val"]


def test_the_years_are_known_by_the_names_of_their_archives(write, tmp_path):
    folder = write(YEAR_2010)
    with pytest.raises(UserError, match=r"ILSVRC2010_images_train.tar: 4 synsets found|classes found, 1,000 expected"):
        open_source(folder)
    (folder / "ILSVRC2012_img_val.tar").touch()
    with pytest.raises(UserError, match="holds archives of ILSVRC-2010 and ILSVRC-2012"):
        open_source(folder)
    assert year_of(tmp_path) is None


@pytest.mark.parametrize("part, name", [("train", "ILSVRC2012_img_train.tar"), ("val", "ILSVRC2012_img_val.tar")])
def test_missing_archive(write, part, name):
    with pytest.raises(UserError, match=f"ILSVRC-2012 is not complete here, missing: {name}"):
        ilsvrc(write(YEAR_2012, **{part: None}), YEAR_2012)


def test_missing_test_set_matters_in_2010_only(write):
    with pytest.raises(UserError, match="missing: ILSVRC2010_images_test.tar"):
        ilsvrc(write(YEAR_2010, test=None), YEAR_2010)
    assert list(ilsvrc(write(YEAR_2012, test=None), YEAR_2012).splits) == ["train", "val"]


def test_missing_ground_truth(write):
    with pytest.raises(UserError, match="ILSVRC2010_test_ground_truth.txt: no such file, nor does ILSVRC2010_devkit"):
        ilsvrc(write(YEAR_2010, test_truth=None), YEAR_2010)


def test_missing_synset(write, fabricate):
    tars = {f"{wnid}.tar": fabricate.tar({f"{wnid}_1.JPEG": b""}) for wnid in WNIDS[1:]}
    with pytest.raises(UserError, match="img_train.tar: 3 synsets found, 4 expected; missing: n02119789"):
        ilsvrc(write(YEAR_2012, train=fabricate.tar(tars)), YEAR_2012)


def test_missing_photographs(write, fabricate):
    tars = {
        f"{wnid}.tar": fabricate.tar({f"{wnid}_{n}.JPEG": b"" for n in range(min(count, 4))})
        for wnid, count in zip(WNIDS, COUNTS, strict=True)
    }
    with pytest.raises(UserError, match="13 images found, 14 expected; n02100735.tar has 4 of 5"):
        ilsvrc(write(YEAR_2012, train=fabricate.tar(tars)), YEAR_2012)
    short = {f"val/ILSVRC2010_val_{n:08d}.JPEG": b"" for n in range(1, 5)}
    with pytest.raises(UserError, match="images_val.tar: 4 images of val found, 6 expected"):
        ilsvrc(write(YEAR_2010, val=fabricate.tar(short)), YEAR_2010)


@pytest.mark.parametrize(
    "part, archive", [("train", "img_train.tar"), ("val", "img_val.tar"), ("devkit", "devkit_t12")]
)
@pytest.mark.parametrize("left", [0.0, 0.5, 0.8])
def test_archive_cut_short(write, part, archive, left):
    folder = write(YEAR_2012)
    path = next(folder.glob(f"*{archive}*"))
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(UserError, match=f"{path.name}: (.* in it: )?(is no whole tar|cannot be read|is damaged)"):
        ilsvrc(folder, YEAR_2012)


def test_kit_of_the_other_year(write, fabricate):
    other = next(write(YEAR_2010).glob("*devkit*"))
    folder = write(YEAR_2012, devkit=None)
    other.rename(folder / other.name)
    with pytest.raises(UserError, match=r"devkit_t12.tar.gz: no such archive \(there is ILSVRC2010_devkit-1.0.tar.gz"):
        ilsvrc(folder, YEAR_2012)
    (folder / other.name).rename(folder / YEAR_2012.devkit)
    with pytest.raises(UserError, match="is the kit of another year .* the photographs are ILSVRC-2012's"):
        ilsvrc(folder, YEAR_2012)


@pytest.mark.parametrize("line", [b"0", b"5", b"n02119789"])
def test_labels_outside_the_classes(write, line):
    truth = b"\n".join([line, *[b"1"] * 6])
    with pytest.raises(UserError, match="test_ground_truth.txt: (the id [05] is not a class's, 1 to 4|7 labels)"):
        ilsvrc(write(YEAR_2010, test_truth=truth), YEAR_2010)


def test_ground_truth_of_another_length(write):
    with pytest.raises(UserError, match="ground_truth.txt: 2 labels found, 7 expected"):
        ilsvrc(write(YEAR_2010, test_truth=b"1\n2\n"), YEAR_2010)


def test_kit_without_classes(write, fabricate):
    folder = write(YEAR_2012, devkit=fabricate.tar({"kit/data/meta.mat": fabricate.meta_mat("ILSVRC2012", [])}, "w:gz"))
    with pytest.raises(UserError, match="0 classes found, 4 expected"):
        read_devkit(folder, YEAR_2012)
    (folder / YEAR_2012.devkit).write_bytes(fabricate.tar({"kit/data/meta.mat": b"no MATLAB file"}, "w:gz"))
    with pytest.raises(UserError, match="its meta.mat cannot be read"):
        read_devkit(folder, YEAR_2012)


def test_ids_of_the_published_kit_to_labels(data_folder):
    """The real kit's order and the real ground truth, from lists that other hands made."""
    lines = (data_folder / "ilsvrc" / "devkit2012_id_wnid.txt").read_text().split("\n")
    wnids = [line.split()[1] for line in lines if line]
    devkit = Devkit(wnids, {})
    labels = devkit.labels(list(range(1, 1001)), "test")
    assert sorted(labels) == list(range(1000)) and [devkit.classes[label] for label in labels] == wnids
    assert devkit.classes[65] == "n01751748"  # of ILSVRC2012_val_00000001, by the ground truth list: label 65


@pytest.mark.slow
def test_the_published_val_set_is_known_again(data_folder, fabricate, tmp_path):
    """All 50,000 names with the real ground truth in the kit's ids; the photographs are one photograph."""
    lists = data_folder / "ilsvrc"
    ids = {
        line.split()[1]: int(line.split()[0]) for line in (lists / "devkit2012_id_wnid.txt").read_text().splitlines()
    }
    wnids = sorted(ids)
    labels = map(int, (lists / "val2012_sorted_wnid_index.txt").read_text().split())
    truth = "".join(f"{ids[wnids[label]]}\n" for label in labels)
    meta = fabricate.meta_mat("ILSVRC2012", [(number, wnid, 0) for wnid, number in ids.items()])
    kit = {"data/meta.mat": meta, "data/ILSVRC2012_validation_ground_truth.txt": truth.encode()}
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / ILSVRC2012.devkit).write_bytes(fabricate.tar({f"kit/{n}": c for n, c in kit.items()}, "w:gz"))
    photograph = fabricate.photograph(0)
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
    (archives / ILSVRC2012.val).write_bytes(fabricate.tar(dict.fromkeys(names, photograph)))
    prepared = prepare(open_source(archives, splits=("val",)), tmp_path / "out", image_size=4, workers=2)
    assert describe(verify(prepared.folder)) == ["ILSVRC-2012 val, 50,000 images, complete (4x4, npy; checksums hold)"]
    assert prepared.split("val").names[0] == "n01751748/ILSVRC2012_val_00000001.JPEG"
    assert [ids[wnid] for wnid in prepared.classes] == prepared.devkit_ids
