"""The training loop: recipe and prepared images in, checkpoints and final weights out (section 5)."""

import faulthandler
import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from alexnet_zoo.data.batches.augment import AS_RUN_SCALE, Crops, centre_crop, draw_crops, to_input
from alexnet_zoo.data.batches.loader import Batch, Prefetch, generator, seed_of
from alexnet_zoo.data.prepared.dataset import Dataset, Prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sync
from alexnet_zoo.progress import Progress
from alexnet_zoo.train import columns
from alexnet_zoo.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from alexnet_zoo.train.columns import Layout, hang_seconds
from alexnet_zoo.train.memory import keep_memory, kept_for_backward
from alexnet_zoo.train.optim import PaperSGD, Schedule, parameter_groups
from alexnet_zoo.train.profile import StepTimes, gather_records, profile_table
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import Run, append_metrics, append_summary, forget_after
from alexnet_zoo.train.watch import Watch

ORDER, CROPS, DROPOUT = range(3)  # what is drawn from (seed, purpose, epoch, step)
STEPS_A_LINE = 10  # of metrics.jsonl


class Interrupted(UserError):
    """SIGINT or SIGTERM arrived; a checkpoint was written."""


@dataclass
class Done:
    """How far a run is: whole epochs, steps in the epoch under way, and that epoch's sums over images."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss: float = 0.0
    wrong: float = 0.0
    enough: bool = False  # the training error is as low as the recipe asks for


class Training:
    """One run in this process: the network or its part here, the optimiser, and how far it is."""

    def __init__(self, recipe: Recipe, prepared: Prepared, run: Path, layout: Layout):
        self.recipe, self.prepared, self.run, self.layout = recipe, prepared, run, layout
        self.train_split, self.eval_split = prepared.split(recipe.train_split), prepared.split(recipe.eval_split)
        check_fits(recipe, prepared, self.train_split, layout)
        self.steps = len(self.train_split) // recipe.batch_size  # an epoch leaves out what does not fill a batch
        self.total_steps = round(recipe.epochs * self.steps)
        self.dtype = torch.float64 if recipe.precision == "float64" else torch.float32
        self.model = columns.build(recipe, len(prepared.classes), layout).to(self.dtype)
        if recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.watch = Watch(self.model, layout, run, recipe.watch_every) if recipe.watch_every else None
        self.optimizer = PaperSGD(parameter_groups(self.model, recipe), recipe.lr, recipe.momentum)
        self.schedule = Schedule(recipe, self.steps)
        self.lr = recipe.lr  # of the last step
        self.mean = torch.from_numpy(prepared.mean).to(layout.device)
        self.inputs = None  # memory for a batch, used again by every step on a CPU
        if layout.device.type == "cpu":
            self.inputs = torch.empty(recipe.batch_size, 3, recipe.crop_size, recipe.crop_size)
        self.done = Done()
        self.stop_asked = False
        self.times = StepTimes(layout)
        self.kept_bytes = 0  # from the forward to the backward pass, found out in the first step
        self.saved_at = time.monotonic()

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.done.epoch * self.steps + self.done.step

    # One step

    def train_step(self, batch: Batch) -> Tensor:
        """Forward, backward, update; returns what all processes agree on: loss, wrong, stop and save, summed."""
        recipe, layout = self.recipe, self.layout
        watch_for_hanging()
        torch.manual_seed(seed_of(recipe.seed, DROPOUT, self.step, layout.column, layout.replica))
        if self.watch:
            self.watch.begin(self.step)
        inputs, labels = self.to_device(batch, noisy=self.schedule.colour(self.step / self.steps) == "as_run")
        with nullcontext() if self.kept_bytes else kept_for_backward(self.model) as kept:
            logits = self.logits_of(inputs)
            loss = F.cross_entropy(logits.to(self.dtype), labels, reduction="sum") / recipe.batch_size
        self.kept_bytes = self.kept_bytes or kept()
        loss.backward()
        with self.times.measured("replicas"):
            columns.sum_gradients(self.model, layout)
        if self.watch:
            self.watch.end(self.step)
        with self.times.measured("optimiser"):
            self.lr = self.schedule.apply(self.optimizer, self.step / self.steps)
            self.optimizer.step()
            self.optimizer.zero_grad()
        wrong = (logits.detach().argmax(1) != labels).sum()
        return self.agree(loss.detach() * recipe.batch_size, wrong)

    def logits_of(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.layout.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            return self.model(inputs)

    def to_device(self, batch: Batch, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """The network's input and the labels; as run, the image was divided by a constant after its colour noise."""
        scale = self.recipe.input_scale * (AS_RUN_SCALE if noisy else 1.0)
        device = self.layout.device
        pixels = batch.pixels.to(device, non_blocking=True)
        out = None if self.inputs is None else self.inputs[: len(pixels)]
        inputs = to_input(pixels, batch.crops.to(device), self.mean, scale, out)
        if self.recipe.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs.to(self.dtype), batch.labels.to(device, non_blocking=True)

    def agree(self, loss: Tensor, wrong: Tensor) -> Tensor:
        """(loss, wrong, stop, save) over the global batch: no process may stop or save alone."""
        minutes = (time.monotonic() - self.saved_at) / 60
        flags = [float(self.stop_asked), float(self.layout.first and minutes >= self.recipe.checkpoint_minutes > 0)]
        stats = torch.stack(
            [loss.double(), wrong.double(), *torch.tensor(flags, dtype=torch.float64, device=loss.device)]
        )
        if dist.is_initialized():
            stats[:2] /= self.layout.columns  # each column computed the same loss
            dist.all_reduce(stats)
        return stats

    # One epoch

    def train_epoch(self, progress: Progress) -> None:
        began, images_before = time.monotonic(), self.done.images
        loader = Prefetch(self.train_split, self.recipe.crop_size, self.plan_epoch())
        for batch in loader:
            with self.times.measured("step"):
                stats = self.train_step(batch)
                loss, wrong, stop, save = stats.tolist()
            self.count(loss, wrong)
            if self.layout.first:
                self.record(loss, wrong, loader.waited / (time.monotonic() - began))
                progress.update(self.recipe.batch_size, **self.shown())
            if stop or save:
                self.save()
            if stop:
                raise Interrupted(f"stopped at epoch {self.done.epoch + 1}, step {self.done.step} of {self.steps}", 130)
        self.images_per_s = (self.done.images - images_before) / (time.monotonic() - began)
        self.data_wait = loader.waited / (time.monotonic() - began)
        self.times.seconds["data wait"] += loader.waited

    def plan_epoch(self) -> Iterator[tuple[np.ndarray, Crops]]:
        """This replica's part of each batch that is left in the epoch: indices into the split, and their crops."""
        recipe, epoch = self.recipe, self.done.epoch
        order = torch.randperm(len(self.train_split), generator=generator(recipe.seed, ORDER, epoch)).numpy()
        mine = slice(self.layout.replica, None, self.layout.replicas)
        for step in range(self.done.step, min(self.steps, self.total_steps - epoch * self.steps)):
            crops = draw_crops(
                generator(recipe.seed, CROPS, epoch, step),
                recipe.batch_size,
                recipe.image_size,
                recipe.crop_size,
                recipe.random_crop,
                recipe.mirror,
                self.schedule.colour(epoch + step / self.steps),
                self.prepared.eigenvalues,
                self.prepared.eigenvectors,
            ).in_chunks(recipe.crop_chunk)
            yield order[step * recipe.batch_size : (step + 1) * recipe.batch_size][mine], crops[mine]

    def count(self, loss: float, wrong: float) -> None:
        if not math.isfinite(loss):
            problem = f"the loss is {loss} at step {self.step + 1}"
            raise UserError(f"{self.run}: {problem}; the last checkpoint is good, lower the rate")
        self.done.step += 1
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

    def record(self, loss: float, wrong: float, data_wait: float) -> None:
        """A line of metrics.jsonl for each of the first steps, then for every STEPS_A_LINE-th."""
        step, batch = self.step, self.recipe.batch_size
        if step % STEPS_A_LINE == 0 or step < STEPS_A_LINE:
            row = {"step": step, "epoch": self.done.epoch + 1, "loss": loss / batch, "err": 100 * wrong / batch}
            append_metrics(self.run, {**row, "lr": self.lr, "data_wait": round(data_wait, 4)})

    def end_epoch(self) -> None:
        """Validation, its consequence for the rate, the epoch's line, a checkpoint."""
        done = self.done
        train_err = 100 * done.wrong / done.images
        enough = train_err <= self.recipe.stop_at_train_err
        last = enough or self.total_steps <= self.step
        evaluated = last or (done.epoch + 1) % self.recipe.eval_every == 0
        eval_loss, eval_top1, eval_top5 = self.validate() if evaluated else ("", "", "")
        row = {
            "epoch": done.epoch + 1,
            "train_loss": done.loss / done.images,
            "eval_loss": eval_loss,
            "eval_top1": eval_top1,
            "eval_top5": eval_top5,
            "lr": self.lr,
            "train_top1": 100 - train_err,
            "images_per_s": round(self.images_per_s, 1),
            "data_wait": round(self.data_wait, 4),
        }
        if self.layout.first:
            append_summary(self.run, row)
        if evaluated:
            if self.layout.replica == 0 and 100 - eval_top1 < self.schedule.best_err:
                self.save_weights("best.safetensors")
            self.schedule.end_epoch(done.epoch + 1, 100 - eval_top1)
        self.done = Done(epoch=done.epoch + 1, enough=enough)
        self.save()

    @torch.no_grad()
    def validate(self) -> tuple[float, float, float]:
        """Loss, and top-1 and top-5 in percent, of the centre crop over the evaluation split."""
        faulthandler.cancel_dump_traceback_later()
        recipe, layout, split = self.recipe, self.layout, self.eval_split
        mine = np.arange(layout.replica, len(split), layout.replicas)
        parts = [mine[i : i + recipe.batch_size] for i in range(0, len(mine), recipe.batch_size)]
        plan = ((part, centre_crop(len(part), recipe.image_size, recipe.crop_size)) for part in parts)
        sums = torch.zeros(3, dtype=torch.float64, device=layout.device)
        self.model.eval()
        for batch in Prefetch(split, recipe.crop_size, plan):
            inputs, labels = self.to_device(batch)
            logits = self.logits_of(inputs).to(self.dtype)
            five = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum"), five[:, 0].sum(), five.any(1).sum()])
        self.model.train()
        if dist.is_initialized():
            dist.all_reduce(sums, group=layout.data_group)
        loss, top1, top5 = (sums / len(split)).tolist()
        return loss, 100 * top1, 100 * top5

    # The whole run

    def fit(self) -> None:
        images, done = self.total_steps * self.recipe.batch_size, self.step * self.recipe.batch_size
        with progress_of(self.layout, images, f"training {self.recipe.name}", done) as progress:
            while (self.step < self.total_steps and not self.done.enough) or self.done.step:
                self.train_epoch(progress)
                self.end_epoch()
        faulthandler.cancel_dump_traceback_later()
        self.model.float()
        if self.layout.replica == 0:
            self.save_weights("model.safetensors")
        self.layout.wait_for_all()

    def save_weights(self, name: str) -> None:
        """The network's weights, canonical, as a file of the run; by the first process, all of replica 0 take part."""
        weights = columns.merge(self.model.state_dict(), self.layout)
        if weights is not None:
            partial = self.run / f".partial-{name}"
            save_file(weights, partial, metadata={"format": "pt"})
            sync(partial)
            partial.rename(self.run / name)

    def save(self) -> None:
        """A checkpoint, written by the first process from the first replica's columns; all wait for it."""
        faulthandler.cancel_dump_traceback_later()
        if self.layout.replica == 0:
            parameters = dict(self.model.named_parameters())
            velocities = {name: self.optimizer.state[w]["velocity"] for name, w in parameters.items()}
            weights = columns.merge(self.model.state_dict(), self.layout)
            velocities = columns.merge(velocities, self.layout)
            if self.layout.first:
                state = {"done": asdict(self.done), "schedule": self.schedule.state_dict()}
                keep = self.recipe.keep_checkpoints
                save_checkpoint(self.run / "checkpoints", self.step, weights, velocities, state, keep)
        self.layout.wait_for_all()
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Continues from the newest checkpoint, if there is one."""
        checkpoints = list_checkpoints(self.run / "checkpoints")
        if not checkpoints:
            return
        weights, velocities, state = load_checkpoint(checkpoints[-1])
        parameters = dict(self.model.named_parameters())
        try:
            self.model.load_state_dict(columns.split(weights, self.layout))
            for name, velocity in columns.split(velocities, self.layout).items():
                self.optimizer.state[parameters[name]]["velocity"].copy_(velocity)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{checkpoints[-1]}: does not fit {self.recipe.model}: {error}; use its own recipe"
            ) from error
        self.done = Done(**state["done"])
        self.schedule.load_state_dict(state["schedule"])
        self.lr = self.schedule.apply(self.optimizer, max(self.step - 1, 0) / self.steps)
        if self.layout.first:
            forget_after(self.run, self.done.epoch, self.step)


def train(run: Run, resume: bool = False, profile: bool = False) -> None:
    """Trains a run, or continues it; ends with model.safetensors in its folder.

    SIGINT and SIGTERM end it after the step under way with a checkpoint and Interrupted (exit code 130).
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if run.layout.device.type == "cpu":
        keep_memory()
    training = Training(run.recipe, run.prepared, run.folder, run.layout)
    if resume:
        training.resume()

    def ask_to_stop(*_) -> None:
        training.stop_asked = True

    previous = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        training.fit()
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number, handler in previous.items():
            signal.signal(number, handler)
    records = gather_records(training.model, training.times, training.kept_bytes, run.layout)
    if run.layout.first:
        (run.folder / "devices.json").write_text(json.dumps(records, indent=1))
        if profile:
            print(profile_table(records), flush=True)


def watch_for_hanging() -> None:
    """Shows where a process stands that has not begun another step for so long that the others give it up."""
    faulthandler.dump_traceback_later(hang_seconds())


def check_fits(recipe: Recipe, prepared: Prepared, split: Dataset, layout: Layout) -> None:
    if prepared.image_size != recipe.image_size:
        raise UserError(
            f"{prepared.folder}: images of {prepared.image_size} pixels, {recipe.name} wants {recipe.image_size}; "
            f"prepare them again, or --set image_size={prepared.image_size}"
        )
    if len(split) < recipe.batch_size:
        raise UserError(
            f"{prepared.folder}: {len(split)} training images do not fill a batch of {recipe.batch_size}; "
            f"--set batch_size={len(split)} or less"
        )
    if recipe.batch_size % layout.replicas:
        raise UserError(
            f"batch_size {recipe.batch_size} does not divide over {layout.replicas} replicas; --set another"
        )


def progress_of(layout: Layout, total: int, desc: str, initial: int):
    """A progress bar in the first process, nothing in the others."""
    return Progress(total, desc, initial=initial) if layout.first else nullcontext()
