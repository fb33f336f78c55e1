"""An ONNX file, opened in onnxruntime, with nothing in it that one would not want to run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import Message

from alexnet_zoo.devices import cuda_devices
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.progress import say

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxClassifier:
    """A classifier in an ONNX file: images (N, 3, S, S) float32 in, logits or probabilities (N, classes) out.

    Args:
        path: the file.
        device: "cpu"; "cuda", an error where the session does not get it; "auto", CUDA where torch sees a GPU and
            onnxruntime can use it for this file, else the CPU, and a line on stderr that says why.
        threads: of the CPU; one a core where None.
        cuda_graph: on CUDA, records the work of the first batch and plays it for those that follow.

    Attributes: provider, the one that really runs it; metadata; precision, the type of its weights; sha256; outputs,
    how many it gives (None where the file does not say); input_size, the side S (likewise); layout, "NCHW", "NHWC", or
    "pixels" for uint8 images (N, S, S, 3) with all preparation inside; batch, the one size it takes, None for any.
    """

    def __init__(self, path: Path | str, device: str = "auto", threads: int | None = None, cuda_graph: bool = False):
        self.path = Path(path)
        self.precision = _inspect(self.path)
        self.session = open_session(self.path, providers_for(device), self.precision, threads, cuda_graph)
        self.provider = self.session.get_providers()[0]
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        self.sha256 = sha256_of(self.path)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.layout = _layout(inputs)
        if self.layout is None:
            shapes = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise UserError(f"{self.path}: not an image classifier: it reads {shapes}, not one float (N, 3, S, S)")
        self.input, self.output = inputs[0].name, outputs[0].name
        self.outputs = _number(outputs[0].shape[-1])
        self.input_size = _number(inputs[0].shape[2])
        self.batch = _number(inputs[0].shape[0])
        self.bound: tuple[onnxruntime.IOBinding, onnxruntime.OrtValue] | None = None

    def run(self, images: np.ndarray) -> np.ndarray:
        """Computes outputs (N, classes) of images, float32 (N, 3, S, S) or, with layout "pixels", uint8 (N, S, S, 3).

        A file with one batch size is given batches of it, the last one padded. UserError where an output is not finite.
        """
        if self.layout == "NHWC":
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        step = self.batch or len(images)
        if self.provider == CUDA:
            self.batch = step  # from now on all batches have one size, so that memory is laid out once
        outputs = [self._run_padded(images[start : start + step], step) for start in range(0, len(images), step)]
        result = np.concatenate(outputs).reshape(len(images), -1)  # Caffe's converted networks give (N, classes, 1, 1)
        if not np.isfinite(result).all():
            raise UserError(f"{self.path}: it gives values that are not finite; were its weights trained to the end?")
        return result

    def _run_padded(self, images: np.ndarray, batch: int) -> np.ndarray:
        missing = batch - len(images)
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
        if self.provider == CPU:
            outputs = self.session.run([self.output], {self.input: images})[0]
        else:
            outputs = self._run_bound(images)
        return outputs[: batch - missing]

    def _run_bound(self, images: np.ndarray) -> np.ndarray:
        """On CUDA: input and output stay at their places on the device, where a recorded graph expects them."""
        images = np.ascontiguousarray(images)
        if self.bound is None:
            held, binding = onnxruntime.OrtValue.ortvalue_from_numpy(images, "cuda", 0), self.session.io_binding()
            binding.bind_ortvalue_input(self.input, held)
            if self.outputs is None:
                binding.bind_output(self.output, "cuda")
            else:
                rest = self.session.get_outputs()[0].shape[1:]  # 1, 1 behind the classes in Caffe's converted networks
                shape = [len(images), *(_number(side) or 1 for side in rest)]
                to = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, "cuda", 0)
                binding.bind_ortvalue_output(self.output, to)
            self.bound = binding, held
        binding, held = self.bound
        held.update_inplace(images)
        self.session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]


def _layout(inputs) -> str | None:
    """Tells how the one input of an image classifier is laid out; None where it is something else."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    channels_last = inputs[0].shape[3] == 3 and inputs[0].shape[1] != 3
    if inputs[0].type == "tensor(uint8)":
        return "pixels" if channels_last else None
    if inputs[0].type != "tensor(float)":
        return None
    return "NHWC" if channels_last else "NCHW"


