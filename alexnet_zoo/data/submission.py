"""What the test server of ILSVRC-2012 takes: a line for each image, five devkit ids by falling confidence."""

from pathlib import Path

import numpy as np

from alexnet_zoo.data.prepared.dataset import Dataset
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole

GUESSES = 5


def check_can_submit(dataset: Dataset, devkit_ids: list[int] | None) -> None:
    """UserError where a submission cannot be written for this split: before networks are run for hours."""
    if devkit_ids is None:
        raise UserError(f"{dataset.folder}: has no devkit ids; prepare it from ILSVRC's archives, the kit among them")
    if len(devkit_ids) != len(dataset.classes) or len(dataset.classes) < GUESSES:
        raise UserError(f"{dataset.folder}: {len(devkit_ids)} devkit ids for {len(dataset.classes)} classes; 5 or more")
    if dataset.unreadable:
        raise UserError(f"{dataset.folder}: {len(dataset.unreadable)} images of {dataset.name} are left out; not whole")


def write_submission(path: Path, dataset: Dataset, devkit_ids: list[int], scores: np.ndarray) -> None:
    """Write scores (images, classes), higher for more confident, to `path`; in the order of the files' names."""
    check_can_submit(dataset, devkit_ids)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :GUESSES]
    order = sorted(range(len(dataset)), key=lambda row: dataset.names[row].rpartition("/")[2])
    lines = (" ".join(str(devkit_ids[label]) for label in best[row]) for row in order)
    with written_whole(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines))
