"""Every model of the zoo with every target: shapes, names, and what it computes, in three engines, against torch."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import timm
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import nn

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo import pipeline
from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.declared import RENAMED, list_declared
from alexnet_zoo.errors import UserError
from alexnet_zoo.models import model_names
from alexnet_zoo.models.alexnet import PAPER
from alexnet_zoo.models.lrn import LocalResponseNorm
from alexnet_zoo.onnx.evaluate import as_probabilities, evaluate, some_crops
from alexnet_zoo.onnx.export import describe, export, to_proto, write
from alexnet_zoo.onnx.lrn_forms import FourthPower, PoolThenRoot
from alexnet_zoo.onnx.pixels import with_test_procedure
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.onnx.quantize import cost_of, to_float16, to_int8
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.onnx.target import Target, describe_targets, load_target
from alexnet_zoo.plan import make_plan
from alexnet_zoo.resolve import open_network

IMAGE, CROP = 72, 64
PLAIN_OPERATORS = set("Conv Relu Tanh Mul Pow Sqrt Div Add Reshape MaxPool AveragePool Gemm MatMul Transpose".split())


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    return prepare(photographs, tmp_path_factory.mktemp("prepared") / "photographs", IMAGE, workers=1)


@pytest.fixture(scope="module")
def inputs(prepared) -> Preprocessing:
    return Preprocessing(prepared.classes, IMAGE, CROP, prepared.mean)


@pytest.fixture(scope="module")
def crops(prepared, inputs) -> np.ndarray:
    return some_crops(prepared.split("val"), inputs, 6)


def small(name: str) -> nn.Module:
    """Random weights that give no flat softmax; biases that differ, since equal tensors would share a name."""
    torch.manual_seed(0)
    args = dict(num_classes=10, width_mult=0.125, img_size=CROP, init_std="he")
    if name.endswith("_bvlc"):
        args["padding"] = PAPER.padding  # these have none, and need 67 pixels
    if name.endswith("_net147"):
        args["padding"] = (8, 11, 8, 11)  # pool5's window would be larger than its map, which OpenVINO refuses
    model = timm.create_model(name, **args).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.bias.uniform_(-0.2, 0.2)
        model.conv1.weight.mul_(0.2)
        if isinstance(model.drop7, nn.Dropout):
            model.fc8.weight.mul_(0.25)  # the others halve what fc6 and fc7 give; the same softmax for all
    return model


class LRN(OpRun):
    """ONNX's formula; onnx.reference 1.23 sums over neighbours of the first N maps only, N being the batch size."""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        before, after = (size - 1) // 2, size // 2
        square = np.pad(x.astype(np.float64) ** 2, ((0, 0), (before, after), (0, 0), (0, 0)))
        total = sum(square[:, shift : shift + x.shape[1]] for shift in range(size))
        return ((x / (bias + alpha / size * total) ** beta).astype(x.dtype),)


def in_three_engines(proto: onnx.ModelProto, path, images: np.ndarray, atol: float = 1e-5) -> np.ndarray:
    """Probabilities in onnxruntime, after OpenVINO gave the same, and on two images onnx.reference."""
    write(proto, path)
    ours = as_probabilities(OnnxClassifier(path, "cpu").run(images))
    reference = ReferenceEvaluator(proto, new_ops=[LRN]).run(None, {proto.graph.input[0].name: images[:2]})[0]
    np.testing.assert_allclose(as_probabilities(reference), ours[:2], atol=2e-3)
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}  # its default is bfloat16, on CPUs that compute in it
    compiled = openvino.Core().compile_model(path, "CPU", float32)
    np.testing.assert_allclose(as_probabilities(compiled(images)[0]), ours, atol=atol)
    return ours


@pytest.fixture(scope="module")
def exported_once(inputs):
    """name -> the model and its graphs for the targets in float32, made once since each takes seconds."""

    @cache
    def make(name: str):
        model = small(name)
        metadata = describe(model, name, "", inputs, "0" * 64)
        norms = [module.columns for module in model.modules() if isinstance(module, LocalResponseNorm)]
        apart = model.columns == 2 and all(columns == 2 for columns in norms)
        targets = ("plain", "lrn", "pixels", *(["figure2"] if apart else []))
        return model, {t: to_proto(model, (3, CROP, CROP), load_target(t), metadata) for t in targets}, metadata

    return make


EVERY = [  # five seconds each: all but one are among the slow tests
    name if name == "alexnet_krizhevsky" else pytest.param(name, marks=pytest.mark.slow) for name in model_names()
]


