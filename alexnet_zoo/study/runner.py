"""Trains what a plan says: each run an ordinary command with a folder of its own, several at a time."""

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import Progress, say
from alexnet_zoo.study.study import Study
from alexnet_zoo.train.recipe import Recipe, load_recipe

STUDIES = Path("runs") / "studies"


@dataclass
class Job:
    """One command of a study, and the folder that it fills."""

    folder: Path
    recipe: Recipe
    begin: list[str]  # arguments of alexzoo
    again: list[str]  # likewise, that continue it
    then: list[str] = field(default_factory=list)  # likewise, once it is trained: measures it on its training images

    @property
    def trained(self) -> bool:
        return (self.folder / "results.csv").exists()  # what a run writes last

    @property
    def finished(self) -> bool:
        return self.trained and (not self.then or (self.folder / "train.csv").exists())

    @property
    def diverged(self) -> bool:
        return (self.folder / "diverged.json").exists() and not self.trained  # what the loop writes as it gives up

    @property
    def ended(self) -> bool:
        return self.finished or self.diverged

    def epochs_done(self) -> float:
        """Whole epochs that summary.csv records."""
        if self.ended:
            return self.recipe.epochs
        summary = self.folder / "summary.csv"
        if not summary.exists():
            return 0.0
        with summary.open(newline="") as file:
            return min(float(sum(1 for _ in csv.DictReader(file))), self.recipe.epochs)

    def forget_checkpoints(self) -> None:
        """Of a trained network nobody continues from them, unless another process does just now."""
        from alexnet_zoo.train.run import only_one

        if self.trained and (self.folder / "checkpoints").exists():
            with suppress(UserError), only_one(self.folder):
                shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def commands(self) -> list[list[str]]:
        """What is left to do."""
        train = self.again if (self.folder / "recipe.toml").exists() else self.begin
        return [*([] if self.trained else [train]), *([self.then] if self.then else [])]


class Jobs:
    """All commands of a study in the folder `out`: one seed of every arm before the next."""

    def __init__(self, plan: Study, out: Path, data: Path | None = None):
        self.plan, self.out, self.data = plan, out, data
        self.others = [Path(os.path.normpath(out.parent / name)) for name in plan.uses]
        rounds = range(max(map(plan.seeds_of, plan.arms)))
        self.runs = {
            (arm, seed): self._run(arm, seed) for seed in rounds for arm in plan.arms if seed < plan.seeds_of(arm)
        }

    def _run(self, arm: str, seed: int) -> Job:
        recipe, folder = self.plan.resolved(arm, seed), self._find(arm, seed)
        data = ["--data", str(self.data)] if self.data else []
        begin = ["reproduce", self.plan.recipe_of(arm), *data, "--out", str(folder)]
        for change in self.plan.changes(arm, seed):
            begin += ["--set", change]
        again, then = ["reproduce", "--resume", *data, "--out", str(folder)], []
        if self.plan.asks_training_error:
            train = ["--split", recipe.train_split, "--views", "1", "--out", str(folder / "train.csv")]
            then = ["evaluate", str(folder), *data, *train]
        return Job(folder, recipe, begin, again, then)

    def _find(self, arm: str, seed: int) -> Path:
        """Finds the run's folder: its own, or another study's (uses) where the same recipe ended."""
        recipe = self.plan.resolved(arm, seed)
        own = self.out / f"{arm}-seed{seed}"
        if not own.exists():
            for other in self.others:
                for folder in sorted(other.glob(f"*-seed{seed}")):
                    if Job(folder, recipe, [], []).ended and load_recipe(folder / "recipe.toml") == recipe:
                        return folder
        elif (own / "recipe.toml").exists() and load_recipe(own / "recipe.toml") != recipe:
            raise UserError(f"{own}: its recipe is not what the plan says now; move it away, or name another --out")
        return own

    @property
    def all(self) -> list[Job]:
        return list(self.runs.values())

    def lines(self) -> list[str]:
        """The commands that are left to do, as one types them."""
        left = [job.commands() for job in self.all if not job.ended]
        return [" && ".join(shlex.join(["alexzoo", *command]) for command in commands) for commands in left]


