"""A run is a folder: what was asked, where it ran, what was measured."""

import csv
import json
import platform
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from filelock import FileLock, Timeout
from torch import nn

import alexnet_zoo
from alexnet_zoo.cores import cores, cpu_name
from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.devices import tf32
from alexnet_zoo.errors import UserError
from alexnet_zoo.pedigree import ImageSet, record_start
from alexnet_zoo.train.checkpoint import list_checkpoints, load_tensors
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.network import create_model
from alexnet_zoo.train.optim import make_optimizer
from alexnet_zoo.train.recipe import Recipe, load_recipe, save_recipe

RUNS = Path("runs")  # where runs go unless told otherwise


@dataclass(frozen=True)
class Run:
    """A run, opened in this process: its folder, its recipe, the prepared images, this process's place among others."""

    folder: Path
    recipe: Recipe
    prepared: Prepared
    layout: Layout = field(default_factory=Layout)


def new_run_folder(parent: Path, name: str) -> Path:
    """parent/name, or name-2, name-3, ... where that exists."""
    number, folder = 1, parent / name
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def newest_run_folder(parent: Path, name: str, seed: int | None = None) -> Path:
    """The run of that recipe (and seed) that was written to last; UserError where there is none."""
    runs = [path.parent for path in parent.glob(f"{name}*/recipe.toml")]
    runs = [run for run in runs if run.name == name or run.name.removeprefix(f"{name}-").isdigit()]
    recipes = {run: load_recipe(run / "recipe.toml") for run in runs}  # as-run-145-2010 is another recipe's
    runs = [run for run in runs if recipes[run].name == name and seed in (None, recipes[run].seed)]
    if not runs:
        raise UserError(
            f"--resume: no run of {name} in {parent}; name its folder with --out, or start without --resume"
        )
    return max(runs, key=lambda run: run.stat().st_mtime)


def start_run(run: Run, recipe: Recipe, columns: int | None) -> None:
    """Writes what is known before the first step: recipe, environment, pedigree, and of the data what export needs.

    Args: recipe, as it was declared, with names where `run.recipe` has files; columns, as the command asked for them.
    """
    folder, prepared = run.folder, run.prepared
    if not recipe.members:
        check_layers(run.recipe, len(prepared.classes))
    folder.mkdir(parents=True, exist_ok=True)
    if not recipe.members:  # an ensemble's members have a pedigree each
        start = Path(run.recipe.start_from) if recipe.start_from else None
        trained_on, steered_by = (images_of(prepared, split) for split in (recipe.train_split, recipe.eval_split))
        facts = recipe.model_dump(mode="json", exclude_none=True)
        record_start(folder, facts, trained_on, steered_by, start, step_of(folder))
    save_recipe(recipe, folder / "recipe.toml")
    now = environment(recipe.seed, prepared.sha256, run.layout, columns)
    stretches = [*environment_of(folder).get("stretches", []), now]
    (folder / "environment.json").write_text(json.dumps({**now, "stretches": stretches}, indent=1))
    data = {"name": prepared.name, "folder": str(prepared.folder.resolve()), "sha256": prepared.sha256}
    (folder / "data.json").write_text(json.dumps({**data, "classes": prepared.classes}, indent=1))
    np.save(folder / "mean.npy", prepared.mean)


def check_layers(recipe: Recipe, num_classes: int) -> None:
    """Raises UserError where a recipe names layers that its network lacks; builds the network without memory for it."""
    with torch.device("meta"):
        make_optimizer(create_model(recipe, num_classes=num_classes), recipe)


def images_of(prepared: Prepared, split: str) -> ImageSet:
    """What a pedigree says of a split."""
    dataset = prepared.split(split)
    return ImageSet(identity=dataset.identity, split=split, images=len(dataset), data_sha256=prepared.sha256)


