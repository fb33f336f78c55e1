"""The paper's other claims, each with its measured effect and a verdict."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from alexnet_zoo.errors import UserError
from alexnet_zoo.intervals import difference
from alexnet_zoo.pedigree import ended_with
from alexnet_zoo.report.formats import Cell, Code, Column, Figure, Table
from alexnet_zoo.report.kernels import load_kernels, selectivity
from alexnet_zoo.report.measured import Result, Results, RunRecord, mean_known
from alexnet_zoo.report.networks import network_of
from alexnet_zoo.report.paper import Claim, Metric, Paper
from alexnet_zoo.report.recipes import changed
from alexnet_zoo.report.studies import effect_of
from alexnet_zoo.report.tables import measurements
from alexnet_zoo.results import centre_error
from alexnet_zoo.study.study import Study
from alexnet_zoo.study.summary import Found

VERDICTS = (
    "Verdicts. reproduced: the 95% interval excludes zero and holds the published effect (or the effect is beyond a "
    "published bound). same direction: it excludes zero, but does not hold the published effect; or there is no "
    "interval. not resolved: the interval includes zero. contradicted: the opposite sign."
)
COLOURS = (
    "Colour index of conv1's kernels: the share of their energy in colour, 2/3 for noise. reproduced: one column under "
    "1/3, so mostly grey, the other over 2/3, so more colour than noise has; the two bounds are ours, the paper names "
    "none. differ more than chance: fewer than 1% of random deals of the kernels to columns differ as much."
)
PAIRS = (
    "The interval of a difference (Newcombe) takes the two measurements for independent; on the same images it is "
    "wider than need be. Several runs of one recipe are compared in the order given, never averaged."
)
STUDIES = (
    "Studies compare top-1 errors, each at its own scale. Their verdicts follow the rules under the first study's "
    "table, not those above."
)


class Measured(NamedTuple):
    figure: Figure
    verdict: str | None = None  # where it does not follow from the figure
    how: str = ""


Judged = tuple[Study, list[Found]]  # a study, and what each of its comparisons found


def claims_table(paper: Paper, results: Results, studies: Sequence[Judged] = ()) -> Table:
    """One line for each claim, error measure and pair of runs; what studies found beside it, at their own scale."""
    columns = [
        Column("claim", "Claim"),
        Column("section", "Section", under="claim"),
        Column("quantity", "Quantity", under="claim"),
        Column("published", "Published", numeric=True),
        Column("authors", "Authors' own run", numeric=True),
        Column("measured", "Measured", numeric=True, interval=True),
        Column("verdict", "Verdict"),
        Column("measured_on", "Measured on, or the command that measures it", aside=True),
    ]
    rows = [line for claim in paper.claim for line in _lines(paper, claim, results)]
    notes = [VERDICTS, COLOURS, PAIRS]
    told = {claim.id: _in_studies(claim, studies) for claim in paper.claim}
    if any(told.values()):
        columns.insert(-1, Column("study", "In a study, at its own scale", aside=True))
        by_text = {claim.claim: told[claim.id] for claim in paper.claim}
        found = [None if str(row[2]).startswith("top-5") else by_text[str(row[0])] for row in rows]
        rows = [[*row[:-1], each, row[-1]] for row, each in zip(rows, found)]
        asked = [plan for plan, found in studies if any(each.comparison.claim for each in found)]
        notes += [STUDIES, " ".join(f"Study {plan.name} is on {plan.data}; {plan.scale}." for plan in asked)]
    tried = [column.key for column in columns if column.key in ("measured", "study")]
    return Table("claims", "The paper's other claims", columns, rows, notes, tried)


def _in_studies(claim: Claim, studies: Sequence[Judged]) -> str | None:
    """What studies found of a claim: effect, interval, verdict and the study's name; None where none measured it."""
    told = [
        f"{each.comparison.says and each.comparison.says + ': '}"
        f"{effect_of(each)}, {each.verdict} ({plan.name})"
        for plan, found in studies
        for each in found
        if each.comparison.claim == claim.id and not math.isnan(each.effect)
    ]
    return "; ".join(told) or None


