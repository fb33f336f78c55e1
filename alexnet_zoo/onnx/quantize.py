"""Lower precision: float16, and 8 bits calibrated on images; what each costs in errors is measured, not assumed."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import rank_of_label

CALIBRATION_BATCH = 16
QUANTIZED = ["Conv", "Relu", "Gemm", "MaxPool"]  # what runs in 8 bits


@dataclass
class Cost:
    """What lower precision costs on `images` images, centre crop: percent, and points of percent against float32."""

    images: int
    top1_err: float
    top5_err: float
    top1_change: float
    top5_change: float
    disagreement: float  # percent of the images whose most probable class is another

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.images} images, centre crop: top-1 error {self.top1_err:.2f}% ({self.top1_change:+.2f}), "
            f"top-5 error {self.top5_err:.2f}% ({self.top5_change:+.2f}), another class than float32 on "
            f"{self.disagreement:.2f}%"
        )


def cost_of(theirs: np.ndarray, ours: np.ndarray, labels: np.ndarray) -> Cost:
    """Of probabilities (N, classes) against those in float32."""

    def errors(probability: np.ndarray) -> np.ndarray:
        ranks = rank_of_label(probability, labels)
        return 100 * np.array([np.mean(ranks >= 1), np.mean(ranks >= min(5, probability.shape[1]))])

    full, low = errors(ours), errors(theirs)
    other = 100 * float(np.mean(theirs.argmax(axis=1) != ours.argmax(axis=1)))
    return Cost(len(labels), *map(float, low), *map(float, low - full), other)


def to_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and layers in float16; normalisation, input and output stay float32."""
    half = convert_float_to_float16(proto, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "LRN"])
    OnnxModel(half).topological_sort()  # it puts its casts at the end
    return half


def to_int8(proto: onnx.ModelProto, calibration: np.ndarray | None) -> onnx.ModelProto:
    """Layers in 8 bits: weights signed, one scale for each map; activations unsigned, ranges those of the calibration
    inputs (N, 3, S, S). Normalisation stays float32. The same inputs give the same file."""
    if calibration is None or not len(calibration):
        raise UserError("int8: no images to calibrate on; name data whose training split is not empty with --data")
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        quantize_static(
            source,
            result,
            Batches(proto.graph.input[0].name, calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=[node.name for node in proto.graph.node if node.name.startswith("norm")],
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with signed weights: the product that CPUs have an instruction for
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(result)


class Batches(CalibrationDataReader):
    """The calibration images, as onnxruntime asks for them."""

    def __init__(self, name: str, images: np.ndarray):
        starts = range(0, len(images), CALIBRATION_BATCH)
        self.batches = iter([{name: images[start : start + CALIBRATION_BATCH]} for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)
