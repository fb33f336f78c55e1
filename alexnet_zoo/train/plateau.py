"""Notices a network that does not begin to learn: a loss that stays at guessing while conv1's gradient shrinks."""

import math
from collections import deque

import torch
from torch import Tensor

from alexnet_zoo.progress import say
from alexnet_zoo.train.step import TrainStep

LONG = 300  # steps; of the study init's networks that learn on raw pixels, all have left guessing by 190
EVERY = 10  # steps between two looks at the gradient, and of the mean that a loss is judged by
NEAR = 0.05  # of the loss of guessing, the logarithm of the number of classes


class Plateau:
    """Watches one run, and says once, in a line, that it is stuck and what helps.

    A plateau that ends looks otherwise: while the loss lies flat, conv1's gradient grows (reports/published).
    """

    def __init__(self, train_step: TrainStep, classes: int):
        self.conv1, self.classes = getattr(train_step.model, "conv1", None), classes
        self.losses: deque[float] = deque(maxlen=EVERY)
        self.gradients: list[Tensor] = []  # norms, left on their device, so that no step waits for them
        self.steps = 0
        self.over = False
        self.hook = train_step.optimizer.register_step_pre_hook(self._look)

    def _look(self, *_) -> None:
        """Keeps the norm of conv1's gradient; the optimiser calls it before its update."""
        gradient = self.conv1.weight.grad if self.conv1 else None  # none where conv1 is frozen
        if gradient is not None and self.steps % EVERY == 0:
            self.gradients.append(torch.linalg.vector_norm(gradient))
        self.steps += 1

    def see(self, loss: float) -> None:
        """Takes the next batch's mean loss; once it has left guessing, or the line was said, nothing is watched."""
        self.losses.append(loss)
        if self.over or self.steps % EVERY or len(self.losses) < EVERY:
            return
        guessing, mean = math.log(self.classes), sum(self.losses) / EVERY
        if mean > (1 + NEAR) * guessing:
            self.gradients.clear()
        elif mean < (1 - NEAR) * guessing:
            self.end()
        elif len(self.gradients) > LONG // EVERY:
            self._judge(guessing)

    def end(self) -> None:
        self.over = True
        self.hook.remove()

    def _judge(self, guessing: float) -> None:
        """Compares the means of five norms: the last, those in the middle, and LONG steps ago."""
        self.gradients = self.gradients[-LONG // EVERY - 1 :]
        norms = [float(norm) for norm in self.gradients]
        middle = len(norms) // 2
        first, between, last = (sum(part) / 5 for part in (norms[:5], norms[middle - 2 : middle + 3], norms[-5:]))
        if last < between and last < first / 2:
            self.end()
            say(
                f"stuck: for {LONG} steps the loss stayed within 5% of guessing, ln {self.classes} = {guessing:.2f}, "
                f"and conv1's gradient shrinks, {first:.2g} to {last:.2g}. Start from the deviations of the recipe "
                "init-as-run, which left it in each setting of the study init: alexzoo recipes init-as-run"
            )
