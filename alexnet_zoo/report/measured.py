"""Reads what runs left behind: results.csv (errors), summary.csv (curves), recipe.toml and environment.json.

Nothing here is averaged or repaired. A line that cannot be right is left out and named in `Results.problems`.
"""

import csv
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from alexnet_zoo.errors import UserError
from alexnet_zoo.intervals import wilson
from alexnet_zoo.pedigree import Pedigree, from_text
from alexnet_zoo.report.recipes import changed as recipe_changes
from alexnet_zoo.results import DEFAULTS, Row, missing_columns

# "ILSVRC-2012 val, 50,000 images, complete": what `alexzoo prepare` writes once it has verified a split.
IDENTITY = re.compile(r"(?P<what>.+?), (?P<images>[\d,]+) images, complete(?P<lacking> but for [\d,]+ unreadable)?")


def identified(identity: str, images: int) -> str:
    """The split of a published set that so many images are, all of it, e.g. "ILSVRC-2012 val"; "" for anything else."""
    match = IDENTITY.fullmatch(identity)
    return match["what"] if match and int(match["images"].replace(",", "")) == images else ""


@dataclass(frozen=True, kw_only=True)
class Result(Row):
    """One line of a results.csv, and where it was found."""

    source: Path = field(default=Path(), compare=False)
    changed: str = ""  # what the run overrode in the recipe of that name, as far as a recipe.toml lies beside the file
    pedigrees: list[Pedigree | None] = field(default_factory=list, compare=False)  # of its networks

    @property
    def key(self) -> tuple:
        """What was measured. Two lines with one key say two things of one measurement."""
        network = (self.recipe, self.model, self.precision, self.onnx_sha256)
        return (*network, self.dataset, self.split, self.data_sha256, self.views, self.provider)

    @property
    def verified(self) -> str:
        """The split of the paper's data that this is, all of it, e.g. "ILSVRC-2012 val"; "" for anything else."""
        return identified(self.identity, self.images)

    @property
    def how(self) -> str:
        """How it was measured, in one line, for the cell beside the figure."""
        views = "1 view" if self.views == 1 else f"{self.views} views"
        data = self.verified or f"{self.dataset} {self.split}"
        device = f"{self.provider}, {self.precision}"
        changed = f" with {self.changed}" if self.changed else ""
        lacking = (IDENTITY.fullmatch(self.identity) or {"lacking": ""})["lacking"] or ""
        test = f"; test error from {self.top5_test_source}" if self.top5_test_source else ""
        sets = [images.identity for one in self.pedigrees if one for images in one.all_trained_on]
        trained = "".join(f"; trained on {identity}" for identity in dict.fromkeys(sets) if " but for " in identity)
        by = f"recipe {self.recipe or '-'}{changed}"
        return f"{data}, {self.images:,} images{lacking}, {views}, {device}, {by}{trained}{test}"


@dataclass(frozen=True)
class RunRecord:
    """One run folder, as far as it got."""

    folder: Path
    name: str  # the folder's; with a number where two folders in one report have the same
    recipe: dict  # resolved, as recipe.toml holds it
    environment: dict  # environment.json
    data: dict  # data.json: name, folder, classes
    processes: list[dict]  # devices.json: a process each
    curve: list[dict[str, float]]  # one entry an epoch: the columns of summary.csv; nan where empty
    results: list[Result]

    @property
    def recipe_name(self) -> str:
        return self.recipe.get("name") or next((result.recipe for result in self.results), "")

    @property
    def dataset(self) -> str:
        """The name of its images; "" where it is not recorded."""
        return self.data.get("name") or next((result.dataset for result in self.results), "")

    @property
    def verified(self) -> set[str]:
        return {result.verified for result in self.results} - {""}

    @property
    def data_name(self) -> str:
        """What the network was measured on, as far as that is verified: "CIFAR-10 test"."""
        named = (result.verified or f"{result.dataset} {result.split}" for result in self.results)
        return next(named, self.recipe.get("data", "data not recorded"))

    @property
    def classes(self) -> int | None:
        """How many classes the network tells apart; None where the run does not say."""
        return len(self.data.get("classes", [])) or None

    @property
    def held_out(self) -> str:
        """The split of the curve's "eval" errors, in words."""
        split = self.recipe.get("eval_split", "val")
        return "validation" if split == "val" else split

    @property
    def devices(self) -> int:
        """On how many devices it was trained; two processes on one CPU are on one."""
        return len({process["device"] for process in self.processes})

    @property
    def weights(self) -> Path | None:
        path = self.folder / "model.safetensors"
        return path if path.is_file() else None

    def lines(self, name: str) -> list[dict]:
        """The lines of NAME.jsonl, a step each: "metrics", or "layers" of a run that was watched; or none."""
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]

    def column(self, name: str) -> list[float]:
        """One column of the curve, an entry an epoch; empty where summary.csv has no such column."""
        values = [epoch.get(name, math.nan) for epoch in self.curve]
        return [] if all(math.isnan(value) for value in values) else values

    def errors(self, split: str, metric: str = "top1") -> list[float]:
        """The curve of "train" or "eval" errors in percent; empty where summary.csv has none."""
        return [100 - correct for correct in self.column(f"{split}_{metric}")]

    def seconds_per_image(self) -> float | None:
        return mean_known([1 / speed for speed in self.column("images_per_s")])  # the mean of epochs

    def minutes(self) -> float | None:
        """How long its steps took, without evaluations and pauses."""
        steps = [row["step"] for row in self.lines("metrics")]
        an_image = self.seconds_per_image()
        return steps[-1] * self.recipe.get("batch_size", 128) * an_image / 60 if steps and an_image else None

    def epochs_to_train_error(self, error: float) -> int | None:
        """Epochs until the training error (percent, over an epoch) is at or under `error`; None if it never is."""
        return next((n for n, found in enumerate(self.errors("train"), start=1) if found <= error), None)

    def epochs_to_best(self) -> int | None:
        """Epochs until the best top-1 validation error."""
        known = [math.inf if math.isnan(error) else error for error in self.errors("eval")]
        return known.index(min(known)) + 1 if known else None