def elsewhere_table(paper: Paper, results: Results) -> Table:
    """The same comparisons between runs by the same recipes on other data, which fill no line of the claims."""
    columns = [
        Column("claim", "Claim"),
        Column("quantity", "Quantity"),
        Column("published", "Published", numeric=True),
        Column("measured", "Measured", numeric=True),
        Column("measured_on", "Measured on"),
    ]
    unchanged = [run for run in results.runs if not changed(run.recipe)]
    rows: list[list[Cell]] = [
        [claim.claim, MEASURES[claim.kind][0], _published(paper, claim, None), found.figure, found.how]
        for claim in paper.claim
        if claim.kind in MEASURES
        for found in _of_runs(claim, [run for run in unchanged if claim.identity not in run.verified])
    ]
    return Table("elsewhere", "Claims on other data than the paper's", columns, rows)


def _lines(paper: Paper, claim: Claim, results: Results) -> list[list[Cell]]:
    quantities: list[tuple[str, Metric | None]] = [(QUANTITIES.get(claim.kind) or MEASURES[claim.kind][0], None)]
    if claim.kind == "error":  # a claim in words alone is measured on top-1
        metrics: list[Metric] = [m for m in ("top1", "top5") if paper.published_effect(claim, m) is not None]
        quantities = [(f"{metric[:3]}-{metric[3:]} error, points", metric) for metric in metrics or ["top1"]]
    lines = []
    for quantity, metric in quantities:
        published = _published(paper, claim, metric)
        authors = paper.authors_effect(claim, metric) if metric else None
        number = published.value if isinstance(published, Figure) else None
        for found in _measure(claim, metric, results) or [None]:
            lines.append([
                claim.claim, claim.section, quantity, published,
                None if authors is None else Figure(authors, 2, signed=True),
                *([found.figure, found.verdict or verdict_of(claim, number, found.figure), found.how] if found
                  else [None, None, Code(claim.command)]),
            ])  # fmt: skip
    return lines


def _published(paper: Paper, claim: Claim, metric: Metric | None) -> Cell:
    words = claim.published.words if claim.published else None
    value = paper.published_effect(claim, metric) if metric else claim.published.ratio
    return words if value is None else Figure(value, signed=claim.unit == "points", words=words)


def verdict_of(claim: Claim, published: float | None, effect: Figure) -> str:
    """How the measured effect stands to the published one; see VERDICTS."""
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


def _measure(claim: Claim, metric: Metric | None, results: Results) -> list[Measured]:
    if claim.kind == "error":
        return [found for pair in claim.pairs for found in _of_errors(claim, metric, pair, results.results)]
    if claim.kind == "test_gap":
        return [found for (recipe,) in claim.pairs for found in _test_gaps(claim, recipe, results.results)]
    if claim.kind not in MEASURES:
        return []
    return _of_runs(claim, [run for run in results.runs if _is_admitted(claim, run)])


def _is_admitted(claim: Claim, run: RunRecord) -> bool:
    """Whether a run's own network may stand in a claim, so that its curves, times and weights may."""
    lines = measurements(run.results, claim.arm(run.recipe_name))
    own = ended_with(run.folder) if lines else ""
    return own != "" and any(one.weights_sha256 == own for line in lines for one in line.pedigrees)


def _of_runs(claim: Claim, runs: list[RunRecord]) -> list[Measured]:
    """The claim's measure of each of its pairs of recipes, among these runs."""
    found = []
    for data, pair in itertools.product(dict.fromkeys(run.data_name for run in runs), claim.pairs):
        sides = [[run for run in runs if (run.recipe_name, run.data_name) == (name, data)] for name in pair]
        for couple in zip(*sides, strict=False):
            measured = MEASURES[claim.kind][1](*couple)
            if measured:
                trained_on = data.removesuffix(" test").removesuffix(" val")  # most of these are figures of training
                how = [trained_on, f"runs {' and '.join(run.name for run in couple)}", measured.how]
                found.append(measured._replace(how=", ".join(filter(None, how))))
    return found


def _of_errors(claim: Claim, metric: Metric, pair: list[str], results: list[Result]) -> list[Measured]:
    first, second = (measurements(results, claim.arm(*side)) for side in zip(pair, claim.views, strict=True))
    if pair[0] == pair[1]:  # the same network, with other views
        by_network = {result.onnx_sha256: result for result in second}
        couples = [(result, by_network[result.onnx_sha256]) for result in first if result.onnx_sha256 in by_network]
    else:
        couples = list(zip(first, second, strict=False))
    found = []
    for a, b in couples:
        error_a, error_b = getattr(a, f"{metric}_err"), getattr(b, f"{metric}_err")
        low, high = difference(error_a, a.images, error_b, b.images)
        figure = Figure(error_a - error_b, 2, low, high, signed=True)
        found.append(Measured(figure, how=f"{a.how}; less {b.recipe}, views {b.views}"))
    return found


