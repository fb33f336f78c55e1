"""Draws Figure 4: a network's guesses at eight test images, and the training images it finds alike (6.1)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from timm.data import ImageNetInfo

from alexnet_zoo.data.batches.augment import Crops, centre_crop, to_input
from alexnet_zoo.data.prepared.dataset import Dataset, Prepared
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.report.figures import BLACK, new_figure, styled
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.run import open_run

IMAGES, QUERIES, NEIGHBOURS = 8, 5, 6  # as many as the paper shows
SEARCHED = 2000  # training images searched, drawn once and for all; the paper searches all of them
LOOKED_AT = 400  # test images at even steps, from which those that are shown are chosen
WRONG = 3  # of the images shown, as many are named wrongly, where there are so many
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
    distances: np.ndarray  # (queries, NEIGHBOURS), Euclidean, in fc7
    searched: int
    looked_at: int  # test images from which those shown were chosen
    wrong: int  # of them are named wrongly


def examine(run: Path, prepared: Prepared, searched: int = SEARCHED) -> Examples:
    """Runs a trained network on test images, of which it shows some (`chosen`), and on training images.

    Args: run, a run folder with model.safetensors; prepared, its data; searched, how many training images at most.
    Raises UserError where the run's training has not ended.
    """
    recipe, model, classes, _ = open_run(run)
    mean = torch.from_numpy(prepared.mean.copy())
    test, train = prepared.split(recipe.test_split), prepared.split(recipe.train_split)
    some = even_steps(len(test), LOOKED_AT)
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:searched])
    features = fc7(model, recipe, mean, test, some)
    with torch.no_grad():
        probabilities = model.fc8(features).softmax(1).numpy()
    right = probabilities.argmax(1) == test.labels[some]
    shown = chosen(right)
    # The faster matrix product would lose the small distances between features that are nearly alike.
    stored, exact = fc7(model, recipe, mean, train, rows), "donot_use_mm_for_euclid_dist"
    distances, order = torch.cdist(features[shown[:QUERIES]], stored, compute_mode=exact).sort(dim=1)
    found = rows[order[:, :NEIGHBOURS].numpy()]  # (queries, NEIGHBOURS) indices into the training set
    pictures = centre_crops(test, some[shown], recipe.crop_size)[0].numpy()
    near = centre_crops(train, found.ravel(), recipe.crop_size)[0].numpy().reshape(*found.shape, *pictures.shape[1:])
    labels = test.labels[some[shown]]
    return Examples(
        pictures=pictures,
        probabilities=probabilities[shown],
        labels=labels,
        classes=classes,
        nearest=np.concatenate([pictures[:QUERIES, None], near], axis=1),
        nearest_labels=np.concatenate([labels[:QUERIES, None], train.labels[found]], axis=1),
        distances=distances[:, :NEIGHBOURS].numpy(),
        searched=len(rows),
        looked_at=len(some),
        wrong=int((~right).sum()),
    )


def centre_crops(dataset: Dataset, rows: np.ndarray, size: int) -> tuple[torch.Tensor, Crops]:
    """Cuts the centres out of images: uint8 (n, size, size, 3), and where they lie."""
    crops = centre_crop(len(rows), dataset.image_size, size)
    return dataset.gather(rows, crops.tops, crops.lefts, size), crops


@torch.no_grad()
def fc7(model: AlexNet, recipe: Recipe, mean: torch.Tensor, dataset: Dataset, rows: np.ndarray) -> torch.Tensor:
    """Computes what fc8 reads of the centre crops of images: the outputs of fc7 (n, units)."""
    model.eval()
    features = []
    for start in range(0, len(rows), BATCH):
        pixels, crops = centre_crops(dataset, rows[start : start + BATCH], recipe.crop_size)
        inputs = to_input(pixels, crops, mean, recipe.input_scale)
        features.append(model.forward_head(model.forward_features(inputs), pre_logits=True))
    return torch.cat(features)


def even_steps(count: int, most: int) -> np.ndarray:
    """Picks up to `most` of count things, at even steps from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def chosen(right: np.ndarray) -> np.ndarray:
    """Picks IMAGES of the images, WRONG of them named wrongly, each kind at even steps, mixed; in rising order.

    Args: right (n,), whether each image's first guess is right. Where one kind is short, the other fills up.
    """
    kinds = [np.flatnonzero(~right), np.flatnonzero(right)]
    wrong = min(len(kinds[0]), max(WRONG, IMAGES - len(kinds[1])))
    shares = zip(kinds, (wrong, IMAGES - wrong))
    return np.sort(np.concatenate([kind[even_steps(len(kind), most)] for kind, most in shares if most and len(kind)]))


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
    figure = new_figure(height=1.1 * down)
    grid = figure.subplots(down, 4, width_ratios=[1, 1.25, 1, 1.25], squeeze=False).reshape(-1, 2)
    for axes in [*grid[:, 0], *grid[count:, 1]]:
        axes.set_axis_off()
    for number, (picture_axes, axes) in enumerate(grid[:count]):
        picture_axes.imshow(examples.pictures[number])
        picture_axes.set_title(_short(examples.classes[examples.labels[number]]), fontsize=6.5, pad=2)
        top = np.argsort(-examples.probabilities[number])[:5]
        shares = examples.probabilities[number][top]
        right = top == examples.labels[number]
        axes.barh(range(len(top)), shares, 0.35, color=np.where(right, BLACK, "#BBBBBB"), edgecolor=BLACK, lw=0.4)
        axes.set(xlim=(0, 1), ylim=(len(top) - 0.4, -0.9), yticks=[], xticks=[0, 0.5, 1])
        axes.tick_params("x", labelsize=5, length=2, pad=1)
        axes.spines["left"].set_visible(False)
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
    figure = new_figure(height=0.25 + 3.3 * rows / (across + 0.25) + 0.12 * rows)
    grid = figure.subplots(rows, across + 1, squeeze=False, width_ratios=[1, 0.25] + [1] * (across - 1))
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row in range(rows):
        for column, axes in enumerate(np.delete(grid[row], 1)):  # a gap behind the test image
            axes.imshow(examples.nearest[row, column])
            if column:
                axes.set_title(f"{examples.distances[row, column - 1]:.3g}", fontsize=5.2, pad=1.5)
            if examples.nearest_labels[row, column] != examples.nearest_labels[row, 0]:
                box = dict(fc="white", ec=BLACK, lw=0.5, pad=1)
                axes.text(0.04, 0.95, "×", transform=axes.transAxes, va="top", fontsize=7, weight="bold", bbox=box)
    figure.suptitle("test image; the nearest in training, their distance (×: another class)", fontsize=6.5)
    return figure
