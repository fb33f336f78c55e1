"""What `alexzoo reproduce` is asked to do, every name of the command resolved, before any image or process is there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_zoo.errors import UserError
from alexnet_zoo.start import start_of, with_network_of_start
from alexnet_zoo.train.columns import divide
from alexnet_zoo.train.launch import columns_of, under_torchrun
from alexnet_zoo.train.recipe import Recipe, load_recipe
from alexnet_zoo.train.run import RUNS, environment_of, new_run_folder, newest_run_folder


@dataclass(frozen=True)
class Plan:
    """A run to be made, or to be continued."""

    recipe: Recipe
    folder: Path  # the run's
    data: Path | None  # photographs or a prepared folder; None: what the run or the recipe knows
    gpus: int  # processes
    columns: int | None = None  # 1: each process holds the whole network
    resume: bool = False
    profile: bool = False
    device: str = "auto"  # or "cpu", "cuda": what training and evaluation run on
    start: Path | None = None  # the weights that training starts from
    members: tuple["Plan", ...] = ()  # of an ensemble, each a run of its own in the folder member-N
    finished: bool = False

    @property
    def trained(self) -> Recipe:
        """The recipe, with the file of the weights that it starts from in place of a run's or a recipe's name."""
        return self.recipe.model_copy(update={"start_from": str(self.start)}) if self.start else self.recipe


def make_plan(
    name: str | None,
    data: Path | None,
    gpus: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    overrides: Sequence[str] = (),
    columns: int | None = None,
) -> Plan:
    """Makes the plan of a command's arguments. Without gpus a run goes on as before, or begins in one process."""
    if under_torchrun():
        gpus = int(os.environ["WORLD_SIZE"])
        if out is None:
            raise UserError("under torchrun all processes need the same folder: name it with --out", exit_code=2)
    recipe, folder = choose_run(name, out, resume, overrides)
    before = environment_of(folder) if gpus is None else {}
    gpus, columns = gpus or before.get("processes", 1), columns or before.get("columns")
    divide(gpus, columns_of(recipe), columns)
    members = []
    for number, member in enumerate(recipe.members, start=1):
        own = folder / f"member-{number}"
        begun = (own / "recipe.toml").exists()
        changes = [] if begun else [*overrides, *member.overrides]
        members.append(make_plan(member.recipe, None, gpus, own, begun, changes, columns))
    finished = (folder / "results.csv").exists()
    return Plan(recipe, folder, data, gpus, columns, resume, members=tuple(members), finished=finished)


def choose_run(name: str | None, out: Path | None, resume: bool, overrides: Sequence[str]) -> tuple[Recipe, Path]:
    """Chooses the recipe and the run's folder: a new one, or with resume the one to continue, by its own recipe."""
    if not resume:
        recipe = with_network_of_start(load_recipe(name or "digits", overrides))
        run = out or new_run_folder(RUNS, recipe.name)
        if (run / "recipe.toml").exists():
            raise UserError(f"{run}: holds a run already; continue it with --resume, or name another --out")
        return recipe, run
    run = out or newest_run_folder(RUNS, load_recipe(name or "digits").name)
    if not (run / "recipe.toml").exists():
        raise UserError(f"{run}: no run to resume here; start one without --resume")
    return load_recipe(run / "recipe.toml", overrides), run


def with_options(plan: Plan, **fields) -> Plan:
    """Changes fields of the plan and of its members' plans."""
    return replace(plan, **fields, members=tuple(with_options(member, **fields) for member in plan.members))


def with_starts(plan: Plan) -> Plan:
    """Finds the weights that the plan's networks start from."""
    return replace(plan, start=start_of(plan.recipe), members=tuple(map(with_starts, plan.members)))
