"""CIFAR-10's two archives, small, and what is missing from them; no instruction of a pickle is carried out."""

import pickle

import numpy as np
import pytest

from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.published import CIFAR_10_CLASSES as CLASSES
from alexnet_zoo.data.sources.cifar10 import cifar10
from alexnet_zoo.data.sources.recognise import open_source
from alexnet_zoo.data.sources.source import Source
from alexnet_zoo.errors import UserError

BATCH = 30  # images in each of six files
STEMS = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, BATCH, 3072), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, 10, (6, BATCH))


def python(fabricate, pixels, labels):
    files = zip(STEMS, pixels, labels.tolist(), strict=True)
    return {f"cifar-10-batches-py/{stem}": fabricate.python2_batch(images, own) for stem, images, own in files}


def binary(_, pixels, labels):
    records = np.concatenate([labels[..., None].astype(np.uint8), pixels], -1)
    return {f"cifar-10-batches-bin/{stem}.bin": part.tobytes() for stem, part in zip(STEMS, records, strict=True)}


@pytest.mark.parametrize("write", [python, binary])
def test_every_pixel_and_label(tmp_path, fabricate, pixels, labels, write):
    path = tmp_path / f"cifar-10-{write.__name__}.tar.gz"
    path.write_bytes(fabricate.tar(write(fabricate, pixels, labels), "w:gz"))
    source = cifar10(path, BATCH)
    assert isinstance(source, Source) and source.classes == CLASSES == sorted(CLASSES)
    assert source.splits["train"].labels == labels[:5].reshape(-1).tolist()
    assert source.splits["test"].labels == labels[5].tolist()
    found = np.stack(
        [np.frombuffer(image[-3072:], np.uint8).reshape(32, 32, 3) for image in source.splits["test"].files]
    )
    assert (found == pixels[5].reshape(BATCH, 3, 32, 32).transpose(0, 2, 3, 1)).all()
    assert source.splits["test"].names[7] == f"{CLASSES[labels[5, 7]]}/test_00007"


def test_prepared_at_32_pixels_nothing_changes(tmp_path, fabricate):
    """The published size: 10,000 images a file, here the same few again and again."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8).repeat(1000, 0)
    labels = np.arange(10).repeat(1000)
    files = binary(None, np.stack([pixels] * 6), np.stack([labels] * 6))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(fabricate.tar(files, "w:gz"))
    source = open_source(tmp_path, splits=("test",))
    assert source.name == "CIFAR-10"
    prepared = prepare(source, tmp_path.parent / f"{tmp_path.name}-out", image_size=32)
    test = prepared.split("test")
    assert test.identity == "CIFAR-10 test, 10,000 images, complete"
    crops = test.gather([0, 9_999], [0, 0], [0, 0], 32).numpy()
    assert (crops == pixels[[0, -1]].reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)).all()


def test_a_pickle_is_not_executed(tmp_path, fabricate):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "written"), "w")

    files = {f"x/{stem}": pickle.dumps(Evil(), 2) for stem in STEMS}
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(fabricate.tar(files, "w:gz"))
    with pytest.raises(UserError, match="data_batch_1: holds no 30 images"):
        cifar10(tmp_path / "cifar-10-python.tar.gz", BATCH)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda files: files.pop("cifar-10-batches-bin/test_batch.bin"), "5 of its 6 files found; missing: test_batch"),
        (lambda files: files.update({"cifar-10-batches-bin/data_batch_2.bin": b"12"}), "2: 2 bytes found, 92,190 exp"),
        (
            lambda files: files.update({"cifar-10-batches-bin/data_batch_3.bin": b"\x0a" + bytes(92_189)}),
            "data_batch_3 has labels outside the 10 classes",
        ),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, fabricate, pixels, labels, change, complaint):
    files = binary(None, pixels, labels)
    change(files)
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(fabricate.tar(files, "w:gz"))
    with pytest.raises(UserError, match=complaint):
        cifar10(path, BATCH)


def test_pickles_that_are_damaged(tmp_path, fabricate, pixels, labels):
    files = python(fabricate, pixels, labels)
    path = tmp_path / "cifar-10-python.tar.gz"
    whole = files["cifar-10-batches-py/data_batch_1"]
    for content, complaint in [
        (whole[:-40], "cannot be read"),
        (whole.replace(b"U\x06labels", b"U\x06lebals"), "0 labels"),
    ]:
        files["cifar-10-batches-py/data_batch_1"] = content
        path.write_bytes(fabricate.tar(files, "w:gz"))
        with pytest.raises(UserError, match=complaint):
            cifar10(path, BATCH)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read, or is cut short"):
        cifar10(path, BATCH)
