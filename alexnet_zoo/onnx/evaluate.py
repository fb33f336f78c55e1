"""An exported network's errors, measured in onnxruntime: centre crop or ten crops, one network or several averaged."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from alexnet_zoo.data.prepared.dataset import Dataset, Images
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.preprocessing import Foreign, Preprocessing
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.pedigree import from_text, to_text
from alexnet_zoo.progress import Progress, say

CROPS_AT_A_TIME = 64  # about 40 MB of input; larger batches are no faster on a CPU


def evaluate(*arguments, **options) -> dict[str, object]:
    """Returns the row alone of errors_and_probabilities, which tells the arguments."""
    return errors_and_probabilities(*arguments, **options)[0]


def errors_and_probabilities(
    paths: list[Path],
    dataset: Dataset,
    views: int,
    device: str = "auto",
    batch_size: int = CROPS_AT_A_TIME,
    foreign: Foreign | None = None,
) -> tuple[dict[str, object], np.ndarray]:
    """Measures the errors of a network, or of several averaged, on a split: a row of results.csv.

    And those outputs, averaged over networks and views: (images, classes).

    Args:
        paths: ONNX files.
        views: 1, the centre crop; 10, the four corners, the centre and their mirror images, their softmax outputs
            averaged (section 4.1).
        batch_size: crops that go through a network at a time.
        foreign: how pixels become the input of files whose metadata does not say it.

    Raises UserError where a file cannot be used on this split, before any is run.
    """
    if len(dataset.labels) and dataset.labels.min() < 0:
        raise UserError(f"{dataset.name}: its labels are not known; --submission FILE writes what the server judges")
    members = open_members(paths, dataset, views, device, foreign)
    total = averaged(members, dataset, views, batch_size)
    classifiers, inputs = zip(*members, strict=True)
    row = _row(list(classifiers), inputs[0], dataset, views, rank_of_label(total, dataset.labels))
    return row, total / len(members)


def open_members(
    paths: list[Path], dataset: Images, views: int, device: str, foreign: Foreign | None = None
) -> list[tuple[OnnxClassifier, Preprocessing]]:
    """Opens networks and what they expect; UserError where one cannot be used on this split with these views."""
    if views not in (1, 10):
        raise UserError(f"--views {views}: the paper's protocols are 1 (centre crop) and 10 (ten crops)", exit_code=2)
    if not paths or not len(dataset.labels):
        raise UserError(f"{dataset.name}: nothing to evaluate: {len(paths)} networks, {len(dataset.labels)} images")
    members = []
    for path in paths:
        classifier = OnnxClassifier(path, device)
        if foreign is not None and "classes" not in classifier.metadata:
            preprocessing = foreign.preprocessing(dataset, classifier.input_size)
            say(f"{path}: crops of {preprocessing.crop_size} from images of {preprocessing.image_size} pixels")
        else:
            preprocessing = Preprocessing.from_metadata(classifier.metadata, classifier.path)
        _check_fit(classifier, preprocessing, dataset, views)
        members.append((classifier, preprocessing))
    return members


def averaged(members: list, dataset: Images, views: int, batch_size: int = CROPS_AT_A_TIME) -> np.ndarray:
    """Sums over the networks their softmax outputs, averaged over the views: (images, classes)."""
    total = np.zeros((len(dataset.labels), len(dataset.classes)))
    what = f"evaluating {dataset.name}, {views} view{'s' * (views > 1)}"
    with Progress(len(total) * len(members), what) as progress:
        for classifier, preprocessing in members:
            for rows, probability in probabilities(classifier, preprocessing, dataset, views, batch_size):
                total[rows] += probability
                progress.update(len(probability))
    return total


def probabilities(
    classifier: OnnxClassifier, preprocessing: Preprocessing, dataset: Images, views: int, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (rows, softmax outputs averaged over the views (n, classes)) of one batch of images after another."""
    for rows, crops in batches(classifier, preprocessing, dataset, views, batch_size):
        outputs = as_probabilities(classifier.run(crops))
        yield rows, outputs.reshape(rows.stop - rows.start, -1, outputs.shape[-1]).mean(axis=1)


