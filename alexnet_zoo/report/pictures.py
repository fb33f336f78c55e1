"""Draws all figures of a report, once, as PNG and SVG."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.report import retrieval
from alexnet_zoo.report.diagram import figure2, layers_of, network_of
from alexnet_zoo.report.figures import challenge_chart, figure1, learning_curves, starts, to_bytes
from alexnet_zoo.report.kernels import figure3, load_kernels, selectivity
from alexnet_zoo.report.measured import Results, RunRecord, last_known
from alexnet_zoo.report.paper import Paper

FIGURE1 = {"figure1-relu": "ReLU", "figure1-tanh": "tanh"}  # by the name of the recipe
DRAWN = 24  # runs that get figures of their own: those of hundreds would take minutes to draw


@dataclass(frozen=True)
class Picture:
    """Holds a drawn figure.

    Attributes: name, the file's stem; caption, what the reader should know beside it; alt, what it shows, in words;
    run, the name of the run that it shows, or "".
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: bytes
    photographic: bool = False  # better shown as PNG
    run: str = ""


def _drawn(figure: Figure, name: str, title: str, caption: str, alt: str, **of) -> Picture:
    return Picture(name, title, caption, alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), **of)


def draw(paper: Paper, results: Results, predictions: bool = False) -> list[Picture]:
    """Draws every figure that these results allow; names in results.problems what cannot be drawn, and why.

    Args: predictions, whether to draw Figure 4, for which each run's network looks at some 2,000 images.
    """
    pictures = [_challenge(paper, results), *_figure1(paper, results), *_starts(results)]
    kinds = [_curves, _figure3, *([_figure4] if predictions else [])]
    tasks = [(_figure2, run) for run in _one_for_each_network(results.runs[:DRAWN])]
    for draw_run, run in [*tasks, *itertools.product(kinds, results.runs[:DRAWN])]:
        try:
            pictures += draw_run(run)
        except UserError as error:
            results.problems.append(str(error))
    if len(results.runs) > DRAWN:
        results.problems.append(f"figures of runs: only of the first {DRAWN} of {len(results.runs)}; name fewer runs")
    return pictures


def _challenge(paper: Paper, results: Results) -> Picture:
    years = ", ".join(f"{year}: {error:g}%" for year, _, error in paper.best_top5())
    title = "The challenge's best top-5 error"
    caption = "Published test errors, 2010 to 2015, and the best network measured on the 2012 validation set, if any."
    figure = challenge_chart(paper, results.results)
    return _drawn(figure, "challenge", title, caption, f"Bar chart by year. {years}.")


def _figure1(paper: Paper, results: Results) -> Iterator[Picture]:
    claim = next(claim for claim in paper.claim if claim.id == "relu")
    pair = claim.pairs[0]
    by_seed = sorted(results.runs, key=lambda run: run.recipe.get("seed", 0))
    runs = [(FIGURE1[name], run) for name in reversed(pair) for run in by_seed if run.recipe_name == name]
    figure = figure1(runs, claim.published.ratio) if {run.recipe_name for _, run in runs} == set(pair) else None
    if figure:
        data = sorted({run.data_name.removesuffix(" test") for _, run in runs})
        rates = ", ".join(sorted({f"{label} {run.recipe.get('lr', 0):g}" for label, run in runs}))
        caption = f"Error on the training images of {', '.join(data)} by epoch. Rates: {rates}."
        labels = dict.fromkeys(label for label, _ in runs)
        alt = f"Training error of {' and '.join(labels)}, {figure.axes[0].get_title()}."
        yield _drawn(figure, "figure1", "Figure 1: ReLU against tanh", caption, alt)


def _starts(results: Results) -> Iterator[Picture]:
    runs = [run for run in results.runs if run.lines("layers") and (run.classes or 0) > 1][:DRAWN]
    if not runs:
        return
    caption = (
        "Training loss of a batch by step, over that of guessing among the run's classes (the dotted line). Below, for "
        "each run, the norm of each layer's gradient, and the share of its units that were above zero for no image of "
        "the batch (column 0)."
    )
    last = "; ".join(f"{run.name} {run.lines('metrics')[-1]['loss']:.2f}" for run in runs)
    yield _drawn(starts(runs), "starts", "How training starts", caption, f"The last batch's loss: {last}.")


