"""What a run left behind, as one number, or as the rank of the right class for every test image."""

import csv
import json
import math
from functools import cache
from pathlib import Path

import numpy as np

from alexnet_zoo.errors import UserError

LEFT = 0.95  # of ln(classes): a loss below has left that of guessing


def value_of(run: Path, measure: str) -> float:
    """Percent, epochs, seconds an image, or 1 and 0; nan where the run does not say, or never came so far."""
    curve = read_curve(run)
    if measure == "left_guessing":
        return float(not math.isnan(steps_to_leave(run)))
    if measure == "train_error":
        return next((100 - value for value in reversed(curve["train_top1"]) if not math.isnan(value)), math.nan)
    if measure == "epochs_to_25":
        return next((float(n) for n, value in enumerate(curve["train_top1"], 1) if 100 - value <= 25), math.nan)
    if measure == "epochs_to_best":
        values = curve["eval_top1"]
        return math.nan if np.isnan(values).all() else float(np.nanargmax(values) + 1)
    if measure == "time":
        return float(1 / np.nanmean(curve["images_per_s"]))
    raise ValueError(measure)


def read_curve(run: Path) -> dict[str, list[float]]:
    """The columns of summary.csv, an entry an epoch, nan where empty."""
    with open(run / "summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def steps_to_leave(run: Path) -> float:
    """The step from which on the loss stays below 0.95 ln(classes), averaged over five recorded steps; nan: never."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    classes = len(json.loads((run / "data.json").read_text())["classes"])
    losses = np.convolve([row["loss"] for row in rows], np.ones(5) / 5, mode="valid")
    above = np.flatnonzero(losses >= LEFT * math.log(classes))
    first = above[-1] + 1 if len(above) else 0
    return float(rows[first + 4]["step"]) if first < len(losses) else math.nan


def results_of(run: Path) -> list[dict[str, str]]:
    with open(run / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ranks_of(run: Path, views: int) -> dict[str, int]:
    """For each image of the test split, by name: the right class's place among the five best, 1 to 5; 0: not there.

    From the run's predictions-VIEWS.csv; where a published run lacks it, from ranks-VIEWS.csv beside the run.
    """
    file = run / f"predictions-{views}.csv"
    if not file.exists():
        published = _read_ranks(run.parent / f"ranks-{views}.csv")
        if run.name not in published:
            again = f"alexzoo evaluate {run} --views {views} --predictions {file}"
            raise UserError(f"{run}: no predictions with {views} views; write them with: {again}")
        return published[run.name]
    ranks = {}
    with file.open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            best = [row.get(f"top{place}") for place in range(1, 6)]
            ranks[row["name"]] = best.index(row["label"]) + 1 if row["label"] in best else 0
    return ranks


@cache
def _read_ranks(file: Path) -> dict[str, dict[str, int]]:
    if not file.exists():
        return {}
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return {run: {row["name"]: int(row[run]) for row in rows} for run in rows[0] if run != "name"}


def write_ranks(file: Path, runs: list[Path], views: int) -> None:
    """A line an image, a column a run: small enough to publish where the predictions are not."""
    ranks = {run.name: ranks_of(run, views) for run in runs}
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(["name", *ranks])
        writer.writerows([name, *(each[name] for each in ranks.values())] for name in next(iter(ranks.values())))


def wrong(runs: list[Path], views: int) -> np.ndarray:
    """(runs, images): 1 where a run's first guess is wrong; UserError where they did not see the same images."""
    if not runs:
        return np.empty((0, 0))
    ranks = [ranks_of(run, views) for run in runs]
    for run, each in zip(runs, ranks):
        if each.keys() != ranks[0].keys():
            raise UserError(f"{run}: was not measured on the images of {runs[0]}; they do not compare")
    return np.array([[each[name] != 1 for name in ranks[0]] for each in ranks], dtype=float)
