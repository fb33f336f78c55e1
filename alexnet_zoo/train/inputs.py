"""What a step sees: which images, cropped where, and how they become the network's input (sections 2 and 4.1)."""

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from alexnet_zoo.cores import cores
from alexnet_zoo.data.batches.augment import AS_RUN_SCALE, Crops, centre_crop, draw_crops, to_input
from alexnet_zoo.data.batches.cutters import Cutters
from alexnet_zoo.data.batches.loader import Batch, Prefetch, generator
from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import input_form

MOST_CUTTERS = 16  # processes; one gathers what a GPU trains on in half a second in one
ORDER, CROPS, DROPOUT = range(3)  # what is drawn from (seed, purpose, epoch, step)


class Inputs:
    """What a replica reads of the prepared images.

    Attributes: train and eval, the splits; steps, of an epoch, which leaves out the images that do not fill a batch.
    Raises UserError where recipe and images do not fit.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, layout: Layout):
        self.recipe, self.prepared, self.layout = recipe, prepared, layout
        self.train, self.eval = prepared.split(recipe.train_split), prepared.split(recipe.eval_split)
        self.check_fits()
        self.steps = len(self.train) // recipe.batch_size
        self.mean = torch.from_numpy(prepared.mean).to(layout.device)
        self.memory = self.cutters = self.copies = None
        if layout.device.type == "cpu":  # for a batch, used again by every step
            self.memory = torch.empty(recipe.batch_size, 3, recipe.crop_size, recipe.crop_size)
            return
        self.copies = torch.cuda.Stream()
        if os.name == "posix":  # where a process can be given an open file; a card's steps need several of them
            processes = min(MOST_CUTTERS, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
            self.cutters = Cutters([self.train, self.eval], recipe.crop_size, recipe.batch_size, processes, pinned=True)

    def check_fits(self) -> None:
        recipe, images = self.recipe, len(self.train)
        if self.prepared.image_size != recipe.image_size:
            raise UserError(
                f"{self.prepared.folder}: images of {self.prepared.image_size} pixels, {recipe.name} wants "
                f"{recipe.image_size}; prepare them again, or --set image_size={self.prepared.image_size}"
            )
        if images < recipe.batch_size:
            raise UserError(
                f"{self.prepared.folder}: {images} training images do not fill a batch of {recipe.batch_size}; "
                f"--set batch_size={images} or less"
            )
        if recipe.batch_size % self.layout.replicas:
            raise UserError(
                f"batch_size {recipe.batch_size} does not divide over {self.layout.replicas} replicas; --set another"
            )

    def of_epoch(self, epoch: int, steps: range, colour: Callable[[float], str]) -> Prefetch:
        """Gathers this replica's part of an epoch's batches; colour says the kind of noise after so many epochs."""
        return Prefetch(self.train, self.recipe.crop_size, self.plan(epoch, steps, colour), self.cutters)

    def plan(self, epoch: int, steps: range, colour: Callable[[float], str]) -> Iterator[tuple[np.ndarray, Crops]]:
        """Draws, for each step, indices into the training images and their crops."""
        recipe, prepared = self.recipe, self.prepared
        order = torch.randperm(len(self.train), generator=generator(recipe.seed, ORDER, epoch)).numpy()
        mine = slice(self.layout.replica, None, self.layout.replicas)
        for step in steps:
            crops = draw_crops(
                generator(recipe.seed, CROPS, epoch, step),
                recipe.batch_size,
                recipe.image_size,
                recipe.crop_size,
                recipe.random_crop,
                recipe.mirror,
                colour(epoch + step / self.steps),
                (prepared.eigenvalues, prepared.eigenvectors),
            ).in_chunks(recipe.crop_chunk)
            yield order[step * recipe.batch_size : (step + 1) * recipe.batch_size][mine], crops[mine]

    def of_evaluation(self) -> Prefetch:
        """Gathers this replica's part of the evaluation split, centre crops."""
        recipe = self.recipe
        mine = np.arange(self.layout.replica, len(self.eval), self.layout.replicas)
        parts = [mine[i : i + recipe.batch_size] for i in range(0, len(mine), recipe.batch_size)]
        plan = ((part, centre_crop(len(part), recipe.image_size, recipe.crop_size)) for part in parts)
        return Prefetch(self.eval, recipe.crop_size, plan, self.cutters)

    def to_device(self, batch: Batch, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """Makes the network's input, and the labels; as run, noisy images were divided by a constant."""
        scale = self.recipe.input_scale * (AS_RUN_SCALE if noisy else 1.0)
        if self.memory is None:
            return self.to_cuda(batch, scale)
        out = self.memory[: len(batch.pixels)]
        return to_input(batch.pixels, batch.crops, self.mean, scale, out, self.recipe.mean_place), batch.labels

    def to_cuda(self, batch: Batch, scale: float) -> tuple[Tensor, Tensor]:
        """to_device on CUDA: copies while the device still computes what it was told before, then starts one kernel."""
        from alexnet_zoo.data.batches.input_triton import to_input  # which comes with torch where torch can use CUDA

        device, now = self.layout.device, torch.cuda.current_stream()
        with torch.cuda.stream(self.copies):
            pixels = batch.pixels if batch.copied else batch.pixels.pin_memory()
            parts = pixels, batch.crops.packed(pin_memory=True), batch.labels.pin_memory()
            there = [part.to(device, non_blocking=True) for part in parts]
            if batch.copied:
                batch.copied.record()
        now.wait_stream(self.copies)
        for part in there:
            part.record_stream(now)  # so that its memory is not used again too early
        pixels, packed, labels = there
        count, size = pixels.shape[:2]
        inputs = torch.empty(count, 3, size, size, device=device, **input_form(self.recipe))
        to_input(pixels, packed, self.mean, scale, self.recipe.mean_place == "centre", inputs)
        return inputs, labels
