"""Writes a trained network as one ONNX file: checked, self-describing, with the paper's names for its nodes."""

import copy
import logging
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import alexnet_zoo
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.onnx.apart import Apart
from alexnet_zoo.onnx.evaluate import as_probabilities
from alexnet_zoo.onnx.lrn_forms import with_lrn_written_as
from alexnet_zoo.onnx.pixels import with_test_procedure
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.onnx.quantize import to_float16, to_int8
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.onnx.target import Target

log = logging.getLogger(__name__)

PLAIN = Target()

PAPER = "Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (2012)"
OPERAND_NAMES = {("Conv", 1): "weight", ("Conv", 2): "bias", ("Gemm", 1): "weight", ("Gemm", 2): "bias"}


def parameters_of(model: nn.Module) -> int:
    """Counts what a network learns: no constant of the graph, such as the matrix that sums for normalisation."""
    return sum(parameter.numel() for parameter in model.parameters())


def describe(
    model: nn.Module, name: str, recipe: str, inputs: Preprocessing, weights_sha256: str, license: str = "Apache-2.0"
) -> dict[str, str]:
    """Makes the metadata of an exported network: all that `evaluate` and a reader of the file need to know."""
    return {
        "model": name,
        "recipe": recipe,
        "param_count": str(parameters_of(model)),
        **inputs.to_metadata(),
        "weights_sha256": weights_sha256,
        "alexnet_zoo": alexnet_zoo.__version__,
        "license": license,
    }


