"""Reads public weights in the formats that they were published in, as tensors under the paper's names.

Caffe's .caffemodel (both of its kinds of layer), the ONNX Model Zoo's bvlcalexnet, torchvision's .pth, .safetensors.
Nothing in such a file is executed: what is pickled is read by torch's unpickler for weights only.
"""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from alexnet_zoo.errors import UserError

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
PUBLISHED = {  # file name: algorithm, and the hash or how it begins
    "bvlc_alexnet.caffemodel": ("sha1", "9116a64c0fbe4459d18f4bb6b56d647b63920377"),
    "bvlc_reference_caffenet.caffemodel": ("sha1", "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"),
    "alexnet-owt-7be5be79.pth": ("sha256", "7be5be79"),
    "bvlcalexnet-12.onnx": ("sha256", "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945"),
    "caffenet-12.onnx": ("sha256", "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb"),
}
TORCHVISION = {  # torchvision names a layer by its place in one of two sequences
    **{f"features.{place}": f"conv{number}" for number, place in enumerate((0, 3, 6, 8, 10), start=1)},
    **{f"classifier.{place}": f"fc{number}" for number, place in enumerate((1, 4, 6), start=6)},
}


class Weights(NamedTuple):
    """Holds a file's tensors under the paper's names, with conv1 reading RGB; and the network's name if it is told."""

    state_dict: dict[str, Tensor]
    model: Optional[str] = None


def read_weights(path: Path) -> Weights:
    """Reads the weights in a file by the ending of its name; raises UserError for whatever is wrong with the file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    readers = {".caffemodel": _read_caffemodel, ".onnx": _read_onnx, ".safetensors": _read_safetensors}
    readers |= {".pth": _read_torch, ".pt": _read_torch}
    reader = readers.get(path.suffix)
    if reader is None:
        raise UserError(f"{path}: unknown kind of file; known are {', '.join(readers)}", exit_code=2)
    check_published(path)
    try:
        weights = reader(path)
    except UserError:
        raise
    except Exception as error:  # bytes from anywhere make their readers fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a whole {path.suffix} file of weights ({reason}); fetch it again") from error
    for name, tensor in weights.state_dict.items():
        whole = isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not (whole and (tensor.is_floating_point() or tensor.dim() == 0)):  # batch normalisation counts its steps
            raise UserError(f"{path}: {name} is not a tensor of weights; this is not a network's file")
    return weights


def check_published(path: Path) -> None:
    """Raises UserError where a file has the name of a published one, and not its hash."""
    if problem := hash_problem(path, path.name):
        raise UserError(f"{path}: {problem}; delete it to download it again, or rename it if it is yours")


def hash_problem(path: Path, name: str) -> str:
    """Says what is wrong with a file that is to be the published one of a name; nothing where that is not known."""
    if name not in PUBLISHED:
        return ""
    algorithm, expected = PUBLISHED[name]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found.startswith(expected):
        return ""
    return f"its {algorithm} is {found}, the published file's is {expected}: damaged, or another file"


def under_paper_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames torchvision's features.0.weight to conv1.weight; leaves other networks' names as they are."""
    split = {name: name.rpartition(".") for name in state}
    return {f"{TORCHVISION.get(layer, layer)}{dot}{kind}": state[name] for name, (layer, dot, kind) in split.items()}


# One reader for each format


def _read_safetensors(path: Path) -> Weights:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
        return Weights(under_paper_names(state), (file.metadata() or {}).get("model"))


def _read_torch(path: Path) -> Weights:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"holds a {type(state).__name__}, not a state_dict")
    return Weights(under_paper_names(state.get("state_dict", state)))


def _read_onnx(path: Path) -> Weights:
    """Reads the ONNX Model Zoo's conversion of one of Caffe's networks."""
    import onnx

    model = onnx.ModelProto.FromString(path.read_bytes())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors.values()):
        raise UserError(f"{path}: keeps its weights in other files, which are not read; save it as one file")

    def value(name: str) -> Tensor:
        return torch.from_numpy(onnx.numpy_helper.to_array(tensors[name]).copy())

    network = _caffe_network([node.op_type for node in model.graph.node], "LRN", "MaxPool")
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    if network is None or len(layers) != len(LAYERS):
        raise UserError(f"{path}: not one of Caffe's networks: those have {len(LAYERS)} layers with weights, and LRN")
    state = {}
    for name, node in zip(LAYERS, layers):
        transposed = any(a.name == "transB" and a.i for a in node.attribute) or node.op_type == "Conv"
        weight = value(node.input[1])
        state[f"{name}.weight"] = weight if transposed else weight.T
        state[f"{name}.bias"] = value(node.input[2])
    return Weights(_to_rgb(state), network)


def _read_caffemodel(path: Path) -> Weights:
    net = _caffe_message().FromString(path.read_bytes())
    layers = {layer.name: layer.blobs for layer in (*net.layer, *net.layers)}
    lacking = [name for name in LAYERS if len(layers.get(name, ())) != 2]
    if lacking:
        raise UserError(f"{path}: no weights and biases of {', '.join(lacking)}; it is cut short, or another network")
    state = {}
    for name in LAYERS:
        weight, bias = layers[name]
        state[f"{name}.weight"] = _blob(weight, 4 if name.startswith("conv") else 2)
        state[f"{name}.bias"] = _blob(bias, 1)
    return Weights(_to_rgb(state), _caffe_network(list(layers), "norm1", "pool1"))


def _blob(blob, dims: int) -> Tensor:
    """Makes a tensor of `dims` dimensions from a blob; an old blob always has four, of which the first may be 1."""
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    shape = shape[max(len(shape) - dims, 0) :]
    values = np.frombuffer(blob.data, "<f4")
    if values.size == 0 or min(shape) < 1 or math.prod(shape) != values.size:
        raise ValueError(f"a blob of shape {shape} with {values.size} values")
    return torch.from_numpy(values.reshape(shape).copy())


def _to_rgb(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turns conv1 from BGR, as Caffe reads images, to RGB."""
    return {**state, "conv1.weight": state["conv1.weight"].flip(1)}


def _caffe_network(layers: list[str], norm: str, pool: str) -> Optional[str]:
    """Says which of Caffe's two networks it is: one normalises first, the other pools first."""
    if norm in layers and pool in layers:
        return "alexnet_bvlc" if layers.index(norm) < layers.index(pool) else "caffenet_bvlc"
    return None


def _caffe_message():
    """Makes the class of Caffe's NetParameter, with the fields that hold a network's weights and no others.

    The format numbers its fields. `data`, packed floats, is declared as bytes, which are the same on disk: numpy then
    reads 60 million of them in one piece.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    fields = {
        "BlobShape": [("dim", 1, "*int64")],
        "BlobProto": [("num", 1, "int32"), ("channels", 2, "int32"), ("height", 3, "int32"), ("width", 4, "int32")]
        + [("data", 5, "bytes"), ("shape", 7, "BlobShape")],
        "V1LayerParameter": [("name", 4, "string"), ("blobs", 6, "*BlobProto")],
        "LayerParameter": [("name", 1, "string"), ("blobs", 7, "*BlobProto")],
        "NetParameter": [("name", 1, "string"), ("layers", 2, "*V1LayerParameter"), ("layer", 100, "*LayerParameter")],
    }
    file = descriptor_pb2.FileDescriptorProto(name="alexnet_zoo/caffe.proto", package="caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, its_fields in fields.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in its_fields:
            field = declared.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            if kind in fields:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
                field.options.packed = kind == "int64"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