def step_of(folder: Path) -> int:
    """The step of a run's newest checkpoint; 0 where it has none."""
    checkpoints = list_checkpoints(folder / "checkpoints")
    return int(checkpoints[-1].name.removeprefix("step-")) if checkpoints else 0


def environment_of(folder: Path) -> dict:
    """A run's environment.json: where it was trained last, and under "stretches" everywhere; {} where there is none."""
    file = folder / "environment.json"
    return json.loads(file.read_text()) if file.exists() else {}


def open_run(run: Path, weights: Path | None = None) -> tuple[Recipe, nn.Module, list[str], np.ndarray]:
    """A finished run: its recipe, the trained network in one process, the classes, the mean image.

    With weights, one of its checkpoints; the run need not have ended then.

    Raises UserError where the folder is no run, or its training has not ended.
    """
    recipe = load_recipe(run / "recipe.toml")
    weights = weights or run / "model.safetensors"
    if not weights.exists():
        raise UserError(f"{run}: its training has not ended; continue it with: alexzoo reproduce --resume --out {run}")
    classes = json.loads((run / "data.json").read_text())["classes"]
    model = load_network(recipe, len(classes), weights)
    return recipe, model, classes, np.load(run / "mean.npy", allow_pickle=False)


def load_network(recipe: Recipe, num_classes: int, weights: Path) -> nn.Module:
    """A recipe's network in one process, with the weights of a file."""
    model = create_model(recipe, num_classes=num_classes)
    load_weights(model, weights)
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Canonical weights from a .safetensors file into a network; UserError where they are damaged or do not fit."""
    weights = load_tensors(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"{path}: its weights do not fit this network: {error}; name the model that wrote them"
        ) from error


def environment(seed: int, data_sha256: str, layout: Layout, columns: int | None) -> dict:
    """Versions, device, seed and data checksum: what one needs to know to run it again."""
    cuda = layout.device.type == "cuda"
    return {
        "command": " ".join(["alexzoo", *sys.argv[1:]]),
        "versions": {
            "alexnet_zoo": alexnet_zoo.__version__,
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,  # of either package that holds it
            **{name: version(name) for name in ("torch", "timm", "onnx", "numpy")},
        },
        "device": torch.cuda.get_device_name(layout.device) if cuda else cpu_name(),
        **({"tf32": ", ".join(tf32())} if cuda else {}),
        "processes": layout.processes,
        "columns": columns,
        "cores": cores(),
        "seed": seed,
        "data_sha256": data_sha256,
    }


@contextmanager
def only_one(run: Path):
    """Holds the run folder for this process; UserError where another one has it.

    A folder that is made for it goes again where nothing was written into it.
    """
    made = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    lock = run / ".lock"
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise UserError(f"{run}: another process is training here; wait for it, or name another --out") from error
    finally:
        if made and set(run.iterdir()) <= {lock}:
            lock.unlink(missing_ok=True)
            run.rmdir()


def append_metrics(run: Path, row: dict) -> None:
    """One line of metrics.jsonl."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def append_summary(run: Path, row: dict) -> None:
    """One epoch of summary.csv, which begins with timm's columns."""
    path = run / "summary.csv"
    header = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if header:
            writer.writeheader()
        writer.writerow(row)


def forget_after(run: Path, epoch: int, step: int) -> None:
    """Drops what was recorded after a checkpoint (epochs done, steps done in all): resumed work records it again."""
    summary = run / "summary.csv"
    (run / "diverged.json").unlink(missing_ok=True)
    for record in (run / "metrics.jsonl", run / "layers.jsonl"):
        if record.exists():
            lines = [line for line in record.read_text().splitlines() if line.endswith("}")]
            record.write_text("".join(line + "\n" for line in lines if json.loads(line)["step"] <= step))
    if summary.exists():
        header, *rows = summary.read_text().splitlines(keepends=True) or [""]
        summary.write_text(header + "".join(row for row in rows if int(row.partition(",")[0]) <= epoch))