def check_device(device: str) -> None:
    """Opens a session of one node, so that a device that onnxruntime cannot use is told before a run, not after it.

    UserError where `device` is "cuda" and cannot be had.
    """
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "trial", value[:1], value[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    open_session(proto.SerializeToString(), providers_for(device))


def providers_for(device: str) -> tuple[str, ...]:
    """Lists what a session may run on, best first; asks torch, as onnxruntime lists CUDA without a card too."""
    if not cuda_devices(device):
        return (CPU,)
    return (CUDA,) if device == "cuda" else (CUDA, CPU)


def open_session(
    model: Path | bytes,
    providers: tuple[str, ...],
    precision: str = "float32",
    threads: int | None = None,
    cuda_graph: bool = False,
) -> onnxruntime.InferenceSession:
    """Opens a session on the first of `providers` that can run the model; says why where it is not the first.

    Args: model, a file or its bytes; precision, the type of its weights. UserError where none of them can.
    """
    what = model if isinstance(model, Path) else "a first session"
    for provider, following in zip(providers, [*providers[1:], None]):
        try:
            if provider == CUDA:
                _check_cuda(precision)
            return _open_on(provider, model, threads, cuda_graph)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            problem = UserError(f"{what}: onnxruntime cannot open it on {provider}: {error}")
            if following is None:
                raise problem from None
            say(f"{problem}; it runs on {following}")


def _check_cuda(precision: str) -> None:
    """Raises where it is known beforehand that the session will be refused, or will not be what was asked for."""
    if precision in ("int8", "uint8"):
        raise ValueError("8-bit layers are the CPU's")  # int32 biases, among others, have no CUDA kernel
    if CUDA not in onnxruntime.get_available_providers():
        raise ValueError("the onnxruntime that is installed has no CUDA; onnxruntime-gpu has")


def _open_on(provider: str, model: Path | bytes, threads: int | None, cuda_graph: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: what it warns about is its own rewriting of the graph
    options.intra_op_num_threads = threads or 0  # 0: one a core
    # Threads that spin after a run take the cores from whoever makes the next batch ready, or runs the next session.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    settings = {}
    if provider == CUDA:
        onnxruntime.preload_dlls()
        torch.cuda.empty_cache()  # what torch's cache holds is not there for onnxruntime
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {"use_tf32": "0", "enable_cuda_graph": str(int(cuda_graph))}  # float32 means float32
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:
        # Without this a session that does not get CUDA runs on the CPU, with no more than a line in the log.
        raise ValueError("it does not load")
    return session


def _inspect(path: Path) -> str:
    """Tells the type of a file's weights ("float32"); UserError where it is not ONNX, or reads outside its folder."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, which protobuf's versions keep in different places
        raise UserError(f"{path}: not an ONNX file, or a truncated one ({error})") from None
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX file, or a truncated one (it holds no graph)")
    folder = path.resolve().parent
    for tensor in _tensors(model):
        if onnx.external_data_helper.uses_external_data(tensor):
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            if not (folder / location).resolve().is_relative_to(folder):
                raise UserError(f"{path}: {tensor.name!r} is to be read from {location!r}, outside the file's folder")
    weights = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims), default=None)
    return "none" if weights is None else str(onnx.helper.tensor_dtype_to_np_dtype(weights.data_type))


def _tensors(message) -> Iterator[onnx.TensorProto]:
    """Yields every tensor in a model: weights, constants in attributes, tensors in subgraphs and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _tensors(part)


def _number(dimension: object) -> int | None:
    return dimension if isinstance(dimension, int) else None
