"""An exported network's errors, measured in onnxruntime: centre crop or ten crops, one network or several averaged."""

import base64
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import Message

from alexnet_zoo.data.augment import Crops, centre_crop, ten_crop_offsets, to_input
from alexnet_zoo.data.dataset import Dataset, open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.progress import Progress

CROPS_AT_A_TIME = 64  # about 40 MB of input; larger batches are no faster on a CPU
COLUMNS = (  # of results.csv: timm's, then ours
    "model img_size top1 top1_err top5 top5_err param_count crop_pct interpolation recipe dataset split images views "
    "provider precision onnx_sha256 data_sha256 identity"
).split()


@dataclass
class Preprocessing:
    """What a network expects: its classes, in the order of its outputs, and how pixels become its input.

    Of an image of image_size x image_size RGB pixels, 0 to 255, it reads crops of crop_size, from which the mean image
    (image_size, image_size, 3) is subtracted at the crop's place, divided by scale.
    """

    classes: list[str]
    image_size: int
    crop_size: int
    mean_image: np.ndarray
    scale: float = 1.0

    def mean_tensor(self) -> torch.Tensor:
        """The mean image as to_input takes it."""
        return torch.from_numpy(np.array(self.mean_image, np.float32))

    def to_metadata(self) -> dict[str, str]:
        """As strings, for the metadata of an ONNX file."""
        array = io.BytesIO()
        np.save(array, self.mean_image.astype(np.float32), allow_pickle=False)
        return {
            "classes": json.dumps(self.classes),
            "image_size": str(self.image_size),
            "crop_size": str(self.crop_size),
            "scale": repr(float(self.scale)),
            "mean": json.dumps(self.mean_image.mean(axis=(0, 1), dtype=np.float64).round(4).tolist()),
            "mean_image": base64.b64encode(array.getvalue()).decode(),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], file: Path) -> "Preprocessing":
        """What to_metadata wrote into `file`; UserError where something is missing or wrong."""
        wanted = ("classes", "image_size", "crop_size", "scale", "mean_image")
        if missing := [key for key in wanted if key not in metadata]:
            raise UserError(
                f"{file}: its metadata does not say how pixels become its input (no {', '.join(missing)}); "
                "evaluate a file that `alexzoo export` wrote"
            )
        try:
            array = np.load(io.BytesIO(base64.b64decode(metadata["mean_image"])), allow_pickle=False)
            image_size, crop_size = int(metadata["image_size"]), int(metadata["crop_size"])
            found = cls(json.loads(metadata["classes"]), image_size, crop_size, array, float(metadata["scale"]))
        except (ValueError, EOFError) as error:
            raise UserError(f"{file}: its metadata cannot be read ({error}); export it again") from None
        if array.shape != (image_size, image_size, 3) or not 0 < crop_size <= image_size:
            raise UserError(
                f"{file}: its metadata disagrees with itself: mean image {array.shape}, images of {image_size}, "
                f"crops of {crop_size}; export it again"
            )
        return found