def _one_for_each_network(runs: list[RunRecord]) -> list[RunRecord | None]:
    """Picks the first run of each network; where there is no run, None, which stands for the paper's network."""
    networks: dict[str, RunRecord] = {}
    for run in runs:
        networks.setdefault(repr([run.recipe.get("model"), run.recipe.get("model_args"), run.classes]), run)
    return list(networks.values()) or [None]


def _figure2(run: RunRecord | None) -> Iterator[Picture]:
    recipe = run.recipe if run else {}
    name, size = recipe.get("model", "alexnet_krizhevsky"), recipe.get("model_args", {}).get("img_size", 224)
    model = network_of(run)
    if not isinstance(model, AlexNet):  # one of the four-layer networks of Figure 1, or of unknown classes
        return
    alt = "; ".join(
        f"{layer.name} {layer.size}"
        + (" in each of two columns" if layer.columns == 2 else "")
        + (", reads both columns" if layer.reads_both else "")
        for layer in layers_of(model, size)
    )
    stem, of = (f"figure2-{run.name}", f" of {run.name}") if run else ("figure2", "")
    title = f"Figure 2: {name}{of}"
    caption = "Drawn from the model itself. Arrows cross where the columns meet."
    yield _drawn(figure2(model, size), stem, title, caption, f"From {size} pixels: {alt}.")


def _curves(run: RunRecord) -> Iterator[Picture]:
    figure = learning_curves(run) if run.recipe_name not in FIGURE1 else None
    if figure:
        last = last_known(run.errors("eval"))
        said = "not recorded" if last is None else f"{last:.1f}%"
        alt = f"Errors by epoch over {len(run.curve)} epochs; the last top-1 {run.held_out} error is {said}."
        caption = f"Training error on augmented crops, with dropout; {run.held_out} error on the centre crop."
        yield _drawn(figure, f"curves-{run.name}", f"Learning curves of {run.name}", caption, alt, run=run.name)


def _figure3(run: RunRecord) -> Iterator[Picture]:
    network = network_of(run) if run.weights else None
    if not isinstance(network, AlexNet):
        return
    kernels, columns = load_kernels(run.weights), network.columns
    found = selectivity(kernels, columns)
    index = " and ".join(f"{value:.2f}" for value in found.columns)
    caption = (
        "Colour index: the share of the kernels' energy in colour, 0 for grey, 2/3 by chance, 1 for colour alone. "
        "p: how often columns dealt at random from these kernels differ as much."
    )
    alt = f"The {len(kernels)} kernels of conv1. Colour index by column: {index}. p = {found.p_value:.2g}."
    title, look = f"Figure 3: conv1 of {run.name}", dict(photographic=True, run=run.name)
    yield _drawn(figure3(kernels, columns), f"figure3-{run.name}", title, caption, alt, **look)


def _figure4(run: RunRecord) -> Iterator[Picture]:
    if run.weights is None or not run.data.get("folder"):
        return
    examples = retrieval.examine(run.folder, open_prepared(Path(run.data["folder"])))
    look = dict(photographic=True, run=run.name)

    best = examples.probabilities.argmax(1)
    said = "; ".join(
        f"{retrieval.class_name(examples.classes[label])}: {retrieval.class_name(examples.classes[guess])}"
        for label, guess in zip(examples.labels, best, strict=True)
    )
    caption = "Test images with their five most probable classes; the correct one in black, with a tick."
    alt = f"Correct class, then first guess, of each image: {said}."
    title = f"Figure 4, left: predictions of {run.name}"
    yield _drawn(retrieval.predictions(examples), f"figure4-left-{run.name}", title, caption, alt, **look)

    near = examples.nearest_labels[:, 1:]
    same = int((near == examples.nearest_labels[:, :1]).sum())
    caption = f"The nearest of {examples.searched:,} training images by Euclidean distance in fc7."
    alt = f"{len(near)} test images, {near.shape[1]} training images for each; {same} of {near.size} are of its class."
    title = f"Figure 4, right: what {run.name} finds alike"
    yield _drawn(retrieval.neighbours(examples), f"figure4-right-{run.name}", title, caption, alt, **look)
