"""Draws where a network errs: which class it takes for which, each class's error, its most confident wrong guesses."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alexnet_zoo.data.prepared.dataset import Dataset
from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.figures import BLACK, BLUE, COLUMN_WIDTH, GREY, new_figure, styled
from alexnet_zoo.report.retrieval import class_name
from alexnet_zoo.study.measures import Predictions

SHOWN = 30  # classes in the matrix: those of the most errors, where there are more
WRONG = 12  # photographs


@dataclass(frozen=True)
class Confusion:
    """Counts first guesses: classes, their names; counts (classes, guesses), a row for each right class."""

    classes: list[str]
    counts: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """Counts each class's images."""
        return self.counts.sum(axis=1)

    @property
    def errors(self) -> np.ndarray:
        """Computes each class's error in percent."""
        return 100 * (1 - np.diag(self.counts) / np.maximum(self.images, 1))

    def worst(self) -> np.ndarray:
        """Orders the classes by falling error; those without an image are left out."""
        order = np.argsort(-self.errors, kind="stable")
        return order[self.images[order] > 0]


def confusion_of(predictions: Predictions, classes: list[str]) -> Confusion:
    """Counts for each class how many of its images have which first guess."""
    counts = np.zeros((len(classes),) * 2, int)
    np.add.at(counts, (predictions.labels, predictions.first), 1)
    return Confusion(classes, counts)


@styled
def confusion_figure(found: Confusion) -> Figure:
    """Draws the matrix, in percent of each right class's images, and beside it each class's error with its interval."""
    order = found.worst()[:SHOWN]
    names = [class_name(found.classes[k]) for k in order]
    share = 100 * found.counts[np.ix_(order, order)] / found.images[order, None]
    figure = new_figure(0.9 + 0.19 * max(len(order), 4), 2 * COLUMN_WIDTH)
    matrix, bars = figure.subplots(1, 2, width_ratios=[1.25, 1], sharey=True)
    _matrix(matrix, share, names)
    for row, k in enumerate(order):
        error, images = found.errors[k], int(found.images[k])
        low, high = wilson(error, images)
        bars.plot([low, high], [row, row], color=BLACK, lw=1)
        bars.plot([error], [row], "o", color=BLUE, mec=BLACK, mew=0.5, ms=4)
        place = dict(xycoords=("axes fraction", "data"), ha="right", va="center")
        bars.annotate(f"n = {images:,}", (1, row), fontsize=6, **place)
    highest = max(wilson(found.errors[k], int(found.images[k]))[1] for k in order)
    whole = 100 * (1 - np.trace(found.counts) / found.counts.sum())
    bars.axvline(whole, color=GREY, lw=0.8, ls=":")
    bars.set(xlim=(0, 1.3 * highest), xlabel=f"top-1 error, %; dotted: all classes, {whole:.1f}")
    bars.tick_params("y", length=0)
    return figure


def _matrix(axes: Axes, share: np.ndarray, names: list[str]) -> None:
    """Draws percent of each row, stronger for more; the diagonal, what is right, has no colour."""
    highest = max(share[~np.eye(len(share), dtype=bool)].max(initial=0), 1)
    for (row, column), value in np.ndenumerate(share):
        if row != column and value > 0:
            look = dict(fc=BLUE, lw=0, alpha=0.75 * value / highest)  # seen through it: the page, light or dark
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
        if value >= 0.5 and len(share) <= 15:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, weight=weight)
    axes.set(xlim=(-0.5, len(share) - 0.5), ylim=(len(share) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_xticks(range(len(names)), names, fontsize=6, rotation=60, ha="right", rotation_mode="anchor")
    axes.set(xlabel="first guess, % of the class's images", ylabel="right class")
    axes.tick_params(length=0)


@dataclass(frozen=True)
class WrongGuesses:
    """Holds the most confident wrong first guesses: pictures (n, size, size, 3), what each is, what was guessed."""

    pictures: np.ndarray
    right: list[str]
    guessed: list[str]
    confidence: list[float]  # the guess's probability
    wrong: int  # how many first guesses are wrong, of `images`
    images: int


def wrong_guesses(predictions: Predictions, dataset: Dataset) -> WrongGuesses | None:
    """Picks the wrong first guesses of the highest probability; None where none is wrong, or other images were seen.

    The pictures are the prepared images, whole, of which the network saw crops.
    """
    wrong = np.flatnonzero(predictions.wrong)
    if not len(wrong) or not np.array_equal(predictions.labels, dataset.labels):
        return None
    picked = wrong[np.argsort(-predictions.confidence[wrong].astype(int), kind="stable")][:WRONG]
    corner = [0] * len(picked)
    names = [class_name(label) for label in dataset.classes]
    return WrongGuesses(
        pictures=dataset.gather(picked, corner, corner, dataset.image_size).numpy(),
        right=[names[k] for k in predictions.labels[picked]],
        guessed=[names[k] for k in predictions.first[picked]],
        confidence=(predictions.confidence[picked] / 1e4).tolist(),
        wrong=len(wrong),
        images=len(dataset),
    )


@styled
def wrong_figure(found: WrongGuesses) -> Figure:
    """Draws each image with the guess, its probability, and what it is."""
    across = 6
    down = -(-len(found.pictures) // across)
    figure = new_figure(1.35 * down, 2 * COLUMN_WIDTH)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, right, guess, share in zip(grid, found.pictures, found.right, found.guessed, found.confidence):
        axes.imshow(picture)
        axes.set_title(f"{guess[:20]}, {100 * share:.0f}%\nis {right[:20]}", fontsize=6, pad=2)
    return figure
