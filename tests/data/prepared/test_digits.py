"""The embedded data: the split is what it says, and the images are the digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from alexnet_zoo.data.prepared.dataset import verify
from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_digits(tmp_path_factory.mktemp("digits") / "out", image_size=32)


def test_split_is_stratified_and_complete(prepared):
    train, val = prepared.split("train"), prepared.split("test")
    assert (prepared.name, prepared.classes) == ("digits", list("0123456789"))
    assert (len(train), len(val), train.identity, val.identity) == (1433, 364, "", "")
    assert set(np.bincount(val.labels)) <= {35, 36, 37}
    numbers = sorted(int(name.split("/")[1]) for name in train.names + val.names)
    assert numbers == list(range(1797))
    zeros = np.flatnonzero(load_digits().target == 0)
    assert [int(name[2:]) for name in val.names if name.startswith("0/")] == sorted(zeros[::5])


def test_images_are_the_digits(prepared):
    digits = load_digits()
    for split in ("train", "test"):
        dataset = prepared.split(split)
        images = dataset.gather(range(len(dataset)), [0] * len(dataset), [0] * len(dataset), 32).numpy().astype(float)
        assert (images[..., 0] == images[..., 1]).all() and (images[..., 0] == images[..., 2]).all()
        original = digits.images[[int(name.split("/")[1]) for name in dataset.names]] * 255 / 16
        shrunk = images[..., 0].reshape(-1, 8, 4, 8, 4).mean((2, 4))
        assert np.corrcoef(shrunk.ravel(), original.ravel())[0, 1] > 0.98
        assert (dataset.labels == [int(name[0]) for name in dataset.names]).all()


def test_no_op_and_the_same_everywhere(prepared, tmp_path):
    assert prepare_digits(prepared.folder, image_size=32).sha256 == prepared.sha256
    assert prepare_digits(tmp_path / "again", image_size=32).sha256 == prepared.sha256
    verify(prepared.folder)
    with pytest.raises(UserError, match="another image_size"):
        prepare_digits(prepared.folder, image_size=64)