@pytest.mark.parametrize("name", EVERY)
def test_every_model_with_every_target(name, prepared, inputs, crops, exported_once, tmp_path):
    model, protos, _ = exported_once(name)
    with torch.no_grad():
        expected = model(torch.from_numpy(crops)).double().softmax(1).numpy()
    assert {path.stem for path in list_declared("export")} == {"plain", "lrn", "pixels", "fp16", "int8", "figure2"}

    for target in ("plain", "lrn"):
        found = in_three_engines(protos[target], tmp_path / f"{target}.onnx", crops)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        names = [node.name for node in protos[target].graph.node]
        for layer in ("conv1", "pool1", "conv2", "pool2", "conv5", "fc6", "relu6", "fc8"):
            assert layer in names, (target, layer)
    if "figure2" in protos:  # the columns as paths of their own
        found = in_three_engines(protos["figure2"], tmp_path / "figure2.onnx", crops)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    norms = sum(isinstance(module, LocalResponseNorm) for module in model.modules())
    assert sum(node.op_type == "LRN" for node in protos["lrn"].graph.node) == norms
    assert {node.op_type for node in protos["plain"].graph.node} <= PLAIN_OPERATORS

    half = in_three_engines(to_float16(protos["lrn"]), tmp_path / "fp16.onnx", crops, atol=1e-3)
    np.testing.assert_allclose(half, expected, atol=2e-2)
    calibration = some_crops(prepared.split("train"), inputs, 16)
    # An engine may round a number halfway between two of 256 steps up or down, and such a step shows in the logits.
    eight = in_three_engines(to_int8(protos["plain"], calibration), tmp_path / "int8.onnx", crops, atol=5e-2)
    assert np.abs(eight - expected).max() < 0.2  # random weights, six images: no more than that it is the same network

    pixels = prepared.split("val").gather(range(3), [0] * 3, [0] * 3, IMAGE)
    found = in_three_engines(protos["pixels"], tmp_path / "pixels.onnx", pixels.numpy())
    less_mean = pixels.float().permute(0, 3, 1, 2) - inputs.mean_tensor().permute(2, 0, 1)
    views = [less_mean[:, :, t : t + CROP, left : left + CROP] for t, left in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))]
    with torch.no_grad():
        each = [model(view).softmax(1) for view in [*views, *(view.flip(3) for view in views)]]
    np.testing.assert_allclose(found, torch.stack(each).mean(0).numpy(), atol=1e-4)


@pytest.mark.parametrize("place", ["crop", "centre"])
def test_pixels_lose_the_same_mean_as_crops(prepared, place):
    inputs = Preprocessing(prepared.classes, IMAGE, CROP, prepared.mean, 50.0, mean_place=place)
    inputs = Preprocessing.from_metadata(inputs.to_metadata(), Path("file.onnx"))
    torch.manual_seed(0)
    model, split = nn.Sequential(nn.Conv2d(3, 4, CROP), nn.Flatten()), prepared.split("val")
    expected = model(inputs.crops(split, slice(0, 3), 10)).softmax(1).unflatten(0, (3, 10)).mean(1)
    pixels = split.gather(range(3), [0] * 3, [0] * 3, IMAGE)
    torch.testing.assert_close(with_test_procedure(model, inputs)(pixels), expected)


def test_rooted_normalisation_is_the_formula():
    a = 300 * torch.rand(2, 12, 9, 9, dtype=torch.float64)
    lrn, pool = LocalResponseNorm(columns=2).double(), nn.MaxPool2d(3, stride=2)
    found = PoolThenRoot(pool)(FourthPower(lrn)(a.float()))
    columns = []
    for column in a.chunk(2, dim=1):
        square = nn.functional.pad(column**2, (0, 0, 0, 0, 2, 2))
        total = sum(square[:, shift : shift + 6] for shift in range(5))
        columns.append(column / (2 + 1e-4 * total) ** 0.75)
    torch.testing.assert_close(found.double(), pool(torch.cat(columns, dim=1)), rtol=1e-5, atol=1e-6)


def test_normalisation_after_another_activation_keeps_its_signs(tmp_path):
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125, img_size=CROP, num_classes=10, act_layer="tanh")
    x = 60 * torch.randn(3, 3, CROP, CROP)
    path = export(model.eval(), tmp_path / "tanh.onnx", {}, (3, CROP, CROP))
    np.testing.assert_allclose(OnnxClassifier(path, "cpu").run(x.numpy()), model(x).detach(), atol=1e-5)


def test_int8_is_the_same_twice_and_needs_images(prepared, inputs, exported_once):
    _, protos, _ = exported_once("alexnet_krizhevsky")
    calibration = some_crops(prepared.split("train"), inputs, 8)
    first, second = (to_int8(protos["plain"], calibration).SerializeToString() for _ in range(2))
    assert first == second
    with pytest.raises(UserError, match="no images to calibrate on"):
        to_int8(protos["plain"], np.empty(0, np.float32))


