"""What a run left behind, as one number, or as its predictions of every test image."""

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.results import centre_error
from alexnet_zoo.train.recipe import load_recipe

LEFT = 0.95  # of ln(classes): a loss below has left that of guessing


def value_of(run: Path, measure: str, error: float = math.nan) -> float:
    """Percent, points, epochs, seconds an image, or 1 and 0; nan where the run does not say, or never came so far.

    Training error is that of the trained network on its training images, as they are in a test (train.csv): what is
    counted while it trains has dropout and distorted images in it, which some arms have and others not.
    error: percent on the validation images, of epochs_to_error.
    """
    if measure == "left_guessing":
        return float(not math.isnan(steps_to_leave(run)))
    if measure in ("train_error", "overfitting"):
        test, train = (centre_error(run / name) for name in ("results.csv", "train.csv"))
        if train is None or test is None:
            return math.nan
        return train if measure == "train_error" else test - train
    if measure == "colour_apart":
        return math.nan if (colours := colours_of(run)) is None else colours[0] - colours[1]
    curve = read_curve(run)
    if measure == "epochs_to_error":
        return next((float(n) for n, value in enumerate(curve["eval_top1"], 1) if 100 - value <= error), math.nan)
    if measure == "epochs_to_25":
        return next((float(n) for n, value in enumerate(curve["train_top1"], 1) if 100 - value <= 25), math.nan)
    if measure == "epochs_to_best":
        values = curve["eval_top1"]
        return math.nan if np.isnan(values).all() else float(np.nanargmax(values) + 1)
    if measure == "time":
        return float(np.nanmean(1 / np.array(curve["images_per_s"])))
    raise ValueError(measure)


def colours_of(run: Path) -> tuple[float, float, float] | None:
    """The colour index of conv1's more and less coloured column, and how far apart random deals of its kernels are.

    From colour.json, which `--report` writes while the weights are there; None without it.
    """
    file = run / "colour.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    return max(found["columns"]), min(found["columns"]), found["by_chance"]


def read_curve(run: Path) -> dict[str, list[float]]:
    """The columns of summary.csv, an entry an epoch, nan where empty."""
    with open(run / "summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def hours(run: Path) -> float:
    """How long the run's training took."""
    step = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return step * load_recipe(run / "recipe.toml").batch_size * value_of(run, "time") / 3600


def steps_to_leave(run: Path) -> float:
    """The step from which on the loss stays below 0.95 ln(classes), averaged over five recorded steps; nan: never."""
    if (run / "diverged.json").exists():
        return math.nan
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    classes = len(json.loads((run / "data.json").read_text())["classes"])
    losses = np.convolve([row["loss"] for row in rows], np.ones(5) / 5, mode="valid")
    above = np.flatnonzero(losses >= LEFT * math.log(classes))
    first = above[-1] + 1 if len(above) else 0
    return float(rows[first + 4]["step"]) if first < len(losses) else math.nan


def results_of(run: Path) -> list[dict[str, str]]:
    with open(run / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Predictions:
    """What a network predicted, image by image, as a study counts it and publishes it.

    labels, first: (images,), the numbers of the right class and of the one that was guessed. confidence: (images,), the
    probability of the guess, in ten thousandths. parts: (images, classes), that of every class, likewise; (images, 0)
    where it is not known.
    """

    labels: np.ndarray
    first: np.ndarray
    confidence: np.ndarray
    parts: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """(images,): whether the guess is wrong."""
        return self.first != self.labels

    def without_parts(self) -> "Predictions":
        return replace(self, parts=self.parts[:, :0])

    def save(self, file: Path) -> None:
        with written_whole(file) as partial, partial.open("wb") as opened:
            np.savez_compressed(opened, **vars(self))


def predictions_of(run: Path, views: int) -> Predictions:
    """Reads a run's predictions-VIEWS.npz, as published, or predictions-VIEWS.csv.

    Raises UserError without either, and for a file that holds something else.
    """
    published, table = (run / f"predictions-{views}.{kind}" for kind in ("npz", "csv"))
    if published.exists():
        try:
            with np.load(published, allow_pickle=False) as file:
                return Predictions(**file)
        except (TypeError, ValueError, OSError, BadZipFile) as error:
            raise UserError(f"{published}: not predictions as a study publishes them; remove it") from error
    if not table.exists():
        again = f"alexzoo evaluate {run} --views {views} --predictions {table}"
        raise UserError(f"{run}: no predictions with {views} views; write them with: {again}")
    classes = json.loads((run / "data.json").read_text())["classes"]
    number = {name: place for place, name in enumerate(classes)}
    with table.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    kind = np.uint8 if len(classes) <= 256 else np.uint16
    labels, first = (np.array([number[row[column]] for row in rows], kind) for column in ("label", "top1"))
    confidence = np.array([round(1e4 * float(row["probability1"])) for row in rows], np.uint16)
    if f"top{len(classes)}" not in rows[0]:
        return Predictions(labels, first, confidence, np.zeros((len(rows), 0), np.uint16))
    parts = np.zeros((len(rows), len(classes)), np.uint16)
    for image, row in enumerate(rows):
        for place in range(1, len(classes) + 1):
            parts[image, number[row[f"top{place}"]]] = round(1e4 * float(row[f"probability{place}"]))
    return Predictions(labels, first, confidence, parts)


def predictions_of_all(runs: list[Path], views: int) -> list[Predictions]:
    """Those of each run; UserError where they did not see the same images."""
    found = [predictions_of(run, views) for run in runs]
    for run, each in zip(runs, found):
        if not np.array_equal(each.labels, found[0].labels):
            raise UserError(f"{run}: was not measured on the images of {runs[0]}; they do not compare")
    return found
