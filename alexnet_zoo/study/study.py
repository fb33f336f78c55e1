"""Plans: one TOML file for each study (folder reproduce/studies/), read and validated here."""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from alexnet_zoo.declared import Strict, declared, read_declared, validated
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.recipe import Recipe, load_recipe

FOLDER = "reproduce/studies"
OWN = ("name", "arms", "compare", "rule")  # what a plan does not take from its base
KINDS = {  # the kind of a claim in paper.toml, for each measure; the rest measure what the paper does not claim
    "test_error": "error",
    "train_error": "train_error",
    "overfitting": "overfitting",
    "epochs_to_25": "epochs_to_25",
    "epochs_to_best": "epochs_to_best",
    "epochs_to_error": "epochs_to_best",
    "time": "time",
    "colour_apart": "colour",
}
ON_TRAIN = ("train_error", "overfitting")  # which a trained network is measured on its training images for
RATIOS = ("epochs_to_25", "epochs_to_best", "epochs_to_error", "time")  # first / second; the others first - second
Measure = Literal[
    "test_error",
    "train_error",
    "overfitting",
    "epochs_to_25",
    "epochs_to_best",
    "epochs_to_error",
    "time",
    "colour_apart",
    "left_guessing",
]


class Arm(Strict):
    """What is trained: the study's recipe and settings, and what this arm changes."""

    recipe: str | None = None  # in place of the study's
    set: dict[str, Any] = {}  # fields of the recipe
    seeds: int | None = Field(None, gt=0)  # 0 to seeds - 1, in place of the study's


class Comparison(Strict):
    """A question: first arm less second, or for ratios first / second, in the order of the claim in paper.toml."""

    arms: tuple[str, str]
    claim: str = ""  # the id in reports/paper.toml; none: beyond the paper
    says: str = ""  # the question in words, where there is no claim or several comparisons speak to it
    measure: Measure = "test_error"
    error: float | None = Field(None, gt=0, lt=100)  # epochs_to_error: percent on the validation images
    views: tuple[Literal[1, 10], Literal[1, 10]] = (10, 10)  # test_error: crops of a test image, for each arm
    average: tuple[int, int] = (1, 1)  # test_error: networks whose softmax outputs are averaged, for each arm
    smallest: float = Field(gt=0)  # effect of interest: points, parts of 1 for colour, or for ratios over 1

    @property
    def same_networks(self) -> bool:
        return self.arms[0] == self.arms[1]

    @property
    def name(self) -> str:
        return self.says or self.claim

    @model_validator(mode="after")
    def asks_something(self) -> "Comparison":
        if not self.name:
            raise ValueError("needs claim, or says where the paper claims nothing")
        if self.same_networks and self.views[0] == self.views[1] and self.average == (1, 1):
            if self.measure != "colour_apart":
                raise ValueError("compares an arm with itself: needs two arms, views or averages")
        elif self.measure == "colour_apart":
            raise ValueError("colour_apart compares the columns of each network: needs one arm twice")
        if self.average != (1, 1) and not (self.same_networks and self.average[0] > self.average[1] == 1):
            raise ValueError("average compares several networks with each of them: one arm twice, average [N, 1]")
        if (self.error is None) != (self.measure != "epochs_to_error"):
            raise ValueError("error is the level of epochs_to_error, which needs one")
        if self.measure in RATIOS and self.smallest <= 1:
            raise ValueError("smallest is a ratio here: over 1")
        return self


class Pilot(Strict):
    """What is known before the first run, for the power that --dry-run prints."""

    source: str
    images: int = Field(gt=1)
    sd: float = Field(gt=0)  # points, between seeds on the same images
    apart: float = Field(0.0, ge=0)  # percent of the images on which arms disagree beyond what two seeds do
    minutes: float = Field(gt=0)  # a run, on the one core or device that it gets