class OnnxClassifier:
    """An ONNX file, opened in onnxruntime: images (N, 3, S, S) float32 in, logits (N, classes) out.

    Args:
        path: the file.
        device: "cpu"; "cuda", an error where the session does not get it; "auto", CUDA where torch sees a GPU.

    Attributes: provider, the one that really runs it; metadata; precision, the type of its weights; sha256; outputs,
    how many logits it gives (None where the file does not say); input_size, the side S (likewise).
    """

    def __init__(self, path: Path | str, device: str = "auto"):
        self.path = Path(path)
        wanted = _provider_for(device)
        self.precision = _inspect(self.path)
        self.session = _open_session(self.path, wanted)
        self.provider = self.session.get_providers()[0]
        if self.provider != wanted:
            # Without this a session that does not get CUDA runs on the CPU, with no more than a line in the log.
            raise UserError(f"{self.path}: onnxruntime could not use {wanted}; use --device cpu")
        self.metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        self.sha256 = sha256_of(self.path)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
            shapes = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise UserError(f"{self.path}: not an image classifier: it reads {shapes}, not one float (N, 3, S, S)")
        self.input, self.output = inputs[0].name, outputs[0].name
        self.outputs = _number(outputs[0].shape[-1])
        self.input_size = _number(inputs[0].shape[-1])

    def run(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, classes) of images (N, 3, S, S) float32; UserError where they are not finite."""
        logits = self.session.run([self.output], {self.input: images})[0]
        if not np.isfinite(logits).all():
            raise UserError(f"{self.path}: it gives values that are not finite; were its weights trained to the end?")
        return logits


def evaluate(
    paths: list[Path],
    dataset: Dataset,
    views: int,
    device: str = "auto",
    batch_size: int = CROPS_AT_A_TIME,
) -> dict[str, object]:
    """The errors of one network, or of several whose softmax outputs are averaged, on a split: a row of results.csv.

    Args:
        paths: ONNX files that `export` wrote.
        views: 1, the centre crop; 10, the four corners, the centre and their mirror images, their softmax outputs
            averaged (section 4.1).
        batch_size: crops that go through a network at a time.

    Raises UserError where a file cannot be used on this split, before any is run.
    """
    if len(dataset.labels) and dataset.labels.min() < 0:
        raise UserError(f"{dataset.name}: its labels are not known; --submission FILE writes what the server judges")
    classifiers, inputs, total = summed_probabilities(paths, dataset, views, device, batch_size)
    return _row(classifiers, inputs[0], dataset, views, rank_of_label(total, dataset.labels))


def summed_probabilities(
    paths: list[Path], dataset: Dataset, views: int, device: str = "auto", batch_size: int = CROPS_AT_A_TIME
) -> tuple[list[OnnxClassifier], list[Preprocessing], np.ndarray]:
    """Networks, what each expects, and the sum of their softmax outputs (images, classes); as `evaluate` takes them."""
    if views not in (1, 10):
        raise UserError(f"--views {views}: the paper's protocols are 1 (centre crop) and 10 (ten crops)", exit_code=2)
    if not paths or not len(dataset.labels):
        raise UserError(f"{dataset.name}: nothing to evaluate: {len(paths)} networks, {len(dataset.labels)} images")
    classifiers = [OnnxClassifier(path, device) for path in paths]
    inputs = [Preprocessing.from_metadata(c.metadata, c.path) for c in classifiers]
    for classifier, preprocessing in zip(classifiers, inputs, strict=True):
        _check_fit(classifier, preprocessing, dataset)

    total = np.zeros((len(dataset.labels), len(dataset.classes)))
    with Progress(len(total) * len(paths), f"evaluating {dataset.name}, {views} view{'s' * (views > 1)}") as progress:
        for classifier, preprocessing in zip(classifiers, inputs, strict=True):
            for rows, probability in probabilities(classifier, preprocessing, dataset, views, batch_size):
                total[rows] += probability
                progress.update(len(probability))
    return classifiers, inputs, total


def probabilities(
    classifier: OnnxClassifier, preprocessing: Preprocessing, dataset: Dataset, views: int, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Softmax outputs (n, classes), averaged over the views, of one batch of images after another: (rows, outputs)."""
    images = max(1, batch_size // views)
    end = len(dataset.labels)
    batches = [slice(start, min(start + images, end)) for start in range(0, end, images)]
    mean = preprocessing.mean_tensor()

    def load(rows: slice) -> np.ndarray:
        return crops_of(dataset, rows, views, preprocessing.crop_size, mean, preprocessing.scale).numpy()

    with ThreadPoolExecutor(max_workers=1) as loader:  # gathers the next batch while the session runs this one
        ahead = loader.submit(load, batches[0])
        for rows, following in zip(batches, [*batches[1:], None], strict=True):
            crops = ahead.result()
            if following is not None:
                ahead = loader.submit(load, following)
            outputs = softmax(classifier.run(crops))
            yield rows, outputs.reshape(-1, views, outputs.shape[-1]).mean(axis=1)


def crops_of(
    dataset: Dataset, rows: slice, views: int, crop_size: int, mean: torch.Tensor, scale: float = 1.0
) -> torch.Tensor:
    """The centre crop (views=1) or the ten crops of each image in rows: (images * views, 3, crop_size, crop_size)."""
    count = rows.stop - rows.start
    if views == 1:
        crops = centre_crop(count, dataset.image_size, crop_size)
    else:
        top, left, mirror = zip(*ten_crop_offsets(dataset.image_size, crop_size), strict=True)
        crops = Crops(
            torch.tensor(top).repeat(count),
            torch.tensor(left).repeat(count),
            torch.tensor(mirror, dtype=torch.bool).repeat(count),
            torch.zeros(count * views, 3),
        )
    indices = np.repeat(np.arange(rows.start, rows.stop), views)
    pixels = dataset.gather(indices, crops.tops, crops.lefts, crop_size)
    return to_input(pixels, crops, mean, scale)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def rank_of_label(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the right one (N,), for scores (N, classes); of equal scores the first wins.

    Counting equal scores as won would give a dead network, whose outputs are all equal, no errors at all.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def append_results(path: Path, rows: list[dict]) -> None:
    """Appends rows to a results.csv, with the header where the file is new; all of them or, after a fault, none."""
    path = Path(path)
    header = ",".join(COLUMNS)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if before and before.splitlines()[0] != header:
        raise UserError(f"{path}: not a results.csv of this version (its columns differ); move it away")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if not before:
        writer.writeheader()
    elif not before.endswith("\n"):
        text.write("\n")
    writer.writerows(rows)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(before + text.getvalue(), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _row(
    classifiers: list[OnnxClassifier], preprocessing: Preprocessing, dataset: Dataset, views: int, ranks: np.ndarray
) -> dict[str, object]:
    top1 = 100 * float(np.mean(ranks < 1))
    top5 = 100 * float(np.mean(ranks < min(5, len(dataset.classes))))
    prepared = open_prepared(dataset.folder)
    metadata = [c.metadata for c in classifiers]
    parameters = sum(int(m.get("param_count", 0)) for m in metadata)
    values = {
        "model": _together(m.get("model", c.path.stem) for m, c in zip(metadata, classifiers, strict=True)),
        "img_size": preprocessing.crop_size,
        "top1": f"{top1:.3f}",
        "top1_err": f"{100 - top1:.3f}",
        "top5": f"{top5:.3f}",
        "top5_err": f"{100 - top5:.3f}",
        "param_count": f"{parameters / 1e6:.2f}",  # in millions, as timm has it
        "crop_pct": f"{preprocessing.crop_size / preprocessing.image_size:.3f}",
        "interpolation": "bicubic",  # of the preparation (data/picture.py); crops are not resized
        "recipe": _together(m.get("recipe", "") for m in metadata),
        "dataset": prepared.name,
        "split": dataset.name,
        "images": len(dataset.labels),
        "views": views,
        "provider": classifiers[0].provider,
        "precision": "+".join(sorted({c.precision for c in classifiers})),
        "onnx_sha256": "+".join(c.sha256 for c in classifiers),
        "data_sha256": prepared.sha256,
        "identity": dataset.identity,
    }
    return {column: values[column] for column in COLUMNS}


def _together(names) -> str:
    """What several networks are called together: "5 alexnet_krizhevsky + 2 alexnet_krizhevsky_6conv"."""
    counts = Counter(names)
    return " + ".join(name if n == 1 else f"{n} {name}".strip() for name, n in counts.items())


def _check_fit(classifier: OnnxClassifier, preprocessing: Preprocessing, dataset: Dataset) -> None:
    file, ours, theirs = classifier.path, preprocessing.classes, list(dataset.classes)
    if classifier.outputs not in (None, len(theirs)):
        raise UserError(f"{file}: it has {classifier.outputs} outputs, the data {len(theirs)} classes")
    if ours != theirs:
        pairs = zip(ours, theirs, strict=False)  # of two lists of different lengths, which may begin alike
        odd = next((f"{a!r} is {b!r} in the data" for a, b in pairs if a != b), "their numbers differ")
        raise UserError(f"{file}: its {len(ours)} classes are not the data's {len(theirs)}: {odd}")
    if preprocessing.image_size != dataset.image_size:
        raise UserError(
            f"{file}: it was trained on images of {preprocessing.image_size} pixels, the data has "
            f"{dataset.image_size}; prepare the data with an image size of {preprocessing.image_size}"
        )
    if classifier.input_size not in (None, preprocessing.crop_size):
        raise UserError(
            f"{file}: it reads {classifier.input_size} pixels, its metadata says crops of {preprocessing.crop_size}"
        )


def _provider_for(device: str) -> str:
    """onnxruntime lists CUDA wherever it was compiled in, so whether there is a GPU is asked of torch."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: must be auto, cpu or cuda", exit_code=2)
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no usable CUDA device here; use --device cpu")
    return "CUDAExecutionProvider" if device != "cpu" and torch.cuda.is_available() else "CPUExecutionProvider"


def _open_session(path: Path, provider: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: what it warns about is its own rewriting of the graph
    settings = {}
    if provider == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {"use_tf32": "0"}  # float32 means float32
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[(provider, settings)])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        raise UserError(f"{path}: onnxruntime cannot open it: {error}") from None


def _inspect(path: Path) -> str:
    """The type of a file's weights ("float32"); UserError where it is no ONNX file or reads from outside its folder."""
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
    """Every tensor anywhere in a model: weights, constants in attributes, those of subgraphs and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _tensors(part)


def _number(dimension: object) -> int | None:
    return dimension if isinstance(dimension, int) else None