def batches(
    classifier: OnnxClassifier, preprocessing: Preprocessing, dataset: Images, views: int, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields what the session reads, batch by batch: (rows, input); gathers the next one meanwhile."""
    images = max(1, batch_size // views)
    end = len(dataset.labels)
    rows = [slice(start, min(start + images, end)) for start in range(0, end, images)]

    def load(rows: slice) -> np.ndarray:
        if classifier.layout == "pixels":
            corner = [0] * (rows.stop - rows.start)
            return dataset.gather(range(rows.start, rows.stop), corner, corner, dataset.image_size).numpy()
        return preprocessing.crops(dataset, rows, views).numpy()

    threads = torch.get_num_threads()
    # On one thread: torch's others would take the cores from onnxruntime's, and wait for each other at every crop.
    try:
        with ThreadPoolExecutor(max_workers=1, initializer=torch.set_num_threads, initargs=(1,)) as loader:
            ahead = loader.submit(load, rows[0])
            for these, following in zip(rows, [*rows[1:], None], strict=True):
                loaded = ahead.result()
                if following is not None:
                    ahead = loader.submit(load, following)
                yield these, loaded
    finally:
        torch.set_num_threads(threads)  # for threads that begin later


def some_crops(dataset: Images, preprocessing: Preprocessing, count: int) -> np.ndarray:
    """Takes the centre crops of up to count images, evenly spread over a split, which lists one class after another."""
    picked = np.unique(np.linspace(0, len(dataset.labels) - 1, min(count, len(dataset.labels))).round().astype(int))
    crops = [preprocessing.crops(dataset, slice(i, i + 1), 1).numpy() for i in picked.tolist()]
    return np.concatenate(crops) if crops else np.empty(0, np.float32)


def as_probabilities(outputs: np.ndarray) -> np.ndarray:
    """Takes the softmax of logits; leaves outputs that are probabilities already, as many foreign networks give."""
    if outputs.min() >= 0 and np.abs(outputs.sum(axis=-1) - 1).max() < 1e-3:
        return outputs.astype(np.float64)
    return softmax(outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Computes it along the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def rank_of_label(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts the classes that come before the right one (N,), for scores (N, classes); of equal scores the first wins.

    Counting equal scores as won would give a dead network, whose outputs are all equal, no errors at all.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def _row(
    classifiers: list[OnnxClassifier], preprocessing: Preprocessing, dataset: Dataset, views: int, ranks: np.ndarray
) -> dict[str, object]:
    top1 = 100 * float(np.mean(ranks < 1))
    top5 = 100 * float(np.mean(ranks < min(5, len(dataset.classes))))
    metadata = [c.metadata for c in classifiers]
    parameters = sum(int(m.get("param_count", 0)) for m in metadata)
    return {
        "model": _together(m.get("model", c.path.stem) for m, c in zip(metadata, classifiers, strict=True)),
        "img_size": preprocessing.crop_size,
        "top1": f"{top1:.3f}",
        "top1_err": f"{100 - top1:.3f}",
        "top5": f"{top5:.3f}",
        "top5_err": f"{100 - top5:.3f}",
        "param_count": f"{parameters / 1e6:.2f}",  # in millions, as timm has it
        "crop_pct": f"{preprocessing.crop_size / preprocessing.image_size:.3f}",
        "interpolation": "bicubic",  # of the preparation (data/prepared/picture.py); crops are not resized
        "recipe": _together(m.get("recipe", "") for m in metadata),
        "dataset": dataset.data_name,
        "split": dataset.name,
        "images": len(dataset.labels),
        "views": views,
        "provider": "+".join(sorted({c.provider for c in classifiers})),
        "precision": "+".join(sorted({c.precision for c in classifiers})),
        "onnx_sha256": "+".join(c.sha256 for c in classifiers),
        "data_sha256": dataset.data_sha256,
        "identity": dataset.identity,
        "target": _together(m.get("target", "") for m in metadata),
        "pedigree": to_text([one for m in metadata for one in from_text(m.get("pedigree", "")) or [None]]),
    }


def _together(names) -> str:
    """Tells what several networks are called together: "5 alexnet_krizhevsky + 2 alexnet_krizhevsky_6conv"."""
    counts = Counter(names)
    return " + ".join(name if n == 1 else f"{n} {name}".strip() for name, n in counts.items())


def _check_fit(classifier: OnnxClassifier, preprocessing: Preprocessing, dataset: Images, views: int) -> None:
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
    if classifier.layout == "pixels":
        if views != 10:
            raise UserError(f"{file}: holds the ten crops; use --views 10", exit_code=2)
    elif classifier.input_size not in (None, preprocessing.crop_size):
        raise UserError(
            f"{file}: it reads {classifier.input_size} pixels, its metadata says crops of {preprocessing.crop_size}"
        )
