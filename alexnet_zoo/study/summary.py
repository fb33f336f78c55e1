"""What a study found: each arm's figures, and for each comparison the effect, its interval and a verdict."""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_zoo.errors import UserError
from alexnet_zoo.intervals import difference
from alexnet_zoo.study import statistics
from alexnet_zoo.study.measures import colours_of, predictions_of_all, results_of, steps_to_leave, value_of
from alexnet_zoo.study.runner import Jobs
from alexnet_zoo.study.statistics import Estimate
from alexnet_zoo.study.study import RATIOS, Comparison, find_claim

RULES = (
    "Verdicts, in this order. reproduced: the permutation test finds a difference, the interval excludes zero, and "
    "the sign is the paper's. contradicted, the other sign: likewise, with the other sign. under N points, or a ratio "
    "under N: an effect of the smallest size of interest is excluded (two one-sided tests); added to the other "
    "verdicts; where nothing is found, after contradicted if the paper's own effect is as large, else after not found. "
    "not resolved: none of these. Where the paper claims nothing: found, with its sign. Both tests are corrected for "
    "the number of comparisons (Holm), each at the level. Columns: reproduced only where the mean colour index of one "
    "is under 1/3, of the other over 2/3. not finished: planned runs of its arms are missing; a comparison is judged "
    "once. Where runs diverged, or never came so far, nothing is resolved but the rate of those that learn."
)
# Section 6.1 names no bounds, so these are ours: noise has two thirds of its energy in colour, a third in grey.
AGNOSTIC, SPECIFIC = 1 / 3, 2 / 3


@dataclass(frozen=True)
class Found:
    """One comparison. Effect and interval in points, or as ratios."""

    comparison: Comparison
    first: list[float]  # a value a run: percent, epochs, seconds an image; a pseudo-value where several are averaged
    second: list[float]
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan  # permutation test
    least_p: float = 1.0  # the smallest that so many runs can give
    equivalence_p: float = 1.0
    p_holm: float = math.nan
    equivalence_p_holm: float = math.nan
    verdict: str = "not measured"

    @property
    def published(self) -> float | None:
        """The effect that the paper states, at its own scale; None where it gives words."""
        return find_claim(self.comparison.claim)["effect"] if self.comparison.claim else None

    @property
    def paired(self) -> bool:
        return self.comparison.same_networks


def summarise(jobs: Jobs) -> list[Found]:
    """Every comparison, in the plan's order, from the finished runs; corrected for all that are planned.

    One that is not finished is not tested: for Holm its p is 1, so that what the others found stays found.

    Raises: UserError where the runs were measured on different data.
    """
    check_one_data_set([job.folder for job in jobs.all if job.finished])
    found = [compare(jobs, comparison) for comparison in jobs.plan.compare]
    found = [each if is_complete(jobs, each) else replace(each, p=math.nan, equivalence_p=1.0) for each in found]
    for name in ("p", "equivalence_p"):
        ps = [1.0 if math.isnan(getattr(each, name)) else getattr(each, name) for each in found]
        fields: list[dict[str, Any]] = [{f"{name}_holm": p} for p in statistics.holm(ps)]
        found = [replace(each, **own) for each, own in zip(found, fields, strict=True)]
    return [replace(each, verdict=verdict(jobs, each)) for each in found]


def is_complete(jobs: Jobs, found: Found) -> bool:
    return all(job.ended for (arm, _), job in jobs.runs.items() if arm in found.comparison.arms)


def verdict(jobs: Jobs, found: Found) -> str:
    """Judges a comparison by RULES, once its runs have ended, and only where each of them has a value."""
    if math.isnan(found.effect):
        return "not measured"
    if not is_complete(jobs, found):
        return "not finished"
    planned = sum(map(jobs.plan.seeds_of, found.comparison.arms))
    if missing := planned - len(found.first) - len(found.second):  # what is left would favour the arm that failed
        return f"not resolved, {missing} of {planned} runs diverged or never came so far"
    return verdict_of(found, jobs.plan.level)


