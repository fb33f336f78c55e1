"""The test server's file, by hand; and that a split without labels gives no errors by mistake."""

import numpy as np
import pytest

from alexnet_zoo.data.prepared.dataset import describe, open_prepared, verify
from alexnet_zoo.data.prepared.store import Split, Store
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.predictions import write_submission

CLASSES = [f"n{number:08d}" for number in range(6)]
IDS = [4, 2, 6, 1, 3, 5]


@pytest.fixture
def prepared(tmp_path, small_prepared):
    """Ten test images of a set with six classes, whose labels are kept back, in another order than their numbers."""
    store = Store(tmp_path / "out", "", 32)
    shard = small_prepared.described["splits"]["val"]["shards"][0]
    (store.folder / shard["file"]).write_bytes((small_prepared.folder / shard["file"]).read_bytes())
    names = [f"ILSVRC2012_test_{number:08d}.JPEG" for number in (2, 1, 4, 3, 5, 6, 7, 8, 9, 10)]
    store.finish("ILSVRC-2012", CLASSES, {"test": Split([-1] * 10, names, [shard])}, 1, IDS)
    return open_prepared(tmp_path / "out")


def test_five_ids_a_line_by_falling_confidence_in_file_order(prepared, tmp_path):
    scores = np.random.default_rng(0).random((10, 6))
    scores[0] = [0.1, 0.5, 0.05, 0.2, 0.15, 0.0]
    write_submission(tmp_path / "submission.txt", prepared.split("test"), prepared.devkit_ids, scores)
    lines = (tmp_path / "submission.txt").read_text().splitlines()
    assert len(lines) == 10 and lines[1] == "2 1 3 4 6"  # row 0 is image 2
    for row, number in enumerate((2, 1, 4, 3, 5, 6, 7, 8, 9, 10)):
        ranked = sorted(range(6), key=lambda label: -scores[row, label])[:5]
        assert lines[number - 1].split() == [str(IDS[label]) for label in ranked]
    assert [path.name for path in tmp_path.glob("*submission*")] == ["submission.txt"]


def test_labels_that_are_kept_back(prepared):
    test = prepared.split("test")
    assert not test.labelled and test.labels.tolist() == [-1] * 10 and test.identity == ""
    line = "ILSVRC-2012 test, 10 images, not verified as a published set, without labels"
    assert describe(verify(prepared.folder)) == [f"{line} (32x32, npy; checksums hold)"]


def test_data_that_cannot_be_submitted(prepared, small_prepared, tmp_path):
    scores = np.zeros((10, 6))
    with pytest.raises(UserError, match="has no devkit ids; prepare it from ILSVRC's archives"):
        write_submission(tmp_path / "x.txt", small_prepared.split("val"), small_prepared.devkit_ids, scores)
    with pytest.raises(UserError, match="3 devkit ids for 6 classes"):
        write_submission(tmp_path / "x.txt", prepared.split("test"), [1, 2, 3], scores)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="x.txt: cannot be written"):
        write_submission(tmp_path / "file" / "x.txt", prepared.split("test"), IDS, scores)
    assert not (tmp_path / "x.txt").exists()
