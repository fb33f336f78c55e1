"""Draws Figure 4: a network's guesses at eight test images, and the training images it finds alike (6.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from timm.data import ImageNetInfo

from alexnet_zoo.data.batches.augment import centre_crop, to_input
from alexnet_zoo.data.prepared.dataset import Dataset, Prepared
from alexnet_zoo.report.figures import BLACK, new_figure, styled
from alexnet_zoo.train.run import open_run

IMAGES, QUERIES, NEIGHBOURS = 8, 5, 6  # as many as the paper shows
SEARCHED = 2000  # training images searched, drawn once and for all; the paper searches all of them
BATCH = 32


@dataclass(frozen=True)
class Examples:
    """Holds what Figure 4 shows; pictures are uint8 (..., size, size, 3), the centre crops that the network saw."""

    pictures: np.ndarray  # (IMAGES, size, size, 3)
    probabilities: np.ndarray  # (IMAGES, classes)
    labels: np.ndarray  # (IMAGES,)
    classes: list[str]
    nearest: np.ndarray  # (queries, 1 + NEIGHBOURS, size, size, 3): the query first, then by rising distance
    nearest_labels: np.ndarray  # (queries, 1 + NEIGHBOURS)
    searched: int


@torch.no_grad()
def examine(run: Path, prepared: Prepared, searched: int = SEARCHED) -> Examples:
    """Runs a trained network on test images, at even steps through the split, and on training images.

    Args: run, a run folder with model.safetensors; prepared, its data; searched, how many training images at most.
    Raises UserError where the run's training has not ended.
    """
    recipe, model, classes, _ = open_run(run)
    model.eval()
    mean = torch.from_numpy(prepared.mean.copy())
    test, train = prepared.split(recipe.test_split), prepared.split(recipe.train_split)

    def look(dataset: Dataset, rows: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields centre crops, and what fc8 reads of them: the outputs of fc7."""
        for start in range(0, len(rows), BATCH):
            indices = rows[start : start + BATCH]
            crops = centre_crop(len(indices), dataset.image_size, recipe.crop_size)
            pixels = dataset.gather(indices, crops.tops, crops.lefts, recipe.crop_size)
            inputs = to_input(pixels, crops, mean, recipe.input_scale)
            yield pixels, model.forward_head(model.forward_features(inputs), pre_logits=True)

    shown = np.unique(np.linspace(0, len(test) - 1, IMAGES).astype(int))
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:searched])
    pixels, features = (torch.cat(parts) for parts in zip(*look(test, shown), strict=True))
    stored = torch.cat([found for _, found in look(train, rows)])
    # The faster matrix product would lose the small distances between features that are nearly alike.
    distance = torch.cdist(features[:QUERIES], stored, compute_mode="donot_use_mm_for_euclid_dist")
    order = distance.argsort(dim=1)[:, :NEIGHBOURS].numpy()
    found = rows[order]  # (queries, NEIGHBOURS) indices into the training set
    crops = centre_crop(found.size, train.image_size, recipe.crop_size)
    near = train.gather(found.ravel(), crops.tops, crops.lefts, recipe.crop_size).numpy()
    near = near.reshape(*found.shape, *near.shape[1:])
    return Examples(
        pictures=pixels.numpy(),
        probabilities=model.fc8(features).softmax(1).numpy(),
        labels=test.labels[shown],
        classes=classes,
        nearest=np.concatenate([pixels[:QUERIES, None].numpy(), near], axis=1),
        nearest_labels=np.concatenate([test.labels[shown][:QUERIES, None], train.labels[found]], axis=1),
        searched=len(rows),
    )


def class_name(label: str) -> str:
    """Names a class as a reader knows it: by the words of its WordNet id, else by the label itself."""
    if label[:1] == "n" and label[1:].isdigit():
        try:
            return ImageNetInfo("imagenet-22k").label_name_to_description(label).split(",")[0]
        except KeyError:
            return label
    return label


@styled
def predictions(examples: Examples) -> Figure:
    """Draws Figure 4, left: each test image with its five most probable classes, the correct one black and marked."""
    count = len(examples.pictures)
    down = -(-count // 2)
    figure = new_figure(height=0.95 * down)
    grid = figure.subplots(down, 4, width_ratios=[1, 1.25, 1, 1.25], squeeze=False).reshape(-1, 2)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, (picture_axes, axes) in enumerate(grid[:count]):
        picture_axes.imshow(examples.pictures[number])
        picture_axes.set_title(_short(examples.classes[examples.labels[number]]), fontsize=6.5, pad=2)
        top = np.argsort(-examples.probabilities[number])[:5]
        shares = examples.probabilities[number][top]
        right = top == examples.labels[number]
        axes.barh(range(len(top)), shares, 0.35, color=np.where(right, BLACK, "#BBBBBB"), edgecolor=BLACK, lw=0.4)
        axes.set(xlim=(0, 1), ylim=(len(top) - 0.4, -0.9))
        for row, (label, correct) in enumerate(zip(top, right, strict=True)):
            text = _short(examples.classes[label]) + (" ✓" if correct else "")
            axes.text(0, row - 0.24, text, fontsize=5.6, va="bottom", weight="bold" if correct else "normal")
    return figure


def _short(label: str) -> str:
    name = class_name(label)
    return name if len(name) <= 18 else name[:17] + "…"


@styled
def neighbours(examples: Examples) -> Figure:
    """Draws Figure 4, right: test images in the first column, then the training images nearest to each in fc7."""
    rows, across = examples.nearest.shape[:2]
    figure = new_figure(height=0.25 + 3.3 * rows / (across + 0.25))
    grid = figure.subplots(rows, across + 1, squeeze=False, width_ratios=[1, 0.25] + [1] * (across - 1))
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row in range(rows):
        for column, axes in enumerate(np.delete(grid[row], 1)):  # a gap behind the test image
            axes.imshow(examples.nearest[row, column])
            if examples.nearest_labels[row, column] != examples.nearest_labels[row, 0]:
                box = dict(fc="white", ec=BLACK, lw=0.5, pad=1)
                axes.text(0.04, 0.95, "×", transform=axes.transAxes, va="top", fontsize=7, weight="bold", bbox=box)
    figure.suptitle("test image, and the nearest in training (×: of another class)", fontsize=7)
    return figure