def run(plan: Study, out: Path, data: Path | None = None, jobs: int = 1) -> None:
    """Trains and evaluates what has not ended, `jobs` runs at a time; a failed one stops no other.

    One whose loss is no number any more has ended: it would do so again, and a study may ask how many do.

    Raises: UserError that names each run that failed, with its last line; KeyboardInterrupt, once every run has
    written a checkpoint, after Ctrl-C or SIGTERM.
    """
    every = Jobs(plan, out, data).all
    out.mkdir(parents=True, exist_ok=True)
    for job in every:
        if job.folder.parent == out:  # not a run that the study only uses
            job.forget_checkpoints()  # a study that was killed may have left some
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    total, before = sum(job.recipe.epochs for job in every), sum(job.epochs_done() for job in every)
    try:
        with Progress(total, plan.name, "epochs", before) as progress:
            failed = Workers(out, jobs).run(every, progress)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if failed:
        again = "the same command tries them again"
        raise UserError(f"{plan.name}: {len(failed)} of {len(every)} failed, {again}: {'; '.join(failed)}")
    diverged = ", ".join(job.folder.name for job in every if job.diverged)
    say(f"{plan.name}: all {len(every)} ended in {out}{diverged and f'; diverged: {diverged}'}")


class Workers:
    """Runs commands, each on its slot's share of the cores or on its slot's GPU."""

    def __init__(self, out: Path, jobs: int):
        self.out, self.jobs = out, jobs
        self.slots: Queue[int] = Queue()
        for slot in range(jobs):
            self.slots.put(slot)
        self.running: set[subprocess.Popen] = set()
        self.stopping = threading.Event()

    def run(self, runs: list[Job], progress: Progress) -> list[str]:
        """Runs what has not ended, showing how far all runs are; returns a line for each that failed."""
        failed: list[str] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self.run_one, job) for job in runs if not job.ended}
            try:
                while futures:
                    ended, futures = wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
                    failed += [line for future in ended if (line := future.result())]
                    done, runs_ended = sum(job.epochs_done() for job in runs), sum(job.ended for job in runs)
                    if done > progress.done:
                        progress.update(done - progress.done, runs=f"{runs_ended}/{len(runs)}", failed=str(len(failed)))
            except KeyboardInterrupt:
                self.stopping.set()
                say("stopping: each run writes a checkpoint; the same command goes on")
                for process in list(self.running):
                    process.send_signal(signal.SIGTERM)
                raise
        return failed

    def run_one(self, job: Job) -> str:
        """Runs one job's commands, their output in a log; returns "" or why one failed."""
        if self.stopping.is_set():
            return ""
        slot, log = self.slots.get(), self.out / f"{job.folder.name}.log"
        try:
            with log.open("a") as file:
                environment = os.environ | place(slot, self.jobs, gpus())
                wait_until_free(job.folder)
                for arguments in job.commands():
                    if self.stopping.is_set():
                        return ""
                    command = [sys.executable, "-m", "alexnet_zoo.study.one_run", str(os.getpid()), *arguments]
                    process = subprocess.Popen(
                        command, stdout=file, stderr=file, env=environment, start_new_session=True
                    )
                    self.running.add(process)
                    code = process.wait()
                    self.running.remove(process)
                    if not job.trained:
                        break
        finally:
            self.slots.put(slot)
        if not job.ended:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            return f"{job.folder.name}: {last.removeprefix('alexzoo: error: ')} ({log})"
        if code and job.finished:
            say(f"{job.folder.name}: measured, but its own report was not written ({log})")
        job.forget_checkpoints()
        return ""


def wait_until_free(folder: Path, seconds: float = 60.0) -> None:
    """Waits while another process trains in the folder: a run of a killed study, which ends once it notices."""
    from alexnet_zoo.train.run import only_one

    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # after that, the command says who has it
        try:
            with only_one(folder):
                return
        except UserError:
            time.sleep(0.2)


def gpus() -> list[str]:
    """The CUDA devices to use, as CUDA_VISIBLE_DEVICES names them."""
    from alexnet_zoo.devices import cuda_devices

    numbers = [str(number) for number in range(cuda_devices())]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",") if seen and numbers else numbers


def place(slot: int, jobs: int, devices: list[str]) -> dict[str, str]:
    """Gives this thread, and so the process that it starts, a slot's share of the cores.

    Returns what that process is told: its number of threads and, where there are devices, the one that it gets.
    """
    if jobs == 1:
        return {}
    told = {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {}
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(os.getpid()))
        own = cores[slot::jobs] or [cores[slot % len(cores)]]
        os.sched_setaffinity(0, own)  # 0: this thread alone
        told["OMP_NUM_THREADS"] = str(len(own))
    return told
