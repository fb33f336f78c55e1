"""Which files belong to which split, and every tree that cannot be used."""

import hashlib

import pytest

from alexnet_zoo.data.sources.source import image_folder, in_val
from alexnet_zoo.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_train_and_val(tmp_path):
    root = touch(
        tmp_path / "zoo", "train/b/2.JPEG", "train/b/10.png", "train/a/x.jpg", "train/a/deep/y.jpeg", "val/b/z.webp",
        "train/a/notes.txt", "train/a/.hidden.jpg", "train/.git/x.jpg", "val/labels.csv",
    )  # fmt: skip
    source = image_folder(root)
    assert (source.name, source.classes) == ("zoo", ["a", "b"])
    train, val = source.splits["train"], source.splits["val"]
    assert train.names == ["a/deep/y.jpeg", "a/x.jpg", "b/10.png", "b/2.JPEG"] and train.labels == [0, 0, 1, 1]
    assert val.names == ["b/z.webp"] and val.labels == [1]
    assert train.files[0] == str(root / "train/a/deep/y.jpeg")


def test_split_of_one_tree_is_by_name_and_never_changes(tmp_path):
    names = [f"{label}/{number}.jpg" for label in "ab" for number in range(300)]
    before = image_folder(touch(tmp_path, *names), 0.2).splits
    after = image_folder(touch(tmp_path, "a/new.jpg", "b/newer.jpg", "c/0.jpg", "c/1.jpg", "c/2.jpg"), 0.2).splits
    assert sorted(before["train"].names + before["val"].names) == sorted(names)
    assert 80 < len(before["val"].names) < 160
    for split in ("train", "val"):
        assert set(before[split].names) <= set(after[split].names)
    expected = int(hashlib.sha256(b"a/0.jpg").hexdigest(), 16) / 2**256 < 0.2
    assert in_val("a/0.jpg", 0.2) == expected == ("a/0.jpg" in before["val"].names)


def test_checksum_is_of_the_names_not_of_the_place(tmp_path):
    trees = [touch(tmp_path / name, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg") for name in ("one", "two")]
    one, two = (image_folder(tree).sha256() for tree in trees)
    assert one == two != image_folder(touch(trees[1], "val/b/1.jpg")).sha256()


@pytest.mark.parametrize(
    "names, complaint",
    [
        ([], "no photographs in class folders"),
        (["1.jpg", "2.jpg"], "no photographs in class folders"),
        (["a/readme.txt"], "no photographs in class folders"),
        ([f"a/{number}.jpg" for number in range(99)], "has one class only (a)"),
        (["train/a/1.jpg", "val/a/1.jpg"], "has one class only (a)"),
        (["train/a/1.jpg", "train/b/1.jpg"], "no photographs in val/"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"], "1 classes in val are unknown to train: c"),
        (["train/a/1.jpg", "train/b/x.txt", "val/a/1.jpg"], "1 class folders hold no photographs: b"),
        (["a/1.jpg", "b/1.jpg"], "leaves no photograph for val"),
        (["a/line\nbreak.jpg", "b/1.jpg"], "a line break in the name"),
    ],
)
def test_trees_that_cannot_be_used(tmp_path, names, complaint):
    with pytest.raises(UserError) as caught:
        image_folder(touch(tmp_path, *names), 1e-9)
    assert complaint in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_fractions_that_cannot_be_used(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(UserError, match="leaves 2 classes none to train on"):
        image_folder(tmp_path, 1 - 1e-9)
    with pytest.raises(UserError, match="must be from 0 to 1") as caught:
        image_folder(tmp_path, 1.5)
    assert caught.value.exit_code == 2


def test_photographs_that_are_only_tested_on(tmp_path):
    """One image a class is enough: in val/ alone, or with all of a tree for val."""
    alone = image_folder(touch(tmp_path / "alone", "val/b/1.jpg", "val/a/1.jpg"))
    assert (list(alone.splits), alone.classes, alone.splits["val"].labels) == (["val"], ["a", "b"], [0, 1])
    tree = touch(tmp_path / "tree", "a/1.jpg", "b/1.jpg")
    for fraction, split in ((1, "val"), (0, "train")):
        source = image_folder(tree, fraction)
        assert list(source.splits) == [split] and source.splits[split].names == ["a/1.jpg", "b/1.jpg"]


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        image_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        image_folder(tmp_path / "file")
