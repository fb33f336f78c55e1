"""A trained network as one ONNX file: checked, self-describing, its nodes and tensors under the paper's names."""

import copy
import logging
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import alexnet_zoo
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import OnnxClassifier, Preprocessing, softmax

log = logging.getLogger(__name__)

OPERAND_NAMES = {("Conv", 1): "weight", ("Conv", 2): "bias", ("Gemm", 1): "weight", ("Gemm", 2): "bias"}


def describe(
    model: nn.Module,
    name: str,
    recipe: str,
    preprocessing: Preprocessing,
    weights_sha256: str,
    license: str = "Apache-2.0",
) -> dict[str, str]:
    """The metadata of an exported network: everything that `evaluate` and a reader of the file need to know."""
    return {
        "model": name,
        "recipe": recipe,
        "param_count": str(sum(p.numel() for p in model.parameters())),
        **preprocessing.to_metadata(),
        "weights_sha256": weights_sha256,
        "alexnet_zoo": alexnet_zoo.__version__,
        "license": license,
    }


def export(
    model: nn.Module, path: Path, metadata: dict[str, str], input_size: tuple[int, int, int] = (3, 224, 224)
) -> Path:
    """Writes model to path: "input" (batch, *input_size) float32, crops less the mean; "logits" (batch, classes).

    The model is left as it is. The file appears whole or not at all. UserError where it cannot be exported or written.
    """
    path = Path(path)
    proto = _to_onnx(model, input_size)
    _name_after_modules(proto.graph)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(proto, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


@torch.no_grad()
def compare(model: nn.Module, path: Path, inputs: Tensor, tolerance: float = 1e-4) -> float:
    """The largest difference in any probability between torch and onnxruntime, on inputs (N, 3, S, S).

    UserError where it is over tolerance, or where either gives no finite values.
    """
    device = next(model.parameters()).device
    copied = copy.deepcopy(model).eval()
    ours = softmax(copied(inputs.to(device)).float().cpu().numpy())
    theirs = softmax(OnnxClassifier(path, "cpu").run(inputs.cpu().numpy()))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= tolerance:  # so that NaN is caught too
        raise UserError(
            f"{path}: its probabilities differ from torch's by up to {difference:.2e}, over {tolerance:.0e}; "
            "do not use this file"
        )
    return difference


def _to_onnx(model: nn.Module, input_size: tuple[int, int, int]) -> onnx.ModelProto:
    """What torch's exporter makes of a copy of the model, in inference mode, on the CPU."""
    copied = copy.deepcopy(model).cpu().float().eval()
    example = torch.zeros(2, *input_size)  # two, since torch.export takes a batch of one for a constant
    debugging = log.isEnabledFor(logging.DEBUG)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if debugging else "ignore")
            program = torch.onnx.export(
                copied,
                (example,),
                dynamo=True,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=debugging,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise UserError(f"{type(model).__name__}: cannot be exported: {error}") from error
    return program.model_proto


def _name_after_modules(graph: onnx.GraphProto) -> None:
    """Nodes and tensors under the names of the modules they come from, in place; drops the exporter's own notes.

    A module's last node and its output take the module's name (conv1, norm1, pool1); those before it also say what
    they do (norm1.sqrt). The notes, among them stack traces, name folders of the machine that exported.
    """
    modules = [_module_of(node) for node in graph.node]
    last = {module: i for i, module in enumerate(modules)}
    inputs_and_outputs = {value.name for value in (*graph.input, *graph.output)}
    taken = Counter()
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
    """The module that a node comes from, as torch's exporter noted it: "conv1"; else the exporter's own name for it."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = notes.get("pkg.torch.onnx.name_scopes", "").strip("[]").replace("'", "").split(", ")
    return scopes[-2] if len(scopes) > 1 and scopes[-2] else node.name


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