def test_a_file_of_pixels_is_evaluated(prepared, exported_once, tmp_path):
    _, protos, metadata = exported_once("alexnet_krizhevsky")
    rows = []
    for target in ("plain", "pixels"):
        helper.set_model_props(protos[target], metadata)
        write(protos[target], tmp_path / f"{target}.onnx")
        rows.append(evaluate([tmp_path / f"{target}.onnx"], prepared.split("val"), 10, "cpu"))
    for column in ("top1_err", "top5_err", "img_size", "views"):
        assert rows[0][column] == rows[1][column]
    with pytest.raises(UserError, match="holds the ten crops"):
        evaluate([tmp_path / "pixels.onnx"], prepared.split("val"), 1, "cpu")


@pytest.mark.slow
def test_a_run_exports_to_8_bits_with_its_cost(prepared, tmp_path):
    override = ["image_size=72", "crop_size=64", "model_args.img_size=64", "model_args.width_mult=0.125", "epochs=0"]
    run = tmp_path / "run"
    overrides = [*override, "eval_split=val", "test_split=val"]
    pipeline.reproduce(make_plan("digits", prepared.folder, out=run, overrides=overrides))
    path, line = pipeline.export(open_network(str(run), None, None), load_target("int8"))
    cost = json.loads((run / "model-int8.cost.json").read_text())
    assert path == run / "model-int8.onnx" and "another class than float32 on" in line
    found = OnnxClassifier(path, "cpu")
    assert json.loads(found.metadata["cost"]) == cost and found.precision == "int8"
    assert found.metadata["target"] == "int8" and found.metadata["license"] == "Apache-2.0"
    row = evaluate([path], open_prepared(prepared.folder).split("val"), 1, "cpu")
    assert float(row["top1_err"]) == cost["top1_err"]

    checkpoint = run / "model.safetensors"
    path, line = pipeline.export(
        open_network(str(checkpoint), None, None), load_target("lrn"), tmp_path / "p.onnx"
    )
    assert "differ from torch's" in line
    with pytest.raises(UserError, match="lies in no run"):
        (tmp_path / "lost.safetensors").write_bytes(checkpoint.read_bytes())
        open_network(str(tmp_path / "lost.safetensors"), None, None)


def test_cost_of():
    full = np.eye(10)[[0, 1, 2, 3]]
    low = np.eye(10)[[0, 1, 9, 9]]
    cost = cost_of(low, full, np.array([0, 1, 2, 0]))
    assert (cost.top1_err, cost.top1_change, cost.disagreement, cost.images) == (50.0, 25.0, 50.0, 4)


def test_targets_are_read_and_validated(tmp_path):
    assert load_target("lrn").opset == load_target("plain").opset == 20
    assert load_target("plain").model_copy(update={"runs": ""}) == Target()
    listed = describe_targets()
    names = [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")]
    assert names == [path.stem for path in list_declared("export")] and max(map(len, listed.splitlines())) <= 80
    assert all(load_target(name).runs and load_target(name).runs in " ".join(listed.split()) for name in names)
    own = tmp_path / "mine.toml"
    own.write_text('base = "int8"\nbatch = 4\n')
    mine = load_target(own)
    assert (mine.name, mine.precision, mine.lrn, mine.batch) == ("mine", "int8", "rooted", 4)
    assert mine.runs == ""  # the base speaks for itself alone
    own.write_text('precison = "int8"\n')
    with pytest.raises(UserError, match="did you mean precision"):
        load_target(own)
    with pytest.raises(UserError, match="did you mean plain.*fp16, int8, lrn, pixels, plain"):
        load_target("palin")


def test_old_names_of_targets_go_on_and_say_the_new_one(tmp_path, capsys):
    for old, new in RENAMED["export"].items():
        assert load_target(old) == load_target(new)
        own = tmp_path / "own.toml"
        own.write_text(f'base = "{old}"\n')
        assert load_target(own).lrn == load_target(new).lrn
        assert capsys.readouterr().err.count(f"{old}: is now called {new}") == 2
    assert not set(RENAMED["export"]) & {path.stem for path in list_declared("export")}


def test_a_fixed_batch(tmp_path, crops):
    model = small("alexnet_krizhevsky")
    target = load_target("plain").model_copy(update={"batch": 4})
    classifier = OnnxClassifier(export(model, tmp_path / "four.onnx", {}, (3, CROP, CROP), target), "cpu")
    assert classifier.batch == 4
    np.testing.assert_allclose(classifier.run(crops), model(torch.from_numpy(crops)).detach(), atol=1e-4)
