"""Draws all figures of a report, once, as PNG and SVG."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.data.prepared.store import PREPARED
from alexnet_zoo.errors import UserError
from alexnet_zoo.models.alexnet import AlexNet
from alexnet_zoo.report import retrieval
from alexnet_zoo.report.diagram import figure2
from alexnet_zoo.report.figures import challenge_chart, data_of, figure1, learning_curves, starts, to_bytes
from alexnet_zoo.report.kernels import figure3, load_kernels, selectivity
from alexnet_zoo.report.measured import Results, RunRecord, last_known
from alexnet_zoo.report.mistakes import SHOWN, confusion_figure, confusion_of, wrong_figure, wrong_guesses
from alexnet_zoo.report.networks import image_size, layers_of, network_of
from alexnet_zoo.report.paper import Paper
from alexnet_zoo.report.retrieval import class_name
from alexnet_zoo.report.tradeoff import errors_of, latencies_of, said_of, tradeoff
from alexnet_zoo.study.measures import predictions_of

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
    data: str = ""  # what its lines show, as CSV


def _drawn(figure: Figure, name: str, title: str, caption: str, alt: str, **of) -> Picture:
    of = dict(data=data_of(figure)) | of
    return Picture(name, title, caption, alt, to_bytes(figure, "png"), to_bytes(figure, "svg"), **of)


def draw(paper: Paper, results: Results, predictions: bool = False) -> list[Picture]:
    """Draws every figure that these results allow; names in results.problems what cannot be drawn, and why.

    Args: predictions, whether to draw Figure 4, for which each run's network looks at some 2,000 images.
    """
    pictures = [_challenge(paper, results), *_figure1(paper, results), *_starts(results), *_figure2(paper, results)]
    kinds = [_tradeoff, _curves, _errors, _figure3, *([_figure4] if predictions else [])]
    for draw_run, run in itertools.product(kinds, results.runs[:DRAWN]):
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
        "A column for each recipe. Training loss of a batch by step, over that of guessing among the run's classes "
        "(the dotted line). Below, the norm of the first and the last layer's gradient, and the share of units that "
        "were above zero for no image of the batch, in the two layers that have most of them (column 0)."
    )
    last = "; ".join(f"{run.name} {run.lines('metrics')[-1]['loss']:.2f}" for run in runs)
    yield _drawn(starts(runs), "starts", "How training starts", caption, f"The last batch's loss: {last}.")


def _figure2(paper: Paper, results: Results) -> Iterator[Picture]:
    """Draws the one network that all runs have, else the paper's; none where no run has such a network."""
    networks = {}
    for run in results.runs or [None]:
        try:
            model = network_of(run)
        except UserError as error:
            results.problems.append(str(error))
            continue
        if isinstance(model, AlexNet):  # neither one of the four-layer networks of Figure 1, nor of unknown classes
            size = image_size(run) if run else 224
            networks[f"{model} {size}"] = (model, size)
    if not networks:
        return
    model, size = networks.popitem()[1] if len(networks) == 1 else (network_of(), 224)
    layers, papers = layers_of(model, size), layers_of(network_of())
    printed = next(count.published for count in paper.count if count.id == "neurons_by_layer")
    shapes = [[(layer.shape, layer.columns) for layer in each] for each in (layers, papers)]
    published = dict(zip([layer.name for layer in papers], printed[1:])) if shapes[0] == shapes[1] else {}
    alt = "; ".join(
        f"{layer.name} {layer.size}"
        + (" in each of two columns" if layer.columns == 2 else "")
        + (", reads both columns" if layer.reads_both else "")
        for layer in layers
    )
    caption = "Drawn from the list of layers itself; sizes are not to scale. A square is a kernel, on what it reads."
    yield _drawn(figure2(model, size, published), "figure2", "Figure 2: the network", caption, f"{size} pixels: {alt}.")


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


def _tradeoff(run: RunRecord) -> Iterator[Picture]:
    rows, errors = latencies_of(run), errors_of(run)
    figure = tradeoff(rows, errors)
    if figure:
        said = "; ".join(f"{name} {result.top1_err:.1f}%" for name, result in errors.items())
        caption = (
            "Export targets of one network. Error with the centre crop of "
            f"{next(iter(errors.values())).images:,} images, with 95% intervals. {said_of(rows)}"
        )
        title = f"Accuracy against latency: {run.name}"
        yield _drawn(figure, f"latency-{run.name}", title, caption, f"Top-1 error by target: {said}.", run=run.name)


def _errors(run: RunRecord) -> Iterator[Picture]:
    """Draws where a run errs, from its predictions, and the photographs of its worst errors where its data is."""
    views = max((result.views for result in run.results), default=1)
    if not any((run.folder / f"predictions-{views}.{kind}").is_file() for kind in ("npz", "csv")):
        return
    predictions = predictions_of(run.folder, views)
    found = confusion_of(predictions, run.data["classes"])
    worst, seen = found.worst(), "ten crops" if views == 10 else "the centre crop"
    caption = (
        f"With {seen}. Left: what images of each class were taken for, in percent ({len(worst[:SHOWN])} of "
        f"{len(worst)} classes, the worst first). Right: each class's error with its 95% interval and its images."
    )
    alt = ", ".join(f"{class_name(found.classes[k])} {found.errors[k]:.1f}%" for k in worst[:SHOWN])
    title, stem, look = f"Where {run.name} errs", f"errors-{run.name}", dict(run=run.name)
    yield _drawn(confusion_figure(found), stem, title, caption, f"Error by class: {alt}.", **look)

    folder = Path(run.data.get("folder", ""))
    if (folder / PREPARED).is_file():
        guesses = wrong_guesses(predictions, open_prepared(folder).split(run.recipe.get("test_split", "val")))
        if guesses:
            of = f"{guesses.wrong:,} wrong of {guesses.images:,}"
            caption = f"The {len(guesses.right)} wrong first guesses of the highest probability ({of}), with {seen}."
            alt = "; ".join(f"{guess}, which is {right}" for right, guess in zip(guesses.right, guesses.guessed))
            title, stem = f"Most confident and wrong: {run.name}", f"wrong-{run.name}"
            yield _drawn(wrong_figure(guesses), stem, title, caption, f"Guesses: {alt}.", photographic=True, **look)


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
    caption = (
        "Test images with their five most probable classes, from 0 to 1; the correct one in black, with a tick. Of "
        f"{examples.looked_at:,} test images at even steps, {examples.wrong:,} are named wrongly; shown are up to "
        f"{retrieval.WRONG} of these, the rest are named rightly, both again at even steps."
    )
    alt = f"Correct class, then first guess, of each image: {said}."
    title = f"Figure 4, left: predictions of {run.name}"
    yield _drawn(retrieval.predictions(examples), f"figure4-left-{run.name}", title, caption, alt, **look)

    near = examples.nearest_labels[:, 1:]
    same = int((near == examples.nearest_labels[:, :1]).sum())
    caption = (
        f"The nearest of {examples.searched:,} training images, drawn at random, and their Euclidean distance in fc7; "
        "the test images are the first of those above."
    )
    alt = f"{len(near)} test images, {near.shape[1]} training images for each; {same} of {near.size} are of its class."
    title = f"Figure 4, right: what {run.name} finds alike"
    yield _drawn(retrieval.neighbours(examples), f"figure4-right-{run.name}", title, caption, alt, **look)
