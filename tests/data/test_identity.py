"""Only the real ILSVRC-2012 is called that: from the published ground truth, then with one thing wrong at a time."""

import hashlib

import pytest

from alexnet_zoo.data.identity import WNIDS_2012, identify

COMPLETE = "ILSVRC-2012 val, 50,000 images, complete"


@pytest.fixture(scope="module")
def wnids(data_folder):
    path = data_folder / "ilsvrc" / "devkit2012_id_wnid.txt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return sorted(line.split()[1] for line in path.read_text().splitlines())


@pytest.fixture(scope="module")
def val(data_folder, wnids):
    labels = [int(line) for line in (data_folder / "ilsvrc" / "val2012_sorted_wnid_index.txt").read_text().split()]
    names = [f"{wnids[label]}/ILSVRC2012_val_{number:08d}.JPEG" for number, label in enumerate(labels, 1)]
    pairs = sorted(zip(names, labels, strict=True))  # as a tree of class folders lists them
    return [name for name, _ in pairs], [label for _, label in pairs]


def test_constant_is_of_the_sorted_wnids(wnids):
    assert hashlib.sha256("\n".join(wnids).encode()).hexdigest() == WNIDS_2012


def test_complete_val(wnids, val):
    assert identify("val", wnids, *val, unreadable=0) == COMPLETE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda wnids, names, labels: (wnids, names[1:], labels[1:]),
        lambda wnids, names, labels: (wnids, names[1:] + names[:1], labels),
        lambda wnids, names, labels: (wnids, names[:-1] + names[:1], labels[:-1] + labels[:1]),
        lambda wnids, names, labels: (wnids[::-1], names, labels),
        lambda wnids, names, labels: (wnids[:-1] + ["n99999999"], names, labels),
        lambda wnids, names, labels: (wnids, [name.replace("_val_", "_train_") for name in names], labels),
        lambda wnids, names, labels: (wnids, names, [(label + 1) % 1000 for label in labels]),
    ],
    ids=["one missing", "names moved", "one twice", "order", "another class", "other names", "other labels"],
)
def test_anything_else_is_not_val(wnids, val, spoil):
    assert identify("val", *spoil(wnids, *val), unreadable=0) == ""


def test_an_unreadable_image_makes_it_incomplete(wnids, val):
    assert identify("val", wnids, *val, unreadable=1) == ""


def test_train(wnids):
    labels = [index % 1000 for index in range(1_281_167)]
    names = [f"{wnids[label]}/{wnids[label]}_{index}.JPEG" for index, label in enumerate(labels)]
    assert identify("train", wnids, names, labels, 0) == "ILSVRC-2012 train, 1,281,167 images, complete"
    assert identify("train", wnids, names[:-1] + names[:1], labels[:-1] + labels[:1], 0) == ""
    assert identify("val", wnids, names, labels, 0) == ""


def test_other_data_has_no_identity():
    assert identify("val", ["cat", "dog"], ["cat/1.jpg"], [0], 0) == ""