def _test_gaps(claim: Claim, recipe: str, results: list[Result]) -> list[Measured]:
    """How far a network's validation error is from the one that the test server gave, in points, without its sign."""
    return [
        Measured(Figure(gap, 2), "reproduced" if gap <= claim.published.below else "contradicted", result.how)
        for result in measurements(results, claim.arm(recipe, claim.views[0]))
        if result.top5_test_err is not None
        for gap in [round(abs(result.top5_err - result.top5_test_err), 3)]
    ]


# ---- what a run's own files say


def _ratio(count: Callable[[RunRecord], float | None]) -> Callable[[RunRecord, RunRecord], Measured | None]:
    def measure(first: RunRecord, second: RunRecord) -> Measured | None:
        a, b = count(first), count(second)
        return Measured(Figure(a / b, 2)) if a and b else None

    return measure


def _difference(count: Callable[[RunRecord], float | None]) -> Callable[[RunRecord, RunRecord], Measured | None]:
    def measure(first: RunRecord, second: RunRecord) -> Measured | None:
        a, b = count(first), count(second)
        return None if a is None or b is None else Measured(Figure(a - b, 2, signed=True))

    return measure


def _training_error(run: RunRecord) -> float | None:
    """The trained network's error on its training images, as they are in a test; summary.csv counts distorted ones."""
    return centre_error(run.folder / "train.csv")


def _overfitting(run: RunRecord) -> float | None:
    """Test less training error of the trained network, top-1, centre crop, in points."""
    training, test = _training_error(run), centre_error(run.folder / "results.csv")
    return None if training is None or test is None else test - training


def _time(first: RunRecord, second: RunRecord) -> Measured | None:
    """Time an image of two columns, each on a device, to that of one device of the same kind."""
    if {process["column"] for process in first.processes} != {0, 1}:  # two replicas are no columns
        return None
    if (first.devices, second.devices) != (2, 1) or first.environment.get("device") != second.environment.get("device"):
        return None
    return _ratio(RunRecord.seconds_per_image)(first, second)


def _days(run: RunRecord) -> Measured | None:
    """Days of training, told without a verdict: the machine is another."""
    minutes = run.minutes()
    if minutes is None:
        return None
    days = Figure(minutes / 1440, 1)
    machine = f"{run.environment.get('processes', '?')} of {run.environment.get('device', 'a device not recorded')}"
    return Measured(days, "another machine", machine)


def _data_wait(run: RunRecord) -> Measured | None:
    share = mean_known(run.column("data_wait"))
    return None if share is None else Measured(Figure(share, 3))


def _colour(run: RunRecord) -> Measured | None:
    """The columns' colour indices; as a number, how far they are apart."""
    try:
        network = network_of(run) if run.weights else None
        if network is None or getattr(network, "columns", 1) < 2:
            return None
        found = selectivity(load_kernels(run.weights), network.columns)
    except UserError:  # Figure 3 says what is wrong with the weights
        return None
    apart = max(found.columns) - min(found.columns)
    return Measured(Figure(apart, 2, words=" / ".join(f"{index:.2f}" for index in found.columns)), found.verdict)


QUANTITIES = {"error": "error, points", "test_gap": "top-5 error, points apart", "picture": "picture"}
MEASURES: dict[str, tuple[str, Callable[..., Measured | None]]] = {  # what it is called, and how a run is asked
    "epochs_to_25": ("epochs to 25%, ratio", _ratio(lambda run: run.epochs_to_train_error(25.0))),
    "epochs_to_best": ("epochs to the best error, ratio", _ratio(RunRecord.epochs_to_best)),
    "train_error": ("training error, points", _difference(_training_error)),
    "overfitting": ("test less training error, points", _difference(_overfitting)),
    "first_loss": ("training loss, first cycle", _difference(lambda run: next(iter(run.column("train_loss")), None))),
    "time": ("time an image, ratio", _time),
    "days": ("days", _days),
    "data_wait": ("share of the step", _data_wait),
    "colour": ("colour index of each column", _colour),
}