def check_one_data_set(folders: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for folder in folders:
        for row in results_of(folder):
            seen.setdefault(row["data_sha256"], folder)
    if len(seen) > 1:
        raise UserError(f"{' and '.join(map(str, seen.values()))}: measured on different data; they do not compare")


def compare(jobs: Jobs, comparison: Comparison) -> Found:
    """Effect, interval and p values of one comparison, from the runs that are finished."""
    if comparison.measure == "left_guessing":  # a run that diverged has not left it
        rates = ([value_of(run, comparison.measure) for run in ended_runs(jobs, arm)] for arm in comparison.arms)
        return compare_rates(comparison, *map(np.array, rates))
    sides = [finished_runs(jobs, arm) for arm in comparison.arms]
    if comparison.measure == "test_error":
        return compare_errors(comparison, *error_matrices(comparison, sides))
    if comparison.measure == "colour_apart":
        return compare_columns(comparison, sides[0])
    asked = comparison.measure, comparison.error or math.nan
    first, second = (np.array([value_of(run, *asked) for run in side]) for side in sides)
    first, second = first[~np.isnan(first)], second[~np.isnan(second)]
    found = Found(comparison, first.tolist(), second.tolist())
    if min(len(first), len(second)) < 2:
        return found
    if comparison.measure in RATIOS:
        first, second = np.log(first), np.log(second)
    return estimated(found, statistics.welch(first, second), (first, second))


def finished_runs(jobs: Jobs, arm: str) -> list[Path]:
    return [job.folder for (own, _), job in jobs.runs.items() if own == arm and job.finished]


def ended_runs(jobs: Jobs, arm: str) -> list[Path]:
    """Also those that diverged."""
    return [job.folder for (own, _), job in jobs.runs.items() if own == arm and job.ended]


def error_matrices(comparison: Comparison, sides: list[list[Path]]) -> tuple[np.ndarray, np.ndarray]:
    """(networks, images) for both arms: 100 where a network errs, so that means are percent; (0, 0) without runs.

    For networks that are averaged, pseudo-values (statistics.averaging), from more networks than are averaged.
    """
    size = comparison.average[0]
    if min(map(len, sides)) < (size + 1 if size > 1 else 1):
        return np.empty((0, 0)), np.empty((0, 0))
    first, second = (predictions_of_all(side, views) for side, views in zip(sides, comparison.views))
    if size > 1:
        parts = np.array([each.parts for each in first], np.uint32)
        if not parts.size:
            raise UserError(f"{comparison.name}: averages need every class's probability; the predictions lack them")
        averaged = 100 * statistics.averaging(first[0].labels, parts, size)
    else:
        averaged = np.array([100.0 * each.wrong for each in first])
    if not np.array_equal(first[0].labels, second[0].labels):
        raise UserError(f"{sides[0][0]} and {sides[1][0]}: were measured on different images; they do not compare")
    return averaged, np.array([100.0 * each.wrong for each in second])


def compare_columns(comparison: Comparison, runs: list[Path]) -> Found:
    """How much farther apart the columns' colour indices are than random deals of their kernels."""
    colours = np.array([three for run in runs if (three := colours_of(run))]).reshape(-1, 3)
    most, least, by_chance = colours.T
    found = Found(comparison, most.tolist(), least.tolist())
    if len(colours) < 2:
        return found
    beyond = most - least - by_chance
    return estimated(found, statistics.welch(beyond, np.zeros_like(beyond)), (most - by_chance, least))


def compare_errors(comparison: Comparison, a: np.ndarray, b: np.ndarray) -> Found:
    """From (networks, images) of both arms; of one pair only the images' part of the uncertainty is known."""
    values = (a.mean(axis=1), b.mean(axis=1)) if len(a) and len(b) else (np.empty(0), np.empty(0))
    found = Found(comparison, values[0].tolist(), values[1].tolist())
    if min(map(len, values)) >= 2:
        estimate = statistics.crossed(a - b) if comparison.same_networks else statistics.crossed(a, b)
        return estimated(found, estimate, values)
    if min(map(len, values)) == 1:
        low, high = statistics.one_pair(a[0] / 100, b[0] / 100).interval()
        effect = float(values[0][0] - values[1][0])
        return replace(found, effect=effect, low=100 * float(low), high=100 * float(high))
    return found


def compare_rates(comparison: Comparison, first: np.ndarray, second: np.ndarray) -> Found:
    """Rates of success: percent of the runs; their interval is Newcombe's, equivalence is not tested."""
    found = Found(comparison, (100 * first).tolist(), (100 * second).tolist())
    if not len(first) or not len(second):
        return found
    rates = 100 * float(first.mean()), 100 * float(second.mean())
    low, high = difference(rates[0], len(first), rates[1], len(second))
    p, least = statistics.permutation_p(first, second), statistics.least_p(len(first), len(second))
    return replace(found, effect=rates[0] - rates[1], low=low, high=high, p=p, least_p=least)


def estimated(found: Found, estimate: Estimate, values: tuple[np.ndarray, np.ndarray]) -> Found:
    """The comparison with its interval and tests; ratios come as differences of logarithms."""
    ratio = found.comparison.measure in RATIOS
    smallest = math.log(found.comparison.smallest) if ratio else found.comparison.smallest
    low, high = estimate.interval()
    effect, low, high = (math.exp(v) if ratio else float(v) for v in (estimate.effect, low, high))
    return replace(
        found,
        effect=effect,
        low=low,
        high=high,
        p=statistics.permutation_p(*values, paired=found.paired),
        least_p=statistics.least_p(len(values[0]), len(values[1]), found.paired),
        equivalence_p=statistics.equivalence_p(estimate, smallest),
    )


def verdict_of(found: Found, level: float) -> str:
    """From the figures alone. A study that could not have found anything says so."""
    smaller = bound_of(found.comparison) if found.equivalence_p_holm <= level else ""
    if math.isnan(found.p):
        return "not measured"
    zero = 1.0 if found.comparison.measure in RATIOS else 0.0
    direction, is_found = direction_of(found.comparison), found.p_holm <= level and not found.low <= zero <= found.high
    if found.comparison.measure == "colour_apart":
        return verdict_of_columns(found, is_found, smaller)
    if is_found:
        words = "reproduced" if direction else f"found, {'lower' if found.effect < zero else 'higher'}"
        if direction and (found.effect > zero) != (direction > 0):
            words = "contradicted, the other sign"
        return f"{words}, {smaller}" if smaller else words
    if smaller:
        return f"contradicted, {smaller}" if is_as_large(found) else f"not found, {smaller}"
    return "not resolved, too few runs for the test" if found.least_p > level else "not resolved"


def verdict_of_columns(found: Found, is_found: bool, smaller: str) -> str:
    """Section 6.1 claims more than a difference: one column of grey, one of colour."""
    if is_found and np.mean(found.second) < AGNOSTIC and np.mean(found.first) > SPECIFIC:
        return "reproduced"
    if smaller:
        return f"contradicted, {'more than chance, but ' * is_found}{smaller}"
    return "not resolved, the columns differ more than by chance, no more" if is_found else "not resolved"


def bound_of(comparison: Comparison) -> str:
    """What equivalence has excluded, in words."""
    if comparison.measure in RATIOS:
        return f"a ratio under {comparison.smallest:g}"
    unit = "" if comparison.measure == "colour_apart" else f" point{'s' * (comparison.smallest != 1)}"
    return f"under {comparison.smallest:g}{unit}"


def is_as_large(found: Found) -> bool:
    """Whether the paper's effect is a number, and of the smallest size of interest at least."""
    if found.published is None:
        return False
    if found.comparison.measure in RATIOS:
        return abs(math.log(found.published)) >= math.log(found.comparison.smallest)
    return abs(found.published) >= found.comparison.smallest


def direction_of(comparison: Comparison) -> int:
    """The sign of the effect that the paper states: 1, -1, or 0 where it states none."""
    if not comparison.claim:
        return 0
    claim = find_claim(comparison.claim)
    if claim["effect"] is None:
        return -1 if "below" in claim["published"] else 1  # in words: below a bound, or apart
    return 1 if claim["effect"] > (1 if comparison.measure in RATIOS else 0) else -1


def arm_figures(jobs: Jobs) -> list[tuple[str, str, list[float]]]:
    """(arm, what, a value a finished run, nan where it has none): test errors, then every other measure of the plan."""
    measures = {c.measure: c.error or math.nan for c in jobs.plan.compare if c.measure != "test_error"}
    lines = []
    for arm in jobs.plan.arms:
        runs = finished_runs(jobs, arm)
        by_views: dict[int, list[float]] = {}
        for run in runs:
            for row in results_of(run):
                by_views.setdefault(int(row["views"]), []).append(float(row["top1_err"]))
        names = {10: "error, ten crops, %", 1: "error, centre crop, %"}
        lines += [(arm, names[views], values) for views, values in sorted(by_views.items(), reverse=True)]
        for measure, error in measures.items():
            value = steps_to_leave if measure == "left_guessing" else partial(value_of, measure=measure, error=error)
            what = "steps until it leaves guessing" if measure == "left_guessing" else measure.replace("_", " ")
            what = f"epochs to {error:g}% validation error" if measure == "epochs_to_error" else what
            which = ended_runs(jobs, arm) if measure == "left_guessing" else runs
            lines.append((arm, what, [value(run) for run in which]))
    return lines
