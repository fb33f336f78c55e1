"""Images kept as JPEG: nearly the same pixels, a fraction of the disk, the same interface, every fault found."""

import json
import shutil

import numpy as np
import pytest

from alexnet_zoo.data.prepared.dataset import describe, open_prepared, verify
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.prepared.shards import open_shard
from alexnet_zoo.errors import UserError


@pytest.fixture(scope="module")
def as_jpeg(small_tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("jpeg") / "out"
    return prepare(small_tree, out, image_size=32, workers=2, shard_images=16, encoding="jpeg")


@pytest.fixture
def copy(as_jpeg, tmp_path):
    return shutil.copytree(as_jpeg.folder, tmp_path / "copy")


def test_the_same_images_and_crops(as_jpeg, small_prepared):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        ours, pixels = as_jpeg.split(split), small_prepared.split(split)
        assert ours.names == pixels.names and (ours.labels == pixels.labels).all()
        indices, (tops, lefts) = rng.integers(0, len(ours), 60), rng.integers(0, 9, (2, 60))
        found = ours.gather(indices, tops, lefts, 24).numpy().astype(int)
        expected = pixels.gather(indices, tops, lefts, 24).numpy().astype(int)
        assert found.shape == (60, 24, 24, 3)
        assert np.abs(found - expected).mean() < 3 < np.abs(found - expected[::-1]).mean()
    assert np.abs(as_jpeg.mean - small_prepared.mean).mean() < 2
    assert np.allclose(as_jpeg.eigenvalues, small_prepared.eigenvalues, rtol=0.05)


def test_mean_is_that_of_what_is_kept(as_jpeg):
    train = as_jpeg.split("train")
    whole = train.gather(range(50), [0] * 50, [0] * 50, 32).numpy()
    assert np.allclose(as_jpeg.mean, whole.mean(0), rtol=1e-5)


def test_unreadable_photographs_leave_no_gap(tmp_path, write_tree):
    root = write_tree(tmp_path / "tree", {"a": 110, "b": 110})
    (root / "a" / "a_4.jpg").write_bytes(b"")
    prepared = prepare(root, tmp_path / "out", image_size=32, workers=2, shard_images=32, encoding="jpeg")
    plain = prepare(root, tmp_path / "plain", image_size=32, workers=2, shard_images=32)
    for split in prepared.splits:
        ours, expected = prepared.split(split), plain.split(split)
        n = len(expected)
        pair = [data.gather(range(n), [0] * n, [0] * n, 32).numpy().astype(int) for data in (ours, expected)]
        assert np.abs(pair[0] - pair[1]).mean((1, 2, 3)).max() < 6
    verify(prepared.folder)


def test_another_encoding_is_other_data(as_jpeg, small_tree):
    with pytest.raises(UserError, match="already holds data prepared from another encoding"):
        prepare(small_tree, as_jpeg.folder, image_size=32, shard_images=16)
    with pytest.raises(UserError, match="there are npy and jpeg") as caught:
        prepare(small_tree, as_jpeg.folder, encoding="webp")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("left", [0, 5, -200, -8, -1])
def test_cut_short(copy, left):
    path = copy / "train-00001.jpegs"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match="train-00001.jpegs: is cut short or damaged"):
        open_prepared(copy)


def test_changed_or_missing(copy):
    path = copy / "train-00001.jpegs"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="train-00001.jpegs: has changed"):
        verify(copy)
    path.unlink()
    with pytest.raises(UserError, match="train-00001.jpegs: is missing"):
        open_prepared(copy)


def test_images_beyond_the_end(as_jpeg):
    shard = open_shard(as_jpeg.folder, {"file": "val-00000.jpegs", "images": 10}, 32, "jpeg")
    assert len(shard) == len(list(shard)) == 10 and shard[9].shape == (32, 32, 3)
    for row in (10, -1):
        with pytest.raises(IndexError):
            shard[row]


def test_a_tenth_of_the_disk(photographs, tmp_path):
    prepare(photographs, tmp_path / "jpeg", workers=2, encoding="jpeg")
    size = sum(path.stat().st_size for path in (tmp_path / "jpeg").glob("*.jpegs"))
    assert 0.05 < size / (160 * 256 * 256 * 3) < 0.12


def test_what_a_folder_is(as_jpeg, copy):
    lines = describe(verify(as_jpeg.folder))
    assert lines[0] == "pets train, 50 images, not verified as a published set (32x32, jpeg; checksums hold)"
    described = json.loads((copy / "prepared.json").read_text())
    described["splits"]["val"] |= {"labelled": False}
    (copy / "prepared.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="val has labels outside its 2 classes"):  # none may be known, then
        open_prepared(copy)