def mean_known(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def last_known(values: list[float]) -> float | None:
    return next((value for value in reversed(values) if not math.isnan(value)), None)


@dataclass(frozen=True)
class Results:
    """Everything measured that a report is made from."""

    results: list[Result]
    runs: list[RunRecord]
    problems: list[str]  # what was left out, and why; one line each


def read_sources(sources: Sequence[Path]) -> Results:
    """Reads run folders, folders of run folders, and results.csv files.

    Raises: UserError where a source is missing, is neither, or where none of them holds anything that can be used.
    """
    problems: list[str] = []
    results: list[Result] = []
    runs: list[RunRecord] = []
    for source in _expand(sources):
        if source.is_dir():
            runs.append(_read_run(source, [run.name for run in runs], problems))
            results += runs[-1].results
        else:
            results += read_results(source, problems)
    kept = _one_for_each_key(results, problems)
    usable = {result.key for result in kept}
    runs = [replace(run, results=[result for result in run.results if result.key in usable]) for run in runs]
    if problems and not kept and not any(run.curve for run in runs):
        raise UserError(f"nothing to report: {'; '.join(problems)}")
    return Results(kept, runs, problems)


def _expand(sources: Iterable[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for source in map(Path, sources):
        inside = [source]
        if not source.exists():
            raise UserError(f"{source}: no such run folder or results.csv")
        if source.is_dir() and not _is_run(source):
            inside = [folder for folder in sorted(source.iterdir()) if folder.is_dir() and _is_run(folder)]
            if not inside:
                needed = "results.csv, summary.csv or recipe.toml"
                raise UserError(f"{source}: not a run folder, and holds none (no {needed})")
        found.update((path.resolve(), path) for path in inside)  # a run named twice is read once
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("results.csv", "summary.csv", "recipe.toml"))


def read_results(path: Path, problems: list[str]) -> list[Result]:
    """The lines of a results.csv that can be right; what is wrong with the others goes to `problems`."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := missing_columns(reader.fieldnames or []):
                problems.append(f"{path}: left out, columns missing: {', '.join(missing)}")
                return []
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: left out, not readable as CSV ({error})")
        return []
    recipe = _read(path.with_name("recipe.toml"), tomllib.loads, problems)
    overridden = recipe_changes(recipe) if recipe else ""
    results = []
    for number, line in lines:
        try:
            own = recipe.get("name") == line["recipe"]
            results.append(_result(line, path, overridden if own else ""))
        except ValueError as error:
            problems.append(f"{path}, line {number}: left out, {error}")
    return results


def _result(line: dict, path: Path, changed: str) -> Result:
    if None in line or None in line.values():  # csv's marks for a line longer or shorter than the header
        raise ValueError("not as many fields as the header has")
    values: dict = {"source": path, "changed": changed}
    for column in fields(Row):
        text = line.get(column.name, "")
        if not text and column.name in DEFAULTS:
            continue
        kind: Any = next(iter(get_args(column.type)), column.type)  # float of "float | None"
        try:
            values[column.name] = kind(text)
        except ValueError:
            wanted = "whole number" if kind is int else "number"
            raise ValueError(f"{column.name} is {text!r}, not a {wanted}") from None
    pedigrees = from_text(values.get("pedigree", ""))
    if len(pedigrees) == 1 and pedigrees[0]:
        values["changed"] = recipe_changes(pedigrees[0].recipe)
    result = Result(**values, pedigrees=pedigrees)
    _check(result)
    return result


def _check(result: Result) -> None:
    for name in ("top1", "top1_err", "top5", "top5_err"):
        if not 0 <= getattr(result, name) <= 100:  # also refuses nan
            raise ValueError(f"{name} is {getattr(result, name)}, not between 0 and 100%")
    for name in ("top1", "top5"):
        if abs(getattr(result, name) + getattr(result, f"{name}_err") - 100) > 0.01:
            raise ValueError(f"{name} and {name}_err do not add up to 100%")
    if result.top5_err > result.top1_err + 1e-9:
        raise ValueError(f"top5_err {result.top5_err} is over top1_err {result.top1_err}")
    if result.top5_test_err is not None and not (0 <= result.top5_test_err <= 100 and result.top5_test_source):
        raise ValueError("top5_test_err needs 0 to 100%, and top5_test_source: who says so")
    for name in ("images", "views", "img_size"):
        if getattr(result, name) < 1:
            raise ValueError(f"{name} is {getattr(result, name)}, not a positive number")


def _one_for_each_key(results: list[Result], problems: list[str]) -> list[Result]:
    """Keeps the fullest of the lines with one key and the same figures; none where figures differ: which is right?"""
    lines: dict[tuple, list[Result]] = {}
    for result in results:
        lines.setdefault(result.key, []).append(result)
    kept = []
    for same in lines.values():
        tests = {result.top5_test_err for result in same} - {None}
        if len({(result.top1_err, result.top5_err) for result in same}) == 1 and len(tests) <= 1:
            kept.append(max(same, key=lambda result: (bool(result.top5_test_source), bool(result.pedigree))))
            continue
        errors = ", ".join(f"{result.top1_err} in {result.source}" for result in dict.fromkeys(same))
        problems.append(f"{same[0].how}: left out, {len(same)} lines with one key and different figures ({errors})")
    return kept


def _read_run(folder: Path, taken: list[str], problems: list[str]) -> RunRecord:
    name = folder.resolve().name
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    environment = _read(folder / "environment.json", json.loads, problems)
    results = []
    if (folder / "results.csv").is_file():
        results = read_results(folder / "results.csv", problems)
    else:
        problems.append(f"{folder}: a run cut short, without results.csv; only its curves are shown")
    return RunRecord(
        folder=folder,
        name=name if name not in taken else next(other for other in numbered if other not in taken),
        recipe=_read(folder / "recipe.toml", tomllib.loads, [] if results else problems),
        environment={name: fact for name, fact in environment.items() if name != "stretches"},  # the last is whole
        data=_read(folder / "data.json", json.loads, problems),
        processes=_read(folder / "devices.json", lambda text: {"all": json.loads(text)}, problems).get("all", []),
        curve=_read_curve(folder / "summary.csv", problems),
        results=results,
    )


def _read(path: Path, parse, problems: list[str]) -> dict:
    if not path.is_file():
        return {}
    try:
        return dict(parse(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:  # also tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError
        problems.append(f"{path}: left out, {error}")
        return {}


def _read_curve(path: Path, problems: list[str]) -> list[dict[str, float]]:
    """The epochs of a summary.csv, by number; an epoch that a resumed run wrote again counts as written last."""
    if not path.is_file():
        return []
    epochs: dict[float, dict[str, float]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                if None in line or None in line.values():
                    problems.append(f"{path}: its last line is cut short and left out")
                    continue
                epoch = {name: float(text) if text else math.nan for name, text in line.items()}
                epochs[epoch["epoch"]] = epoch
    except (KeyError, ValueError, OSError, csv.Error) as error:
        problems.append(f"{path}: left out, {error!r}")
        return []
    return [epochs[number] for number in sorted(epochs)]


def in_words(row: dict) -> str:
    """A row of results.csv, as it is evaluated, in a line."""

    def with_interval(err: str) -> str:
        low, high = wilson(float(err), int(row["images"]))
        return f"{float(err):.2f}% ({low:.2f} to {high:.2f})"

    views = "ten crops" if row["views"] == 10 else "centre crop"
    return (
        f"{row['model']}, {row['dataset']} {row['split']}, {row['images']} images, {views}: "
        f"top-1 error {with_interval(row['top1_err'])}, top-5 error {with_interval(row['top5_err'])}, {row['provider']}"
    )
