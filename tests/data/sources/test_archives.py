"""Trees and tars of tars read in place: the same photographs as unpacked, wherever they lie."""

import tarfile
from dataclasses import replace

import numpy as np
import pytest

from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.data.prepared.picture import read
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.sources.archives import image_tar, members_of
from alexnet_zoo.data.sources.fall import RELEASES, fall
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.data.sources.source import image_folder
from alexnet_zoo.errors import UserError

IMAGES = ({"train": 50, "val": 10, "test": 60}, {"train": 1, "val": 999})
SMALL = tuple(
    replace(release, published=replace(release.published, classes=classes, images=images))
    for release, classes, images in zip(RELEASES, (3, 4), IMAGES, strict=True)
)


def pack(tree, path, mode="w"):
    with tarfile.open(path, mode) as tar:
        tar.add(tree, arcname=path.name.split(".")[0])
    return path


def synset_tars(fabricate, synsets, images=40):
    wnids = [f"n{number:08d}" for number in range(10, 10 + synsets)]
    return {f"{w}.tar": fabricate.tar({f"{w}_{n}.JPEG": fabricate.photograph(n) for n in range(images)}) for w in wnids}


@pytest.mark.parametrize("ending, mode", [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")])
def test_a_packed_tree_gives_the_same_prepared_images(small_tree, small_prepared, tmp_path, ending, mode):
    path = pack(small_tree, tmp_path / f"pets.{ending}", mode)
    prepared = prepare(path, tmp_path / "out", image_size=32, workers=2, shard_images=16)
    assert (prepared.name, prepared.classes) == ("pets", ["cat", "dog"])
    for split in ("train", "val"):
        ours, expected = prepared.split(split), small_prepared.split(split)
        assert ours.names == expected.names and (ours.labels == expected.labels).all()
        for shard, other in zip(ours.shards, expected.shards, strict=True):
            assert (np.asarray(shard) == np.asarray(other)).all()


def test_test_split_beside_train(small_tree, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "train").symlink_to(small_tree / "train")
    (tmp_path / "tree" / "test").symlink_to(small_tree / "val")
    assert list(image_folder(tmp_path / "tree").splits) == ["train", "test"]
    assert list(open_source(tmp_path / "tree", splits=("test",)).splits) == ["test"]
    with pytest.raises(UserError, match="has no split 'val'; it has train, test"):
        open_source(tmp_path / "tree", splits=("val",))


def test_a_tree_beside_its_archives_is_taken(small_tree, tmp_path):
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").touch()
    (tmp_path / "train").symlink_to(small_tree / "train")
    (tmp_path / "val").symlink_to(small_tree / "val")
    assert open_source(tmp_path).sha256() == image_folder(small_tree).sha256()


def test_the_index_is_read_once(small_tree, tmp_path, fabricate):
    path = pack(small_tree, tmp_path / "pets.tar")
    first = members_of([path], tmp_path / "cache")
    (index,) = (tmp_path / "cache").iterdir()
    stamp = index.stat().st_mtime_ns
    again = members_of([path], tmp_path / "cache")
    assert again.names == first.names and [*again] == [*first] and index.stat().st_mtime_ns == stamp
    assert read(again[3]) == (small_tree.parent / first.names[3]).read_bytes()
    index.write_bytes(b"cut short")
    assert [*members_of([path], tmp_path / "cache")] == [*first]
    path.write_bytes(fabricate.tar({"a/1.jpg": b"x"}))
    assert members_of([path], tmp_path / "cache").names == ["a/1.jpg"]  # another archive of the same name


def test_preparing_again_is_a_no_op_and_other_photographs_are_refused(small_tree, tmp_path, fabricate):
    path = pack(small_tree, tmp_path / "pets.tar")
    prepare(path, tmp_path / "out", image_size=8, workers=1)
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    prepare(path, tmp_path / "out", image_size=8, workers=1)
    assert stamps == {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    path.write_bytes(fabricate.tar({f"{c}/{n}.jpg": fabricate.photograph(n) for c in "ab" for n in range(30)}))
    with pytest.raises(UserError, match="already holds data prepared from other photographs"):
        prepare(path, tmp_path / "out", image_size=8, workers=1)


@pytest.mark.parametrize(
    "files, complaint",
    [
        ({}, "no photographs in it"),
        ({"readme.txt": b""}, "no photographs in it"),
        ({"1.jpg": b"", "2.jpg": b""}, "lies in no class folder"),
        ({"train/a/1.jpg": b"", "train/b/1.jpg": b""}, "has train/ but no photographs in val/"),
        ({"train/a/1.jpg": b"", "b/1.jpg": b"", "b/2.jpg": b""}, "some photographs lie in train/"),
        ({"a/x\ny.jpg": b"", "b/1.jpg": b""}, "a line break in the name"),
    ],
)
def test_tars_that_cannot_be_used(tmp_path, fabricate, files, complaint):
    (tmp_path / "x.tar").write_bytes(fabricate.tar(files))
    with pytest.raises(UserError, match=complaint):
        image_tar(tmp_path / "x.tar")


def test_what_is_no_source(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    (tmp_path / "x.zip").touch()
    for name, complaint in {"x.tar": "is no tar", "x.zip": "neither a folder nor a", "y": "no such folder"}.items():
        with pytest.raises(UserError, match=f"{name}: .*{complaint}"):
            open_source(tmp_path / name)
    with pytest.raises(UserError, match="tfds/ can only be streamed"):
        open_source("tfds/imagenet2012")


@pytest.mark.parametrize("whole", [False, True])
def test_fall_2009_is_halved(tmp_path, fabricate, whole):
    tars = synset_tars(fabricate, 3)
    path = tmp_path / ("whole.tar" if whole else "synsets")
    if whole:
        path.write_bytes(fabricate.tar(tars))
    else:
        path.mkdir()
        for name, content in tars.items():
            (path / name).write_bytes(content)
    source = fall(path, releases=SMALL)
    assert (source.name, list(source.splits)) == ("ImageNet Fall 2009", ["train", "val", "test"])
    train, val, test = source.splits.values()
    assert len({*train.names, *val.names, *test.names}) == len(train.names) + len(val.names) + len(test.names) == 120
    assert 2 < len(val.names) < 20  # held out of the half that is trained on
    assert 40 < len(test.names) < 80 and fall(path, 0.3, releases=SMALL).sha256() == source.sha256()
    for listing in (train, val, test):
        assert [source.classes[label] for label in listing.labels] == [name[:9] for name in listing.names]
        numbers = [int(name.split("_")[1].removesuffix(".JPEG")) for name in listing.names]
        contents = [read(file) for file in listing.files]
        assert contents == [fabricate.photograph(number) for number in numbers]


def test_fall_2011_gets_a_val_split_and_every_synset_something_to_train_on(tmp_path, fabricate):
    (tmp_path / "all.tar").write_bytes(fabricate.tar(synset_tars(fabricate, 4, images=1)))
    with pytest.raises(UserError, match="leaves no photograph for val"):
        fall(tmp_path / "all.tar", releases=SMALL)
    (tmp_path / "all.tar").write_bytes(fabricate.tar(synset_tars(fabricate, 4, images=2)))
    source = fall(tmp_path / "all.tar", releases=SMALL)
    assert (source.name, list(source.splits)) == ("ImageNet Fall 2011", ["train", "val"])
    assert source.splits["train"].labels == source.splits["val"].labels == [0, 1, 2, 3]


def test_incomplete_release(tmp_path, fabricate):
    (tmp_path / "fall11_whole.tar").write_bytes(fabricate.tar(synset_tars(fabricate, 3, images=1)))
    with pytest.raises(UserError, match="fall11_whole.tar: 3 synsets found, 21,841 expected of ImageNet Fall 2011"):
        open_source(tmp_path)
    (tmp_path / "fall_2009").mkdir()
    (tmp_path / "fall_2009" / "n00000001.tar").write_bytes(fabricate.tar({"n00000001_1.JPEG": b""}))
    with pytest.raises(UserError, match="1 synsets found, 10,184 expected of ImageNet Fall 2009"):
        open_source(tmp_path / "fall_2009")


def test_nothing_is_left_under_a_final_name_after_a_fault(tmp_path, fabricate):
    (tmp_path / "x.tar").write_bytes(fabricate.tar({"a/1.jpg": b"", "b/1.jpg": b""})[:600])
    with pytest.raises(UserError, match="x.tar: is no whole tar"):
        prepare(tmp_path / "x.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no such folder"):
        open_prepared(tmp_path / "out")
