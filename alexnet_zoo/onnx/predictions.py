"""What networks predicted, as a file: a table with a row an image, or lines for the test server of ILSVRC-2012."""

from pathlib import Path

import numpy as np

from alexnet_zoo.data.prepared.dataset import Dataset
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole

GUESSES = 5
FEW = 10  # classes, all of which are written


def check_can_submit(dataset: Dataset, devkit_ids: list[int] | None) -> None:
    """Raises UserError where a submission cannot be written for this split: before networks are run for hours."""
    if devkit_ids is None:
        raise UserError(f"{dataset.folder}: has no devkit ids; prepare it from ILSVRC's archives, the kit among them")
    if len(devkit_ids) != len(dataset.classes) or len(dataset.classes) < GUESSES:
        raise UserError(f"{dataset.folder}: {len(devkit_ids)} devkit ids for {len(dataset.classes)} classes; 5 or more")
    if dataset.unreadable:
        raise UserError(f"{dataset.folder}: {len(dataset.unreadable)} images of {dataset.name} are left out; not whole")


def write_submission(path: Path, dataset: Dataset, devkit_ids: list[int], scores: np.ndarray) -> None:
    """Writes scores (images, classes), higher for more confident, to `path`; in the order of the files' names."""
    check_can_submit(dataset, devkit_ids)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :GUESSES]
    order = sorted(range(len(dataset)), key=lambda row: dataset.names[row].rpartition("/")[2])
    lines = (" ".join(str(devkit_ids[label]) for label in best[row]) for row in order)
    with written_whole(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines))


def write_predictions(path: Path, dataset: Dataset, probability: np.ndarray) -> None:
    """Writes a line an image: name, label, its likeliest classes, top1, top2, ..., and probability1, probability2, ...

    All classes where there are ten at most, which is what an average of several networks needs; else five.
    """
    import pandas

    classes = probability.shape[1]
    best = np.argsort(-probability, axis=1, kind="stable")[:, : classes if classes <= FEW else GUESSES]
    names = np.array(dataset.classes)
    columns = {"name": dataset.names, "label": names[dataset.labels]}
    columns |= {f"top{k + 1}": names[best[:, k]] for k in range(best.shape[1])}
    picked = np.take_along_axis(probability, best, axis=1).round(6)
    columns |= {f"probability{k + 1}": picked[:, k] for k in range(best.shape[1])}
    with written_whole(path) as partial:
        pandas.DataFrame(columns).to_csv(partial, index=False)
