"""The training loop: recipe and prepared images in, checkpoints and final weights out (section 5)."""

import faulthandler
import json
import math
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from alexnet_zoo.data.batches.loader import Batch, seed_of
from alexnet_zoo.devices import out_of_memory_told
from alexnet_zoo.errors import UserError
from alexnet_zoo.pedigree import record_end
from alexnet_zoo.progress import Progress, say, stage
from alexnet_zoo.train import saving
from alexnet_zoo.train.columns import hang_seconds
from alexnet_zoo.train.inputs import DROPOUT, Inputs
from alexnet_zoo.train.optim import Schedule
from alexnet_zoo.train.plateau import Plateau
from alexnet_zoo.train.profile import gather_records, profile_table, record_of
from alexnet_zoo.train.readout import Readout
from alexnet_zoo.train.run import Run, append_metrics, append_summary, forget_after
from alexnet_zoo.train.saving import Done
from alexnet_zoo.train.step import make_step
from alexnet_zoo.train.watch import LayerWatch

STEPS_A_LINE = 10  # of metrics.jsonl


class Interrupted(UserError):
    """SIGINT or SIGTERM arrived; a checkpoint was written."""


class Training:
    """One run in this process: the network or its part here, what it reads, and how far it is."""

    def __init__(self, run: Run):
        self.run, self.recipe, self.layout = run, run.recipe, run.layout
        recipe, folder = run.recipe, run.folder
        self.inputs = Inputs(recipe, run.prepared, run.layout)
        self.steps = self.inputs.steps
        self.total_steps = round(recipe.epochs * self.steps)
        self.train_step = make_step(recipe, len(run.prepared.classes), run.layout)
        self.watch = LayerWatch(self.train_step, folder, recipe.watch_every) if recipe.watch_every else None
        self.plateau = Plateau(self.train_step, len(run.prepared.classes))
        self.schedule = Schedule(recipe, self.steps)
        self.lr = recipe.lr  # of the last step
        self.done = Done()
        self.behind = 1 if run.layout.device.type == "cuda" else 0  # steps that are under way while the next one begins
        self.under_way: deque[tuple[int, float, Readout]] = deque()  # their numbers, rates, and what they found
        self.stop_asked = False
        self.saved_at = time.monotonic()

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.done.epoch * self.steps + self.done.step

    # One epoch

    def train_epoch(self, progress: Progress) -> dict[str, float]:
        """Takes the steps that are left of the epoch; returns its speed, as columns of summary.csv."""
        began, done = time.monotonic(), self.done
        steps = range(done.step, min(self.steps, self.total_steps - done.epoch * self.steps))
        loader = self.inputs.of_epoch(done.epoch, steps, self.schedule.colour)
        for batch in loader:
            with self.train_step.timed("step"):
                found = self.train_batch(batch)
            self.under_way.append((self.step, self.lr, found))
            self.end_steps(self.behind, progress, loader.waited / (time.monotonic() - began))
        self.end_steps(0, progress, loader.waited / (time.monotonic() - began))
        self.train_step.watches["data wait"].total += loader.waited
        seconds = time.monotonic() - began
        images = len(steps) * self.recipe.batch_size
        return {"images_per_s": round(images / seconds, 1), "data_wait": round(loader.waited / seconds, 4)}

    def train_batch(self, batch: Batch) -> Readout:
        """Takes one step; returns what all processes agree on: loss, wrong, stop and save, summed."""
        layout, epochs = self.layout, self.step / self.steps
        faulthandler.dump_traceback_later(hang_seconds())  # shows where it stands, should no other step begin by then
        torch.manual_seed(seed_of(self.recipe.seed, DROPOUT, self.step, layout.column, layout.replica))
        self.lr = self.schedule.apply(self.train_step.optimizer, epochs)
        if self.watch:
            self.watch.begin(self.step)
        inputs, labels = self.inputs.to_device(batch, noisy=self.schedule.colour(epochs) == "as_run")
        found = self.agree(*self.train_step(inputs, labels))
        self.done.step += 1
        return found

    def agree(self, loss: Tensor, wrong: Tensor) -> Readout:
        """Sums (loss, wrong, stop, save) over all processes: none may stop or save alone."""
        minutes = (time.monotonic() - self.saved_at) / 60
        save = self.layout.first and minutes >= self.recipe.checkpoint_minutes > 0
        flags = [loss.new_full((), flag, dtype=torch.float64) for flag in (self.stop_asked, save)]
        stats = torch.stack([loss.double(), wrong.double(), *flags])
        if dist.is_initialized():
            dist.all_reduce(stats, group=self.layout.everyone)
        return Readout(stats)

    def end_steps(self, behind: int, progress: Progress, data_wait: float) -> None:
        """Reads what steps found, but for the last `behind`; of all of them before it saves or stops."""
        stop = save = False
        while len(self.under_way) > (0 if stop or save else behind):
            step, lr, found = self.under_way.popleft()
            loss, wrong, *asked = found.read()
            loss, wrong = loss / self.layout.columns, wrong / self.layout.columns  # each column computed the same
            stop, save = stop or asked[0] > 0, save or asked[1] > 0
            self.count(step, loss, wrong)
            if self.layout.first:
                self.record(step, lr, loss, wrong, data_wait)
                progress.update(self.recipe.batch_size, **self.shown())
        if stop or save:
            self.save()
        if stop:
            raise Interrupted(f"stopped at epoch {self.done.epoch + 1}, step {self.done.step} of {self.steps}", 130)

    def count(self, step: int, loss: float, wrong: float) -> None:
        if not math.isfinite(loss):
            problem = f"the loss is {loss} at step {step}"
            if self.layout.first:  # a study counts it: what diverged did not learn
                (self.run.folder / "diverged.json").write_text(json.dumps({"step": step}) + "\n")
            raise UserError(f"{self.run.folder}: {problem}; the last checkpoint is good, lower the rate")
        self.done.images += self.recipe.batch_size
        self.done.loss += loss
        self.done.wrong += wrong

    def shown(self) -> dict[str, str]:
        done = self.done
        return {
            "epoch": f"{done.epoch + 1}/{self.recipe.epochs:g}",
            "loss": f"{done.loss / done.images:.3f}",
            "err": f"{100 * done.wrong / done.images:.1f}%",
        }

    def record(self, step: int, lr: float, loss: float, wrong: float, data_wait: float) -> None:
        """Writes a line of metrics.jsonl for each of the first steps, then for every STEPS_A_LINE-th."""
        batch = self.recipe.batch_size
        self.plateau.see(loss / batch)
        if step % STEPS_A_LINE == 0 or step < STEPS_A_LINE:
            row = {"step": step, "epoch": self.done.epoch + 1, "loss": loss / batch, "err": 100 * wrong / batch}
            append_metrics(self.run.folder, {**row, "lr": lr, "data_wait": round(data_wait, 4)})

    # The end of an epoch

    def end_epoch(self, speed: dict[str, float]) -> None:
        """Validates, lets the schedule see the error, writes the epoch's line and a checkpoint."""
        done, epoch = self.done, self.done.epoch + 1
        train_err = 100 * done.wrong / done.images
        enough = train_err <= self.recipe.stop_at_train_err
        row: dict[str, Any] = {"epoch": epoch, "train_loss": done.loss / done.images}
        row |= dict.fromkeys(("eval_loss", "eval_top1", "eval_top5"), "")
        row |= {"lr": self.lr, "train_top1": 100 - train_err, **speed}
        if enough or self.total_steps <= self.step or epoch % self.recipe.eval_every == 0:
            with stage("validating", brief=True) if self.layout.first else nullcontext():
                row |= self.validate()
            err = 100 - row["eval_top1"]
            if self.layout.replica == 0 and err < self.schedule.best_err:
                saving.save_weights("best.safetensors", self.run, self.train_step)
            self.schedule.end_epoch(epoch, err)
        if self.layout.first:
            append_summary(self.run.folder, row)
            validation = "" if row["eval_top1"] == "" else f", {self.recipe.eval_split} error {err:.2f}%"
            say(f"epoch {epoch} of {self.recipe.epochs:g}: training error {train_err:.2f}%{validation}")
        self.done = Done(epoch=epoch, enough=enough)
        self.save()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Measures loss, and top-1 and top-5 in percent, of the centre crops of the evaluation split."""
        faulthandler.cancel_dump_traceback_later()
        layout, model = self.layout, self.train_step.model
        sums = torch.zeros(3, dtype=torch.float64, device=layout.device)
        model.eval()
        for batch in self.inputs.of_evaluation():
            inputs, labels = self.inputs.to_device(batch)
            logits = self.train_step.logits_of(inputs)
            five = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum"), five[:, 0].sum(), five.any(1).sum()])
        model.train()
        if dist.is_initialized():
            dist.all_reduce(sums, group=layout.data_group)
        loss, top1, top5 = (sums / len(self.inputs.eval)).tolist()
        return {"eval_loss": loss, "eval_top1": 100 * top1, "eval_top5": 100 * top5}

    # The whole run

    def fit(self) -> None:
        images, done = self.total_steps * self.recipe.batch_size, self.step * self.recipe.batch_size
        bar = Progress(images, f"training {self.recipe.name}", initial=done) if self.layout.first else nullcontext()
        with bar as progress:
            while (self.step < self.total_steps and not self.done.enough) or self.done.step:
                self.end_epoch(self.train_epoch(progress))
        faulthandler.cancel_dump_traceback_later()
        self.train_step.model.float()
        if self.layout.replica == 0:
            saving.save_weights("model.safetensors", self.run, self.train_step)
        self.layout.wait_for_all()

    def save(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        saving.save(self.run.folder / "checkpoints", self.train_step, self.schedule, self.done)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Continues from the newest checkpoint, if there is one."""
        self.done = saving.resume(self.run.folder / "checkpoints", self.train_step, self.schedule)
        self.lr = self.schedule.apply(self.train_step.optimizer, max(self.step - 1, 0) / self.steps)
        if self.layout.first:
            forget_after(self.run.folder, self.done.epoch, self.step)


def train(run: Run, resume: bool = False, profile: bool = False) -> None:
    """Trains a run, or continues it; ends with model.safetensors in its folder.

    SIGINT and SIGTERM end it after the step under way with a checkpoint and Interrupted (exit code 130).
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with out_of_memory_told(run.recipe.batch_size):
        training = Training(run)
        if resume:
            training.resume()
        with stopped_by_signals(training):
            training.fit()
    records = gather_records(record_of(training.train_step), training.layout)
    if run.layout.first:
        steps = min(training.step, training.total_steps)  # an epoch that was planned in part counts as whole
        record_end(run.folder, steps, training.total_steps, training.done.enough)
        (run.folder / "devices.json").write_text(json.dumps(records, indent=1))
        if profile:
            print(profile_table(records), flush=True)


@contextmanager
def stopped_by_signals(training: Training) -> Iterator[None]:
    """Lets SIGINT and SIGTERM ask the training to stop after the step under way."""

    def ask_to_stop(*_) -> None:
        training.stop_asked = True

    previous = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number, handler in previous.items():
            signal.signal(number, handler)
