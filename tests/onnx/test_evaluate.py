import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import (
    OnnxClassifier,
    Preprocessing,
    batches,
    evaluate,
    probabilities,
    rank_of_label,
    softmax,
)

PIXELS = (slice(0, 112), slice(8, 120), slice(16, 128))  # of 128: the near edge, the centre, the far edge


class Some:
    """The first images of a split: what evaluate asks of one."""

    def __init__(self, dataset, count):
        self.labels, self.gather = dataset.labels[:count], dataset.gather
        self.name, self.classes, self.image_size = dataset.name, dataset.classes, dataset.image_size
        self.data_name, self.data_sha256 = dataset.data_name, dataset.data_sha256
        self.identity = dataset.identity


@pytest.fixture(scope="module")
def few(digits):
    return Some(digits.split("test"), 23)  # not a multiple of any batch


def by_hand(model, digits, count: int, views: int) -> np.ndarray:
    """Probabilities (count, 10) in torch, from the bytes on the disk: section 4.1 without our own code."""
    pixels = np.load(digits.folder / "test-00000.npy")[:count].astype(np.float32) - np.load(digits.folder / "mean.npy")
    near, centre, far = PIXELS
    places = [(centre, centre)]
    if views == 10:
        places += [(near, near), (near, far), (far, near), (far, far)]
    crops = [pixels[:, rows, columns] for rows, columns in places]
    if views == 10:
        crops += [crop[:, :, ::-1] for crop in crops]
    with torch.no_grad():
        logits = [model.eval()(torch.from_numpy(crop.transpose(0, 3, 1, 2).copy())) for crop in crops]
    return torch.stack([crop.double().softmax(1) for crop in logits]).mean(0).numpy()


def errors(probability: np.ndarray, labels: np.ndarray) -> tuple[str, str]:
    order = np.argsort(-probability, axis=1)
    return tuple(f"{100 - 100 * np.mean((order[:, :k] == labels[:, None]).any(1)):.3f}" for k in (1, 5))


@pytest.mark.parametrize("views", [1, 10])
def test_views_are_averaged_as_in_the_paper(exported, digits, few, views):
    classifier = OnnxClassifier(exported.path, "cpu")
    inputs = Preprocessing.from_metadata(classifier.metadata, classifier.path)
    batches = list(probabilities(classifier, inputs, few, views, batch_size=40))
    expected = by_hand(exported.model, digits, 23, views)
    assert len(batches) > 1 or views == 1
    np.testing.assert_allclose(np.concatenate([p for _, p in batches]), expected, atol=1e-5)

    row = evaluate([exported.path], few, views, "cpu")
    assert (row["top1_err"], row["top5_err"]) == errors(expected, few.labels)
    assert float(row["top1"]) + float(row["top1_err"]) == pytest.approx(100)
    facts = {"images": 23, "views": views, "dataset": "digits", "split": "test", "provider": "CPUExecutionProvider"}
    facts |= {"model": "alexnet_krizhevsky", "img_size": 112, "precision": "float32", "data_sha256": digits.sha256}
    assert facts.items() <= row.items()


def test_an_ensemble_averages_its_members(exported, another, digits, few):
    row = evaluate([exported.path, another.path], few, 10, "cpu")
    expected = (by_hand(exported.model, digits, 23, 10) + by_hand(another.model, digits, 23, 10)) / 2
    assert (row["top1_err"], row["top5_err"]) == errors(expected, few.labels)
    assert row["model"] == "2 alexnet_krizhevsky"
    assert len(set(row["onnx_sha256"].split("+"))) == 2


def test_rank_of_label_gives_a_dead_network_no_credit():
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [1 / 3] * 3, [1 / 3] * 3])
    assert rank_of_label(scores, np.array([1, 0, 2, 0])).tolist() == [0, 2, 2, 0]


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0 + np.log(3)]], np.float64)), [[0.25, 0.75]])


def test_files_that_are_no_networks(tmp_path, exported):
    whole = exported.path.read_bytes()
    contents = {"empty": b"", "text": b"hello\n", "cut": whole[: len(whole) // 2], "start": whole[:40]}
    for name, content in contents.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(UserError, match="not an ONNX file, or a truncated one") as error:
            OnnxClassifier(path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        OnnxClassifier(tmp_path / "missing.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.ones(12, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(UserError, match="outside the file's folder"):
        OnnxClassifier(linear(folder / "net.onnx", location))


def test_weights_beside_the_file_are_read(tmp_path):
    (tmp_path / "weights.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    classifier = OnnxClassifier(linear(tmp_path / "net.onnx", "weights.bin"), "cpu")
    assert classifier.run(np.ones((1, 3, 2, 2), np.float32)).tolist() == [[66.0]]
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match="net.onnx"):
        OnnxClassifier(tmp_path / "net.onnx", "cpu")


def linear(path, location):
    """A network of one product with weights in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(12, 1), data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])
    graph = helper.make_graph(nodes, "linear", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def small_mean() -> str:
    array = io.BytesIO()
    np.save(array, np.zeros((3, 3, 3), np.float32))
    return base64.b64encode(array.getvalue()).decode()


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"mean_image": None}, "no mean_image"),
        ({"mean_image": "AAAA"}, "cannot be read"),
        ({"mean_image": small_mean()}, "disagrees with itself"),
        ({"mean_place": "corner"}, "cannot be read .mean_place 'corner'"),
        ({"crop_size": "many"}, "cannot be read"),
        ({"crop_size": "129"}, "disagrees with itself"),
        ({"crop_size": "96"}, "reads 112 pixels, its metadata says crops of 96"),
        ({"classes": json.dumps([*"0123456789"][::-1])}, "'9' is '0' in the data"),
        ({"classes": json.dumps([*"012345678"])}, "9 classes are not the data's 10"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path, exported, few, changes, complaint):
    model = onnx.load(exported.path)
    metadata = {key: value for key, value in (exported.metadata | changes).items() if value is not None}
    helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UserError, match=complaint):
        evaluate([exported.path, tmp_path / "net.onnx"], few, 1)


def test_data_that_does_not_fit(exported, few):
    eleven = Some(few, 23)
    eleven.classes = [*few.classes, "10"]
    with pytest.raises(UserError, match="10 outputs, the data 11 classes"):
        evaluate([exported.path], eleven, 1)
    larger = Some(few, 23)
    larger.image_size = 256
    with pytest.raises(UserError, match="images of 128 pixels, the data has 256"):
        evaluate([exported.path], larger, 1)
    with pytest.raises(UserError, match="nothing to evaluate"):
        evaluate([exported.path], Some(few, 0), 1)
    with pytest.raises(UserError, match="--views 5") as error:
        evaluate([exported.path], few, 5)
    assert error.value.exit_code == 2


def test_preparing_crops_leaves_torchs_threads_as_they_were(exported, digits):
    before = torch.get_num_threads()
    split = digits.split("test")
    classifier = OnnxClassifier(exported.path, "cpu")
    inputs = Preprocessing.from_metadata(classifier.metadata, classifier.path)
    rows, crops = next(batches(classifier, inputs, split, 10, 20))
    assert crops.shape[0] == 10 * (rows.stop - rows.start) == 20
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == before