class Study(Strict):
    """A study, as it is planned."""

    name: str
    recipe: str
    data: str  # in words: what --data must hold
    seeds: int = Field(6, gt=1)  # of each arm
    rule: str = ""  # what is decided by what, where that is no verdict; --dry-run and --report print it
    level: float = Field(0.05, gt=0, lt=0.5)  # to find, over all comparisons (Holm); likewise to exclude
    uses: list[str] = []  # studies beside this one, whose runs are taken where their recipes are the same
    set: dict[str, Any] = {}
    arms: dict[str, Arm]
    compare: list[Comparison]
    pilot: Pilot | None = None

    @model_validator(mode="after")
    def names_agree(self) -> "Study":
        for comparison in self.compare:
            for arm in comparison.arms:
                if arm not in self.arms:
                    raise ValueError(f"{comparison.name}: no arm {arm}; there are {', '.join(self.arms)}")
            if comparison.average[0] >= self.seeds_of(comparison.arms[0]) > 1:
                raise ValueError(f"{comparison.name}: needs more seeds of {comparison.arms[0]} than it averages")
            if comparison.claim:
                kind = find_claim(comparison.claim)["kind"]
                if kind != KINDS.get(comparison.measure):
                    raise ValueError(f"{comparison.name}: its measure is {kind}, not {comparison.measure}")
        return self

    @property
    def asks_training_error(self) -> bool:
        return any(comparison.measure in ON_TRAIN for comparison in self.compare)

    @property
    def scale(self) -> str:
        """What all arms share, as --set has it."""
        return ", ".join([self.recipe, *self.set_lines(self.set)])

    def seeds_of(self, arm: str) -> int:
        return self.arms[arm].seeds or self.seeds

    def recipe_of(self, arm: str) -> str:
        return self.arms[arm].recipe or self.recipe

    def changes(self, arm: str, seed: int) -> list[str]:
        """What --set gets for a run: FIELD=VALUE."""
        return self.set_lines(self.set) + self.set_lines(self.arms[arm].set) + [f"seed={seed}"]

    @staticmethod
    def set_lines(fields: dict[str, Any]) -> list[str]:
        lines = []
        for field, value in fields.items():
            table = value.items() if isinstance(value, dict) else [("", value)]
            lines += [f"{field}{'.' * bool(key)}{key}={toml(inner)}" for key, inner in table]
        return lines

    def resolved(self, arm: str, seed: int) -> Recipe:
        return load_recipe(self.recipe_of(arm), self.changes(arm, seed))


def load_study(name: str | Path) -> Study:
    """The plan NAME of reproduce/studies, or in the file at a path; every arm's recipe is resolved once.

    Raises UserError (exit code 2) with the file, the field and what is allowed.
    """
    path = declared(FOLDER, name)
    plan = validated(Study, path, {"name": path.stem, **read_declared(FOLDER, path, OWN)})
    for arm in plan.arms:
        try:
            if plan.resolved(arm, 0).members:
                raise UserError("an ensemble; make its network the arm, and compare with average = [N, 1]")
        except UserError as error:
            raise UserError(f"{path}: arm {arm}: {error}", exit_code=2) from error
    return plan


def toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)  # strings, numbers and booleans are the same in both


def find_claim(claim: str) -> dict:
    """A claim of reports/paper.toml, with `effect`: its published top-1 difference or ratio, None where in words."""
    paper = tomllib.loads(declared("reports", "paper").read_text(encoding="utf-8"))
    found = next((each for each in paper["claim"] if each["id"] == claim), None)
    if found is None:
        ids = ", ".join(each["id"] for each in paper["claim"])
        raise ValueError(f"{claim}: no such claim in paper.toml, which has {ids}")
    if "rows" in found:
        rows = {row["id"]: row["published"]["top1"] for row in paper["row"] if "top1" in row["published"]}
        first, second = (rows[row] for row in found["rows"])
        return found | {"effect": round(first - second, 2)}
    published = found["published"]
    return found | {"effect": published.get("top1", published.get("ratio"))}
