"""Lowers precision to float16, or to 8 bits calibrated on images, and measures what that costs in errors."""

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import rank_of_label

CALIBRATION_BATCH = 16
QUANTIZED = ["Conv", "Relu", "Gemm", "MaxPool"]  # what runs in 8 bits


@dataclass
class Cost:
    """Holds what lower precision costs on `images` images, centre crop, in percent; changes are against float32."""

    images: int
    top1_err: float
    top5_err: float
    top1_change: float
    top5_change: float
    disagreement: float  # percent of the images whose most probable class is another

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        top1 = f"top-1 error {self.top1_err:.2f}% ({self.top1_change:+.2f})"
        top5 = f"top-5 error {self.top5_err:.2f}% ({self.top5_change:+.2f})"
        other = f"another class than float32 on {self.disagreement:.2f}%"
        return f"{self.images} images, centre crop: {top1}, {top5}, {other}"


def cost_of(low: np.ndarray, full: np.ndarray, labels: np.ndarray) -> Cost:
    """Compares probabilities (N, classes) in lower precision with those in full precision, float32."""

    def errors(probability: np.ndarray) -> np.ndarray:
        ranks = rank_of_label(probability, labels)
        return 100 * np.array([np.mean(ranks >= 1), np.mean(ranks >= min(5, probability.shape[1]))])

    other = 100 * float(np.mean(low.argmax(axis=1) != full.argmax(axis=1)))
    top1, top5 = errors(low).tolist()
    top1_change, top5_change = (errors(low) - errors(full)).tolist()
    return Cost(len(labels), top1, top5, top1_change, top5_change, other)


def to_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Turns weights and layers into float16; normalisation, input and output stay float32."""
    half = convert_float_to_float16(proto, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "LRN"])
    OnnxModel(half).topological_sort()  # it puts its casts at the end
    return half


def to_int8(proto: onnx.ModelProto, calibration: np.ndarray | None) -> onnx.ModelProto:
    """Turns layers into 8 bits; normalisation stays float32. The same inputs (N, 3, S, S) give the same file.

    Weights are signed, with one scale for each map; activations unsigned, with the ranges of the calibration inputs.
    """
    if calibration is None or not len(calibration):
        raise UserError("int8: no images to calibrate on; name data whose training split is not empty with --data")
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        logging.disable(logging.WARNING)  # it advises shape inference and fusion, which it does not need here
        try:
            quantize_static(
                source,
                result,
                Batches(proto.graph.input[0].name, calibration),
                op_types_to_quantize=QUANTIZED,
                nodes_to_exclude=[node.name for node in proto.graph.node if node.name.startswith("norm")],
                per_channel=True,
                activation_type=QuantType.QUInt8,  # with signed weights: the product that CPUs have an instruction for
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(result)


class Batches(CalibrationDataReader):
    """Gives onnxruntime the calibration images, a batch at a time."""

    def __init__(self, name: str, images: np.ndarray):
        starts = range(0, len(images), CALIBRATION_BATCH)
        self.batches = iter([{name: images[start : start + CALIBRATION_BATCH]} for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)
