"""The paper's other claims, each with its measured effect and a verdict."""

import math
from collections.abc import Callable

from alexnet_zoo.report.diagram import network_of
from alexnet_zoo.report.formats import Cell, Code, Column, Figure, Table
from alexnet_zoo.report.intervals import difference
from alexnet_zoo.report.kernels import load_kernels, selectivity
from alexnet_zoo.report.paper import Claim, MeasuredBy, Metric, Paper
from alexnet_zoo.report.recipes import changed
from alexnet_zoo.report.results import Result, Results, Run
from alexnet_zoo.report.tables import measurements

VERDICTS = (
    "Verdicts. reproduced: the 95% interval excludes zero and holds the published effect (or the effect is beyond a "
    "published bound). same direction: it excludes zero, but does not hold the published effect; or there is no "
    "interval. not resolved: the interval includes zero. contradicted: the opposite sign."
)
PAIRS = (
    "The interval of a difference (Newcombe) takes the two measurements for independent; on the same images it is "
    "wider than need be. Several runs of one recipe are compared in the order given, never averaged."
)

Effect = tuple[Figure, str]  # the figure, and how it was measured


def claims_table(paper: Paper, results: Results) -> Table:
    """One line for each claim, error measure and pair of runs."""
    columns = [
        Column("claim", "Claim", width=0.24),
        Column("section", "Section", width=0.08),
        Column("quantity", "Quantity", width=0.14),
        Column("published", "Published", numeric=True, width=0.12),
        Column("authors", "Authors' own run", numeric=True),
        Column("measured", "Measured", numeric=True, interval=True),
        Column("verdict", "Verdict"),
        Column("measured_on", "Measured on, or the command that measures it", aside=True),
    ]
    rows = [line for claim in paper.claim for line in _lines(paper, claim, results)]
    return Table("claims", "The paper's other claims", columns, rows, [VERDICTS, PAIRS])


def _lines(paper: Paper, claim: Claim, results: Results) -> list[list[Cell]]:
    if claim.kind == "error":
        metrics: list[Metric] = [m for m in ("top1", "top5") if _states(paper, claim, m)]
        quantities = [(f"{metric[:3]}-{metric[3:]} error, points", metric) for metric in metrics]
    else:
        quantities = [(QUANTITIES[claim.kind], None)]
    lines = []
    for quantity, metric in quantities:
        published = _published(paper, claim, metric)
        authors = paper.authors_effect(claim, metric) if metric else None
        for effect, how in _measure(claim, metric, results) or [(None, "")]:
            number = published.value if isinstance(published, Figure) else None
            verdict = verdict_of(claim, number, effect)
            lines.append([
                claim.claim, claim.section, quantity, published,
                None if authors is None else Figure(authors, 2, signed=True),
                effect, verdict, how or Code(claim.command),
            ])  # fmt: skip
    return lines


def _states(paper: Paper, claim: Claim, metric: Metric) -> bool:
    """Whether the paper gives this error's effect; a claim in words alone is measured on top-1."""
    if paper.published_effect(claim, metric) is not None:
        return True
    return metric == "top1" and not claim.rows


def _published(paper: Paper, claim: Claim, metric: Metric | None) -> Cell:
    words = claim.published.words if claim.published else None
    value = paper.published_effect(claim, metric) if metric else claim.published.ratio
    return words if value is None else Figure(value, signed=claim.unit == "points", words=words)


def verdict_of(claim: Claim, published: float | None, effect: Figure | None) -> str | None:
    """How the measured effect stands to the published one; see VERDICTS."""
    if effect is None:
        return None
    if claim.kind == "colour":
        return "reproduced" if effect.value > 0 else "not resolved"
    zero = 1.0 if claim.unit == "ratio" else 0.0
    if published is None:
        zero, published = claim.published.below, -math.inf
    if effect.low is not None and effect.low <= zero <= effect.high:
        return "not resolved"
    if (effect.value < zero) != (published < zero):
        return "contradicted"
    if effect.low is None or not math.isfinite(published):
        return "same direction"
    beyond = claim.published is not None and claim.published.at_least and abs(effect.value) >= abs(published)
    return "reproduced" if beyond or effect.low <= published <= effect.high else "same direction"


