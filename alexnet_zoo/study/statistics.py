"""What a comparison of two arms can say: intervals, tests, their correction, equivalence, power.

Rates are parts of 1 here. What each function assumes stands in its docstring; tests/study simulates whole studies.
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 200_000  # permutations up to here are enumerated, beyond they are drawn, from a fixed seed


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its standard error and degrees of freedom; arrays where several studies were given."""

    effect: np.ndarray | float
    se: np.ndarray | float
    df: np.ndarray | float

    def interval(self) -> tuple:
        """The 95% interval of Student's t."""
        half = stats.t.ppf(0.975, self.df) * self.se
        return self.effect - half, self.effect + half


def crossed(first: np.ndarray, second: np.ndarray | None = None) -> Estimate:
    """The mean of `first`, less that of `second`, over networks and images that were both sampled.

    Args: first, second: (..., networks, images); whether a network errs on an image, or, for networks that are
    compared with themselves, the difference of two such indicators. Both hold the same images.

    Networks and images are crossed random effects. The variance over images and the variance over networks both count
    what is left over (network by image); so it is taken off once, down to half of the images' variance.
    Degrees of freedom: Satterthwaite. This is the variance of studies of several readers and cases (Gallas, "One-shot
    estimate of MRMC variance", Academic Radiology 2006), with networks for readers; see also Owen, "The pigeonhole
    bootstrap" (2007).
    """
    arms = [first] if second is None else [first, second]
    means = [arm.mean(axis=-2) for arm in arms]  # of each image over the networks
    by_image = means[0] if second is None else means[0] - means[1]
    images = by_image.shape[-1]
    parts, freedoms = [by_image.var(axis=-1, ddof=1) / images], [images - 1]
    left_over = 0.0
    for arm, mean in zip(arms, means):
        networks = arm.shape[-2]
        parts.append(arm.mean(axis=-1).var(axis=-1, ddof=1) / networks)
        freedoms.append(networks - 1)
        rest = arm - mean[..., None, :] - arm.mean(axis=-1, keepdims=True) + mean.mean(axis=-1)[..., None, None]
        left_over += (rest**2).sum(axis=(-1, -2)) / ((images - 1) * (networks - 1)) / (images * networks)
    variance = np.maximum(sum(parts) - left_over, parts[0] / 2)
    tiny = np.finfo(float).tiny
    df = variance**2 / np.maximum(sum(part**2 / freedom for part, freedom in zip(parts, freedoms)), tiny)
    return Estimate(by_image.mean(axis=-1), np.sqrt(variance), np.maximum(df, min(freedoms[1:])))


def averaging(labels: np.ndarray, probability: np.ndarray, size: int) -> np.ndarray:
    """The error of `size` networks whose softmax outputs are averaged, as a value a network and image.

    Args: labels (images,); probability (networks, images, classes), of more networks than `size`, in any unit.

    That error is a U-statistic: its mean over all subsets of `size` networks. What is returned, (networks, images), are
    its jackknife pseudo-values, which leave out one network after another, and whose spread is that of the estimate
    (Arvesen, "Jackknifing U-statistics", Annals of Mathematical Statistics 1969). A single network's errors are their
    own pseudo-values; less those, they go to `crossed`.
    """
    networks = len(probability)
    subsets = list(combinations(range(networks), size))
    error = np.array([probability[list(each)].sum(axis=0).argmax(axis=-1) != labels for each in subsets], np.float32)
    holds = np.array([[network in each for each in subsets] for network in range(networks)])
    without = np.array([error[~each].mean(axis=0) for each in holds])
    return networks * error.mean(axis=0) - (networks - 1) * without


def one_pair(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The difference of two networks' errors on the same images, (images,) each; images alone are sampled.

    The paired interval of two proportions (Agresti and Min 2005): Wald's after half an image was added to each cell
    of the 2x2 table.
    """
    images = len(first) + 2
    only_first, only_second = ((first > second).sum() + 0.5) / images, ((second > first).sum() + 0.5) / images
    variance = (only_first + only_second - (only_first - only_second) ** 2) / images
    return Estimate(only_first - only_second, np.sqrt(variance), np.inf)


def welch(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The difference of the means of two independent samples (..., runs) of unequal spread (Welch 1947)."""
    parts = [arm.var(axis=-1, ddof=1) / arm.shape[-1] for arm in (first, second)]
    variance = parts[0] + parts[1]
    tiny = np.finfo(float).tiny
    below = sum(part**2 / (arm.shape[-1] - 1) for part, arm in zip(parts, (first, second)))
    df = np.maximum(variance**2 / np.maximum(below, tiny), min(first.shape[-1], second.shape[-1]) - 1)
    return Estimate(first.mean(axis=-1) - second.mean(axis=-1), np.sqrt(variance), df)


def permutation_p(first: np.ndarray, second: np.ndarray, paired: bool = False) -> float:
    """Two-sided p of no difference, without normality (Fisher 1935, Pitman 1937).

    Independent arms: the runs' labels are exchanged, in all ways, and the size of Welch's t is compared, which comes
    closer to the level where arms of different size spread differently (Janssen, "Studentized permutation tests",
    Statistics and Probability Letters 1997). Pairs: the sign of each pair's difference is flipped. Images are held
    fixed, so that it speaks of the seeds alone; the interval holds both.
    """
    alone = paired or min(len(first), len(second)) < 2  # nothing to take a spread from

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        means = a.mean(axis=axis) - b.mean(axis=axis)
        if alone:
            return np.abs(means)
        squares = sum(arm.var(axis=axis, ddof=1) / arm.shape[axis] for arm in (a, b))
        return np.abs(means) / np.maximum(np.sqrt(squares), 1e-9)  # where runs agree to the last digit

    kind = "samples" if paired else "independent"
    options: dict[str, Any] = dict(permutation_type=kind, vectorized=True, n_resamples=RESAMPLES, batch=20_000, rng=0)
    return float(stats.permutation_test((first, second), difference, alternative="greater", **options).pvalue)


def least_p(first: int, second: int, paired: bool = False) -> float:
    """The smallest p that `permutation_p` can give with so many runs. Of fewer than six pairs it is over 5%."""
    ways = 2**first if paired else comb(first + second, first)
    alike = 2 if paired or first == second else 1  # the ways that differ as much as the runs could
    return min(1.0, alike / min(ways, RESAMPLES))


def holm(p: list[float]) -> list[float]:
    """Adjusted p values that keep the chance of any false finding among all at the level (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors))
    return [float(value) for value in adjusted[np.argsort(order, kind="stable")]]


def equivalence_p(estimate: Estimate, smallest: float) -> float:
    """p of "the true effect is `smallest` or more, in either direction" (two one-sided tests, Schuirmann 1987)."""
    if not estimate.se > 0:  # no spread at all says nothing of the spread there is
        return 1.0
    return float(stats.t.sf((smallest - np.abs(estimate.effect)) / estimate.se, estimate.df))


def exclusion(smallest: float, se: float, df: float, level: float) -> float:
    """The chance that an effect of `smallest` is excluded at `level` where there is none."""
    room = smallest / se - stats.t.ppf(1 - level, df)
    return max(0.0, float(2 * stats.t.cdf(room, df) - 1))


def power(effect: float, se: float, df: float, level: float) -> float:
    """The chance that a two-sided t test at `level` finds a true effect (the noncentral t distribution)."""
    critical = stats.t.ppf(1 - level / 2, df)
    shifted = stats.nct(df, effect / se)
    return float(shifted.sf(critical) + shifted.cdf(-critical))
