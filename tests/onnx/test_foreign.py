"""Classifiers that this project did not write, and the options that say what they expect."""

import csv

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import errors_and_probabilities, evaluate
from alexnet_zoo.onnx.predictions import write_predictions
from alexnet_zoo.onnx.preprocessing import Foreign, parse_channels

SIDE = 112


def nearest_mean(path, outputs: int = 10, nhwc: bool = False, batch: int | str = "n", softmax: bool = False):
    """A foreign network: class weights times the mean of each channel over the picture."""
    weights = np.random.default_rng(3).normal(size=(3, outputs)).astype(np.float32)
    shape = [batch, SIDE, SIDE, 3] if nhwc else [batch, 3, SIDE, SIDE]
    axes = numpy_helper.from_array(np.array([1, 2] if nhwc else [2, 3]), "axes")
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["p"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("p" if softmax else "logits", TensorProto.FLOAT, [batch, outputs])
    graph = helper.make_graph(nodes, "foreign", [x], [y], [axes, numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path, weights


def by_hand(digits, weights, mean, std, bgr) -> str:
    """The top-1 error in percent, from the bytes on the disk."""
    pixels = np.load(digits.folder / "test-00000.npy")[:, 8:120, 8:120].astype(np.float64)
    if bgr:
        pixels = pixels[..., ::-1]
    logits = ((pixels - mean) / std).mean(axis=(1, 2)) @ weights
    return f"{100 * np.mean(logits.argmax(1) != digits.split('test').labels):.3f}"


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("nhwc, batch, softmax", [(False, "n", False), (True, "n", True), (False, 32, False)])
def test_channels_in_their_order_and_scale(tmp_path, digits, nhwc, batch, softmax, bgr):
    path, weights = nearest_mean(tmp_path / "net.onnx", nhwc=nhwc, batch=batch, softmax=softmax)
    mean, std = (104.0, 117.0, 123.0), (1.0, 2.0, 3.0)
    foreign = Foreign(mean, std, order="bgr" if bgr else "rgb")
    row = evaluate([path], digits.split("test"), 1, "cpu", foreign=foreign)
    assert row["top1_err"] == by_hand(digits, weights, mean, std, bgr)
    assert (row["model"], row["img_size"]) == ("net", SIDE)


def test_mean_and_std_of_pixels_from_0_to_1(tmp_path, digits):
    path, weights = nearest_mean(tmp_path / "net.onnx")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    row = evaluate([path], digits.split("test"), 1, "cpu", foreign=Foreign(mean, std))
    expected = by_hand(digits, weights, 255 * np.array(mean), 255 * np.array(std), False)
    assert row["top1_err"] == expected


def test_what_does_not_fit_is_one_line(tmp_path, digits):
    split = digits.split("test")
    thousand, _ = nearest_mean(tmp_path / "thousand.onnx", outputs=1000)
    with pytest.raises(UserError, match="1000 outputs, the data 10 classes"):
        evaluate([thousand], split, 1, "cpu", foreign=Foreign())
    ten, _ = nearest_mean(tmp_path / "ten.onnx")
    with pytest.raises(UserError, match="--mean, --std, --size and --order"):
        evaluate([ten], split, 1, "cpu")
    with pytest.raises(UserError, match="reads 112 pixels"):
        evaluate([ten], split, 1, "cpu", foreign=Foreign(size=96))
    with pytest.raises(UserError, match="--size 500"):
        evaluate([ten], split, 1, "cpu", foreign=Foreign(size=500))
    with pytest.raises(UserError, match="--size"):
        Foreign().preprocessing(split, None)
    for wrong in (
        lambda: Foreign(order="gbr"),
        lambda: Foreign(std=(0, 1, 1)),
        lambda: Foreign(mean=(0.485, 0.456, 0.406), std=(58.4, 57.1, 57.4)),
        lambda: Foreign(mean=(124, 117, 104), std=(0.229, 0.224, 0.225)),
        lambda: parse_channels("--mean", "1,2"),
    ):
        with pytest.raises(UserError, match="--order|--std|--mean"):
            wrong()


def test_predictions_as_csv(tmp_path, digits):
    path, _ = nearest_mean(tmp_path / "net.onnx")
    split, file = digits.split("test"), tmp_path / "predictions.csv"
    row, probability = errors_and_probabilities([path], split, 1, "cpu", foreign=Foreign())
    write_predictions(file, split, probability)
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert [found["name"] for found in rows] == split.names
    wrong = sum(found["top1"] != found["label"] for found in rows)
    assert f"{100 * wrong / len(rows):.3f}" == row["top1_err"]
