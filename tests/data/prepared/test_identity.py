"""Only the real ILSVRC-2012 is called that: from the published ground truth, then with one thing wrong at a time."""

import hashlib

import numpy as np
import pytest

from alexnet_zoo.data.prepared.identity import WNIDS_2012, identify

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


WNIDS_2010 = [f"n{number:08d}" for number in range(1000)]


def test_ilsvrc2010_by_its_numbers_and_counts():
    labels = [number % 1000 for number in range(150_000)]
    names = [f"n/ILSVRC2010_test_{number + 1:08d}.JPEG" for number in range(150_000)]
    complete = "ILSVRC-2010 test, 150,000 images, complete"
    assert identify("test", WNIDS_2010, names, labels, 0) == complete
    order = np.random.default_rng(0).permutation(150_000)
    assert identify("test", WNIDS_2010, [names[i] for i in order], [labels[i] for i in order], 0) == complete
    assert identify("val", WNIDS_2010, names, labels, 0) == identify("test", WNIDS_2010, names, labels, 1) == ""
    assert identify("test", WNIDS_2010, names[1:], labels[1:], 0) == ""
    assert identify("test", WNIDS_2010, names, [1, *labels[1:]], 0) == ""  # 149 of class 0
    assert identify("test", [f"class{n}" for n in range(1000)], names, labels, 0) == ""


@pytest.mark.slow
def test_fall_2009_by_its_counts():
    classes = [f"n{number:08d}" for number in range(10_184)]
    labels = (np.arange(4_450_000) % 10_184).tolist()
    names = [f"{classes[label]}/{classes[label]}_{number}.JPEG" for number, label in enumerate(labels)]
    found = identify("test", classes, names, labels, 0)
    assert found == "ImageNet Fall 2009 test, 4,450,000 images, complete"
    assert identify("test", classes, names[:100_000], labels[:100_000], 0) == ""
    lacking = identify("test", classes, names[2:], labels[2:], 2)
    assert lacking == "ImageNet Fall 2009 test, 4,449,998 images, complete but for 2 unreadable"
    assert identify("test", classes, names[301:], labels[301:], 301) == ""


def test_cifar_as_jpeg_is_not_cifar():
    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
    labels = np.repeat(np.arange(10), 1000)
    jpegs = [f"{classes[label]}/{number % 1000:04d}.jpg" for number, label in enumerate(labels)]
    assert identify("test", classes, jpegs, labels, 0) == "CIFAR-10 as JPEG test, 10,000 images, complete"
    original = [f"{classes[label]}/test_{number:05d}" for number, label in enumerate(labels)]
    assert identify("test", classes, original, labels, 0) == "CIFAR-10 test, 10,000 images, complete"
    assert identify("train", classes, original, labels, 0) == identify("test", classes, original, labels, 1) == ""
    assert identify("test", classes, [*original[:-1], "truck/x"], labels, 0) == ""