def export(
    model: nn.Module,
    path: Path,
    metadata: dict[str, str],
    input_size: tuple[int, int, int] = (3, 224, 224),
    target: Target = PLAIN,
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes model to path: "input" (batch, *input_size) float32, crops less the mean; "logits" (batch, classes).

    In the layout "pixels" it takes "pixels" (batch, S, S, 3) uint8 and gives "probabilities" (batch, classes), by the
    preprocessing that the metadata states. The precision int8 needs calibration, inputs (N, *input_size) float32.

    Leaves the model as it is. Raises UserError where it cannot be exported, or the file not be written whole.
    """
    proto = to_proto(model, input_size, target, metadata)
    if target.precision == "float16":
        proto = to_float16(proto)
    elif target.precision == "int8":
        proto = to_int8(proto, calibration)
    onnx.helper.set_model_props(proto, metadata | {"target": target.name})
    write(proto, path)
    return path


def write(proto: onnx.ModelProto, path: Path) -> None:
    """Checks a network, shapes included, and writes it whole or not at all."""
    onnx.checker.check_model(proto, full_check=True)
    with written_whole(path) as partial:
        onnx.save(proto, partial)


def state(path: Path, facts: dict[str, str]) -> None:
    """Adds facts to the metadata of a file."""
    proto = onnx.load(path)
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    write(proto, path)


@torch.no_grad()
def compare(model: nn.Module, path: Path, inputs: Tensor, tolerance: float = 1e-4) -> float:
    """Finds the largest difference in any probability between torch and onnxruntime, on inputs (N, 3, S, S).

    Raises UserError where it is over tolerance, or where either gives a value that is not finite.
    """
    device = next(model.parameters()).device
    copied = copy.deepcopy(model).eval()
    ours = as_probabilities(copied(inputs.to(device)).float().cpu().numpy())
    theirs = as_probabilities(OnnxClassifier(path, "cpu").run(inputs.cpu().numpy()))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= tolerance:  # so that NaN is caught too
        raise UserError(
            f"{path}: its probabilities differ from torch's by up to {difference:.2e}, over {tolerance:.0e}; "
            "do not use this file"
        )
    return difference


def to_proto(model: nn.Module, input_size: tuple[int, int, int], target: Target, metadata: dict) -> onnx.ModelProto:
    """Makes the graph of a copy of the model, in float32, under the paper's names."""
    model = Apart(model) if target.columns == "apart" else model
    copied = with_lrn_written_as(target.lrn, model).cpu().float().eval()
    batch = 2 if target.batch == "dynamic" else target.batch  # torch.export would take a batch of one for a constant
    if target.layout == "pixels":
        inputs = Preprocessing.from_metadata(metadata, Path(target.name))
        copied = with_test_procedure(copied, inputs).eval()
        example = torch.zeros(batch, inputs.image_size, inputs.image_size, 3, dtype=torch.uint8)
        proto = _to_onnx(copied, example, ("pixels", "probabilities"), target)
    else:
        proto = _to_onnx(copied, torch.zeros(batch, *input_size), ("input", "logits"), target)
    _name_after_modules(proto.graph)
    proto.graph.name = metadata.get("model") or type(model).__name__
    proto.doc_string = proto.graph.doc_string = _description(model)
    return proto


def _description(model: nn.Module) -> str:
    """Describes a graph to those who open the file in a viewer, which counts constants among the parameters."""
    said = f"After {PAPER}. {parameters_of(model):,} learned parameters; other tensors are constants."
    if isinstance(model, Apart):
        return f"{said} {' and '.join(model.columns)} are paths of their own, joined where a layer reads both."
    return said + " Its columns are groups of one convolution." * (getattr(model, "columns", 1) > 1)


def _to_onnx(model: nn.Module, example: Tensor, names: tuple[str, str], target: Target) -> onnx.ModelProto:
    """Exports a model with torch's exporter; raises UserError where that fails."""
    debugging = log.isEnabledFor(logging.DEBUG)
    dynamic = {0: torch.export.Dim("batch")} if target.batch == "dynamic" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if debugging else "ignore")
            named = dict(input_names=names[:1], output_names=names[1:], dynamic_shapes=(dynamic,))
            program = torch.onnx.export(
                model, (example,), dynamo=True, opset_version=target.opset, verbose=debugging, **named
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise UserError(f"{type(model).__name__}: cannot be exported: {error}") from error
    return program.model_proto


def _name_after_modules(graph: onnx.GraphProto) -> None:
    """Names nodes and tensors after the modules that they come from, in place; drops the exporter's own notes.

    A module's last node and its output take the module's name (conv1, norm1, pool1); the nodes before it also say what
    they do (norm1.sqrt). The notes, among them stack traces, name folders of the machine that exported.
    """
    modules = [_module_of(node) for node in graph.node]
    last = {module: i for i, module in enumerate(modules)}
    inputs_and_outputs = {value.name for value in (*graph.input, *graph.output)}
    taken: Counter[str] = Counter()
    tensors = {}

    def unused(name: str) -> str:
        taken[name] += 1
        return name if taken[name] == 1 else f"{name}_{taken[name]}"

    for i, (node, module) in enumerate(zip(graph.node, modules, strict=True)):
        node.name = unused(module if last[module] == i else f"{module}.{node.op_type.lower()}")
        for j, output in enumerate(node.output):
            if output not in inputs_and_outputs:
                tensors[output] = node.name if j == 0 else f"{node.name}.{j}"
    users = list(zip(modules, graph.node, strict=True))
    for constant in graph.initializer:
        if "." not in constant.name:  # the network's own weights have their names: conv1.weight
            module, node = next((m, n) for m, n in users if constant.name in n.input)
            operand = OPERAND_NAMES.get((node.op_type, list(node.input).index(constant.name)), "constant")
            tensors[constant.name] = unused(f"{module}.{operand}")
    _rename(graph, tensors)
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("metadata_props")


def _module_of(node: onnx.NodeProto) -> str:
    """Finds the module that a node comes from in the exporter's notes: "conv1"; else returns the node's own name."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = notes.get("pkg.torch.onnx.name_scopes", "").strip("[]").replace("'", "").split(", ")
    return scopes[-2] if len(scopes) > 1 and scopes[-2] else node.name


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