def _measure(claim: Claim, metric: Metric | None, results: Results) -> list[Effect]:
    if claim.kind == "error":
        return [effect for pair in claim.pairs for effect in _error_effects(claim, metric, pair, results.results)]
    measure = MEASURES.get(claim.kind)
    if measure is None:
        return []
    effects = []
    for pair in claim.pairs:
        fitting = [run for run in results.runs if claim.identity in run.verified and not changed(run.recipe)]
        sides = [[run for run in fitting if run.recipe_name == name] for name in pair]
        for runs in zip(*sides, strict=False):
            figure = measure(*runs)
            if figure is not None:
                effects.append((figure, f"{claim.identity}, runs {' and '.join(run.name for run in runs)}"))
    return effects


def _error_effects(claim: Claim, metric: Metric, pair: list[str], results: list[Result]) -> list[Effect]:
    first, second = (
        measurements(
            results,
            MeasuredBy(identity=claim.identity, split=claim.identity.split()[-1], views=views, recipes=[recipe]),
        )
        for recipe, views in zip(pair, claim.views, strict=True)
    )
    if pair[0] == pair[1]:  # the same network, with other views
        by_network = {result.onnx_sha256: result for result in second}
        couples = [(result, by_network[result.onnx_sha256]) for result in first if result.onnx_sha256 in by_network]
    else:
        couples = list(zip(first, second, strict=False))
    effects = []
    for a, b in couples:
        error_a, error_b = getattr(a, f"{metric}_err"), getattr(b, f"{metric}_err")
        low, high = difference(error_a, a.images, error_b, b.images)
        figure = Figure(error_a - error_b, 2, low, high, signed=True)
        effects.append((figure, f"{a.how}; less {b.recipe}, views {b.views}"))
    return effects


# ---- what a run's own files say


def _ratio(count: Callable[[Run], float | None]) -> Callable[[Run, Run], Figure | None]:
    def measure(first: Run, second: Run) -> Figure | None:
        a, b = count(first), count(second)
        return Figure(a / b, 2) if a and b else None

    return measure


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _seconds_per_image(run: Run) -> float | None:
    speed = _mean(run.column("images_per_s"))
    return 1 / speed if speed else None


def _time(first: Run, second: Run) -> Figure | None:
    """Only runs on one kind of device compare."""
    if first.environment.get("device") != second.environment.get("device"):
        return None
    return _ratio(_seconds_per_image)(first, second)


def _train_error(first: Run, second: Run) -> Figure | None:
    ends = [next((v for v in reversed(run.column("train_top1")) if not math.isnan(v)), None) for run in (first, second)]
    return None if None in ends else Figure(ends[1] - ends[0], 2, signed=True)  # correct, so the other way round


def _data_wait(run: Run) -> Figure | None:
    share = _mean(run.column("data_wait"))
    return None if share is None else Figure(share, 3)


def _colour(run: Run) -> Figure | None:
    """The columns' colour indices; as a number, how far they are apart where that is more than chance."""
    if run.weights is None:
        return None
    columns = network_of(run).columns
    if columns < 2:
        return None
    found = selectivity(load_kernels(run.weights), columns)
    apart = max(found.columns) - min(found.columns) if found.specialised else 0.0
    return Figure(apart, 2, words=" / ".join(f"{index:.2f}" for index in found.columns))


QUANTITIES = {
    "epochs_to_25": "epochs to 25%, ratio",
    "epochs_to_best": "epochs to the best error, ratio",
    "train_error": "last training error, points",
    "time": "time an image, ratio",
    "data_wait": "share of the step",
    "colour": "colour index of each column",
    "picture": "picture",
}
MEASURES: dict[str, Callable] = {
    "epochs_to_25": _ratio(lambda run: run.epochs_to_train_error(25.0)),
    "epochs_to_best": _ratio(Run.epochs_to_best),
    "train_error": _train_error,
    "time": _time,
    "data_wait": _data_wait,
    "colour": _colour,
}
