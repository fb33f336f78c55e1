"""A prepared folder, opened: crops against numpy, and every way in which it can be damaged."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from alexnet_zoo.data.prepared.dataset import open_prepared, verify
from alexnet_zoo.errors import UserError


@pytest.fixture
def copy(small_prepared, tmp_path):
    return shutil.copytree(small_prepared.folder, tmp_path / "copy")


def draw(dataset, batch, size, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, len(dataset), batch), *rng.integers(0, dataset.image_size - size + 1, (2, batch))


def test_gather_against_numpy(small_prepared):
    dataset = small_prepared.split("train")
    pixels = np.concatenate([np.load(path) for path in sorted(small_prepared.folder.glob("train-0*.npy"))])
    indices, tops, lefts = draw(dataset, 200, 24, 0)
    found = dataset.gather(torch.from_numpy(indices), torch.from_numpy(tops), lefts.tolist(), 24)
    assert found.dtype == torch.uint8 and found.shape == (200, 24, 24, 3) and found.is_contiguous()
    for crop, index, top, left in zip(found.numpy(), indices, tops, lefts, strict=True):
        assert (crop == pixels[index, top : top + 24, left : left + 24]).all()


def test_gather_from_several_threads(small_prepared):
    dataset = small_prepared.split("train")
    places = [draw(dataset, 64, 24, seed) for seed in range(40)]
    alone = [dataset.gather(*place, 24) for place in places]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda place: dataset.gather(*place, 24), places))
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))


def test_images_beyond_the_end_are_refused(small_prepared):
    with pytest.raises(IndexError):
        small_prepared.split("train").gather([50], [0], [0], 24)


def test_unknown_split(small_prepared):
    with pytest.raises(UserError, match="has no split 'test'; it has train, val"):
        small_prepared.split("test")


def test_verify_passes_and_reopens(small_prepared):
    assert verify(small_prepared.folder).sha256 == open_prepared(small_prepared.folder).sha256 == small_prepared.sha256


@pytest.mark.parametrize("file", ["train-00002.npy", "val-00000.npy", "train-labels.npy", "val-names.txt", "mean.npy"])
@pytest.mark.parametrize("left", [-1, 50, 0, None])
def test_cut_short_or_missing(copy, file, left):
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[:left]) if left is not None else (copy / file).unlink()
    with pytest.raises(UserError, match=file):
        open_prepared(copy)


@pytest.mark.parametrize("file", ["train-00002.npy", "val-00000.npy", "train-labels.npy", "val-names.txt", "mean.npy"])
def test_one_changed_bit_is_found_by_verify(copy, file):
    content = bytearray((copy / file).read_bytes())
    content[-8] ^= 1
    (copy / file).write_bytes(content)
    open_prepared(copy)
    with pytest.raises(UserError, match=f"{file}: has changed"):
        verify(copy)


def test_claimed_identity_is_checked(copy):
    described = json.loads((copy / "prepared.json").read_text())
    described["splits"]["val"]["identity"] = "ILSVRC-2012 val, 50,000 images, complete"
    (copy / "prepared.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="val says it is 'ILSVRC-2012 val"):
        verify(copy)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "splits": 3, "name": null}']
)
def test_damaged_description(copy, content):
    (copy / "prepared.json").write_text(content)
    with pytest.raises(UserError, match="prepared.json"):
        open_prepared(copy)


def test_labels_outside_the_classes(copy):
    labels = np.load(copy / "val-labels.npy")
    labels[3] = 2
    np.save(copy / "val-labels.npy", labels)
    with pytest.raises(UserError, match="labels outside its 2 classes"):
        open_prepared(copy)


def test_no_prepared_data(copy, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        open_prepared(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not prepared data"):
        open_prepared(tmp_path)
    (copy / "prepared.json").rename(copy / "preparing.json")
    with pytest.raises(UserError, match="was not prepared to the end"):
        open_prepared(copy)
