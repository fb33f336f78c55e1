"""Trains what a plan says: each run an ordinary command with a folder of its own, several at a time."""

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import Progress, say
from alexnet_zoo.study.study import Comparison, Study
from alexnet_zoo.train.recipe import Recipe, load_recipe

STUDIES = Path("runs") / "studies"


@dataclass
class Job:
    """One command of a study, and the folder that it fills."""

    folder: Path
    arguments: list[str]  # of alexzoo
    recipe: Recipe | None = None  # None: networks that are trained already are averaged
    again: list[str] = field(default_factory=list)  # arguments that continue it, where it was begun

    @property
    def finished(self) -> bool:
        return (self.folder / "results.csv").exists()  # what a run writes last

    @property
    def epochs(self) -> float:
        return self.recipe.epochs if self.recipe else 0.0

    def epochs_done(self) -> float:
        """Whole epochs that summary.csv records."""
        if self.finished or self.recipe is None:
            return self.epochs
        summary = self.folder / "summary.csv"
        if not summary.exists():
            return 0.0
        with summary.open(newline="") as file:
            return min(float(sum(1 for _ in csv.DictReader(file))), self.epochs)

    def command(self) -> list[str]:
        return self.again if self.again and (self.folder / "recipe.toml").exists() else self.arguments


class Jobs:
    """All commands of a study in the folder `out`: one seed of every arm before the next, then the averages."""

    def __init__(self, plan: Study, out: Path, data: Path | None = None):
        self.plan, self.out, self.data = plan, out, data
        self.others = [out.parent / name for name in plan.uses]
        rounds = range(max(map(plan.seeds_of, plan.arms)))
        self.runs = {
            (arm, seed): self._run(arm, seed) for seed in rounds for arm in plan.arms if seed < plan.seeds_of(arm)
        }
        jobs = {job.folder: job for comparison in plan.compare for job in self.averages(comparison)}
        self.averaged = list(jobs.values())

    def _run(self, arm: str, seed: int) -> Job:
        recipe, folder = self.plan.resolved(arm, seed), self._find(arm, seed)
        data = ["--data", str(self.data)] if self.data else []
        begin = ["reproduce", self.plan.recipe_of(arm), *data, "--out", str(folder)]
        for change in self.plan.changes(arm, seed):
            begin += ["--set", change]
        return Job(folder, begin, recipe, ["reproduce", "--resume", *data, "--out", str(folder)])

    def _find(self, arm: str, seed: int) -> Path:
        """Finds the run's folder: its own, or another study's (uses) where the same recipe ended."""
        recipe = self.plan.resolved(arm, seed)
        own = self.out / f"{arm}-seed{seed}"
        if not own.exists():
            for other in self.others:
                for found in sorted(other.glob(f"*-seed{seed}/results.csv")):
                    if load_recipe(found.parent / "recipe.toml") == recipe:
                        return found.parent
        elif (own / "recipe.toml").exists() and load_recipe(own / "recipe.toml") != recipe:
            raise UserError(f"{own}: its recipe is not what the plan says now; move it away, or name another --out")
        return own

    def averages(self, comparison: Comparison) -> list[Job]:
        """The evaluations of several networks together that a comparison needs: disjoint groups of an arm's seeds."""
        size, arm, views = comparison.average[0], comparison.arms[0], comparison.views[0]
        jobs = []
        for group in range(self.plan.seeds_of(arm) // size if size > 1 else 0):
            members = [self.runs[arm, seed].folder for seed in range(group * size, (group + 1) * size)]
            folder = self.out / f"{arm}-average{size}-{group}"
            files = ["--out", str(folder / "results.csv"), "--predictions", str(folder / f"predictions-{views}.csv")]
            jobs.append(Job(folder, ["evaluate", *map(str, members), "--views", str(views), *files]))
        return jobs

    @property
    def all(self) -> list[Job]:
        return [*self.runs.values(), *self.averaged]

    def lines(self) -> list[str]:
        """The commands that are left to do, as one types them."""
        return [shlex.join(["alexzoo", *job.command()]) for job in self.all if not job.finished]


def run(plan: Study, out: Path, data: Path | None = None, jobs: int = 1) -> None:
    """Trains and evaluates what is not finished, `jobs` runs at a time; a failed one stops no other.

    Raises: UserError that names each run that failed, with its last line; KeyboardInterrupt, once every run has
    written a checkpoint, after Ctrl-C or SIGTERM.
    """
    every = Jobs(plan, out, data)
    runs = list(every.runs.values())
    out.mkdir(parents=True, exist_ok=True)
    workers, failed = Workers(out, jobs), []
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    total, before = sum(job.epochs for job in runs), sum(job.epochs_done() for job in runs)
    try:
        with Progress(total, plan.name, "epochs", before) as progress:
            for batch in (runs, every.averaged):
                failed += workers.run([job for job in batch if not job.finished], runs, progress)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if failed:
        again = "the same command tries them again"
        raise UserError(f"{plan.name}: {len(failed)} of {len(every.all)} failed, {again}: {'; '.join(failed)}")
    say(f"{plan.name}: all {len(every.all)} finished in {out}")


class Workers:
    """Runs commands, each on its slot's share of the cores or on its slot's GPU."""

    def __init__(self, out: Path, jobs: int):
        self.out, self.jobs = out, jobs
        self.slots: Queue[int] = Queue()
        for slot in range(jobs):
            self.slots.put(slot)
        self.running: set[subprocess.Popen] = set()
        self.stopping = threading.Event()

    def run(self, todo: list[Job], runs: list[Job], progress: Progress) -> list[str]:
        """Runs the jobs, showing how far all runs are; returns a line for each that failed."""
        failed: list[str] = []
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self.run_one, job) for job in todo}
            try:
                while futures:
                    ended, futures = wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
                    failed += [line for future in ended if (line := future.result())]
                    done, finished = sum(job.epochs_done() for job in runs), sum(job.finished for job in runs)
                    if done > progress.done:
                        progress.update(done - progress.done, runs=f"{finished}/{len(runs)}", failed=str(len(failed)))
            except KeyboardInterrupt:
                self.stopping.set()
                say("stopping: each run writes a checkpoint; the same command goes on")
                for process in list(self.running):
                    process.send_signal(signal.SIGTERM)
                raise
        return failed

    def run_one(self, job: Job) -> str:
        """Runs one command, its output in a log; returns "" or why it failed."""
        slot, log = self.slots.get(), self.out / f"{job.folder.name}.log"
        try:
            with log.open("a") as file:
                environment = os.environ | place(slot, self.jobs)
                if self.stopping.is_set():
                    return ""
                command = [sys.executable, "-m", "alexnet_zoo", *job.command()]
                job.folder.mkdir(parents=True, exist_ok=True)
                process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
                self.running.add(process)
                code = process.wait()
                self.running.remove(process)
        finally:
            self.slots.put(slot)
        if code or not job.finished:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            return f"{job.folder.name}: {last.removeprefix('alexzoo: error: ')} ({log})"
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)  # of a finished run nobody continues from them
        return ""


def place(slot: int, jobs: int) -> dict[str, str]:
    """Gives this thread, and so the process that it starts, a slot's share of the cores.

    Returns what that process is told: its number of threads and, where there are GPUs, the one that it gets.
    """
    import torch

    if jobs == 1:
        return {}
    told = {}
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(os.getpid()))
        own = cores[slot::jobs] or [cores[slot % len(cores)]]
        os.sched_setaffinity(0, own)  # 0: this thread alone
        told["OMP_NUM_THREADS"] = str(len(own))
    if torch.cuda.is_available():
        every = ",".join(map(str, range(torch.cuda.device_count())))
        seen = (os.environ.get("CUDA_VISIBLE_DEVICES") or every).split(",")
        told["CUDA_VISIBLE_DEVICES"] = seen[slot % len(seen)]
    return told
