"""Draws Figure 3, the kernels of conv1 column by column, and measures how specific to colour each column is (6.1)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.figures import new_figure, styled
from alexnet_zoo.study.summary import AGNOSTIC, SPECIFIC

SAID = {
    "reproduced": "one column largely without colour, one of colour",
    "differ more than chance": "the columns differ more than chance, no more",
    "not resolved": "the columns differ no more than by chance",
}
PERMUTATIONS = 10_000
BY_CHANCE = 0.01
ACROSS = 16  # kernels in a row, as the paper prints them


@dataclass(frozen=True)
class Selectivity:
    """Holds each column's colour index, 0 (greyscale) to 1 (colour only), and what chance does (see `selectivity`)."""

    columns: list[float]
    p_value: float
    by_chance: float

    @property
    def verdict(self) -> str:
        """Says how far the columns came towards section 6.1's finding: one largely without colour, one of colour."""
        if self.p_value >= BY_CHANCE:
            return "not resolved"
        found = min(self.columns) < AGNOSTIC and max(self.columns) > SPECIFIC
        return "reproduced" if found else "differ more than chance"


def load_kernels(weights: Path) -> np.ndarray:
    """Reads conv1.weight (K, 3, h, w) of a model.safetensors; raises UserError where the file lacks it."""
    try:
        with safe_open(weights, "np") as file:  # which reads this tensor only, of some 240 MB
            kernels = file.get_tensor("conv1.weight") if "conv1.weight" in file.keys() else None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights}: not a readable safetensors file ({error})") from error
    if kernels is None or kernels.ndim != 4 or kernels.shape[1] != 3:
        raise UserError(f"{weights}: has no conv1.weight over three colours")
    return kernels.astype(np.float64)


def energies(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes each kernel's energy (sum of squares), (K,): the energy of its colour, and all.

    A kernel is its mean over the colours, which sees only grey, plus the rest, which sees only colour; the two are
    orthogonal, so their energies add up.
    """
    colour = kernels - kernels.mean(axis=1, keepdims=True)
    return (colour**2).sum(axis=(1, 2, 3)), (kernels**2).sum(axis=(1, 2, 3))


def selectivity(kernels: np.ndarray, columns: int = 2) -> Selectivity:
    """Computes each column's colour index: the share of its kernels' energy that is in colour, 2/3 by chance.

    The p-value says how often columns dealt at random from the same kernels differ as much (a permutation test on the
    span between the highest and the lowest index); by_chance, by how much they differ on average.
    """
    colour, total = energies(kernels)

    def span(order: np.ndarray) -> np.ndarray:
        share = colour[order].reshape(-1, columns, len(colour) // columns).sum(2)
        index = share / total[order].reshape(share.shape + (-1,)).sum(2)
        return index.max(1) - index.min(1)

    order = np.arange(len(colour))
    deals = np.random.default_rng(0).permuted(np.tile(order, (PERMUTATIONS, 1)), axis=1)
    spans = span(deals)
    as_often = int((spans >= span(order[None])[0] - 1e-12).sum())
    halves = np.split(order, columns)
    index = [float(colour[half].sum() / total[half].sum()) for half in halves]
    p_value = (as_often + 1) / (PERMUTATIONS + 1) if columns > 1 else 1.0
    return Selectivity(index, p_value, float(spans.mean()))


@styled
def figure3(kernels: np.ndarray, columns: int = 2) -> Figure:
    """Draws each column's kernels in a block, with its colour index; grey is zero, each kernel has its own scale."""
    found = selectivity(kernels, columns)
    blocks = [_mosaic(block) for block in np.split(kernels, columns)]
    shape = blocks[0].shape
    figure = new_figure(height=0.3 + columns * (0.25 + 3.1 * shape[0] / shape[1]))
    for number, (block, axes) in enumerate(zip(blocks, np.ravel(figure.subplots(columns, 1)), strict=True)):
        axes.imshow(block, interpolation="nearest")
        axes.set_title(f"column {number + 1}: colour index {found.columns[number]:.2f}", loc="left")
        axes.set_axis_off()
    if columns > 1:
        figure.supxlabel(f"{SAID[found.verdict]} (p = {found.p_value:.2g})", fontsize=7)
    return figure


def _mosaic(kernels: np.ndarray) -> np.ndarray:
    """Makes one picture of kernels (K, 3, h, w), floats 0 to 1, with one pixel of white between them."""
    count, _, height, width = kernels.shape
    scale = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    pictures = (0.5 + 0.5 * kernels / np.where(scale > 0, scale, 1)).transpose(0, 2, 3, 1)
    across = min(ACROSS, count)
    down = -(-count // across)
    canvas = np.ones((down * (height + 1) - 1, across * (width + 1) - 1, 3))
    for number, picture in enumerate(pictures):
        top, left = number // across * (height + 1), number % across * (width + 1)
        canvas[top : top + height, left : left + width] = picture
    return canvas
