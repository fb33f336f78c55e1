"""Where a trained network comes from: recipe, images, every change on the way, its start.

A run's folder holds it as pedigree.json, its ONNX file and the lines of results.csv carry it on, and the report judges
by it which figure may stand in a row of the paper (report/admission.py).
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alexnet_zoo.declared import Strict
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of, written_whole

FILE = "pedigree.json"


class ImageSet(Strict):
    """The images of one split, as they were prepared."""

    identity: str  # as verified: "ILSVRC-2012 train, 1,281,167 images, complete"; "" for anything else
    split: str
    images: int
    data_sha256: str


class Alteration(Strict):
    """What a run went on with in place of what it had, from a step on; None stands for a field that is not set."""

    step: int
    field: str
    before: Any = None
    after: Any = None


class Pedigree(Strict):
    """What is known of a run's weights."""

    recipe: dict[str, Any]  # resolved, as the run began
    trained_on: ImageSet
    steered_by: ImageSet  # the split whose errors the rate follows
    alterations: list[Alteration] = []  # in their order; none is ever taken back
    start_sha256: str = ""  # of the file of weights that training started from
    start: "Pedigree | None" = None  # and where those came from, if a run wrote them
    steps: int = 0  # done, when training ended
    planned: int = 0
    stopped_early: bool = False  # the training error was as low as the recipe asks for
    weights_sha256: str = ""  # of what training ended with; "" until it has

    @property
    def facts(self) -> dict[str, Any]:
        """The recipe and the images, as they stand after all alterations."""
        images = {"trained_on": self.trained_on.model_dump(), "steered_by": self.steered_by.model_dump()}
        return {**self.recipe, **images, **{altered.field: altered.after for altered in self.alterations}}

    @property
    def all_trained_on(self) -> list[ImageSet]:
        """What the run was trained on, and what its start was."""
        return [self.trained_on, *(self.start.all_trained_on if self.start else [])]

    def continued(self, step: int, recipe: dict[str, Any], trained_on: ImageSet, steered_by: ImageSet) -> "Pedigree":
        """Appends what differs in the recipe and the images with which the run goes on from a step."""
        before = self.facts
        now = Pedigree(recipe=recipe, trained_on=trained_on, steered_by=steered_by).facts
        found = [
            Alteration(step=step, field=field, before=before.get(field), after=now.get(field))
            for field in {**before, **now}
            if before.get(field) != now.get(field)
        ]
        return self.model_copy(update={"alterations": [*self.alterations, *found], "weights_sha256": ""})


def record_start(
    folder: Path, recipe: dict[str, Any], trained_on: ImageSet, steered_by: ImageSet, start: Path | None, step: int
) -> None:
    """Writes a run's pedigree.json; of one that goes on from the checkpoint of a step, appends what was changed.

    A run that kept none when it began gets none: what happened before is not known.
    """
    file = folder / FILE
    if step and file.exists():
        _write(file, _read(file).continued(step, recipe, trained_on, steered_by))
    elif not step:
        known = start is not None and start.is_file()  # where it is not, training says so
        begun = Pedigree(recipe=recipe, trained_on=trained_on, steered_by=steered_by)
        of_start = {"start_sha256": sha256_of(start), "start": pedigree_of(start)} if known else {}
        _write(file, begun.model_copy(update=of_start))


def record_end(folder: Path, steps: int, planned: int, stopped_early: bool) -> None:
    """Completes the pedigree of a run whose model.safetensors was just written."""
    if (folder / FILE).exists():
        ended: dict[str, Any] = {"steps": steps, "planned": planned, "stopped_early": stopped_early}
        ended["weights_sha256"] = sha256_of(folder / "model.safetensors")
        _write(folder / FILE, _read(folder / FILE).model_copy(update=ended))


def pedigree_of(weights: Path) -> Pedigree | None:
    """Reads the pedigree of a file of weights from the run that it lies in; None where it lies in none.

    It has no end where the run ended with other weights, or has not ended.
    """
    folder = next((folder for folder in weights.resolve().parents if (folder / FILE).exists()), None)
    if folder is None:
        return None
    found = _read(folder / FILE)
    return found if found.weights_sha256 == sha256_of(weights) else found.model_copy(update={"weights_sha256": ""})


def ended_with(folder: Path) -> str:
    """Tells the checksum of the weights that a run ended with; "" where it is not known, or others lie there."""
    if not (folder / FILE).exists():
        return ""
    weights = folder / "model.safetensors"
    ended = _read(folder / FILE).weights_sha256
    return ended if not weights.exists() or sha256_of(weights) == ended else ""


def to_text(pedigrees: list[Pedigree | None]) -> str:
    """Writes the pedigrees of a line's networks as its column of results.csv holds them; "" where none has one."""
    if not any(pedigrees):
        return ""
    return json.dumps([pedigree and pedigree.model_dump(mode="json") for pedigree in pedigrees])


def from_text(text: str) -> list[Pedigree | None]:
    """Reads what `to_text` wrote. Raises ValueError where it is damaged."""
    try:
        return [None if one is None else Pedigree.model_validate(one) for one in json.loads(text or "[]")]
    except (ValueError, TypeError) as error:  # json's and pydantic's errors are ValueErrors
        raise ValueError("its pedigree is damaged") from error


def _read(file: Path) -> Pedigree:
    try:
        return Pedigree.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise UserError(f"{file}: is damaged ({error}); without it the run fills no row of the paper") from error


def _write(file: Path, pedigree: Pedigree) -> None:
    with written_whole(file) as partial:
        partial.write_text(pedigree.model_dump_json(indent=1) + "\n")
