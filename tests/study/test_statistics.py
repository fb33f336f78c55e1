"""Intervals and tests on simulated studies, whose true effects are known, and against brute force."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from alexnet_zoo.study.statistics import (
    Estimate,
    averaging,
    crossed,
    equivalence_p,
    exclusion,
    holm,
    least_p,
    one_pair,
    permutation_p,
    power,
    welch,
)

IMAGES, CUT, IMAGE_SD = 400, 1.5, 1.5  # about 20% error


def simulate(rng, studies, arms, seed_sd, arm_sd, images=IMAGES):
    """Errors (studies, networks, images) of each arm, and its true rate.

    An image is as hard for all networks as one normal number says; arms, networks, and each network on each image add
    theirs. The network errs where the sum is over a cut, so that the true rate is a normal tail.
    """
    hard = rng.standard_normal((studies, 1, images), dtype=np.float32) * IMAGE_SD
    errors, rates = [], []
    for networks, cut in arms:
        arm = rng.standard_normal((studies, 1, images), dtype=np.float32) * arm_sd
        seed = rng.standard_normal((studies, networks, 1), dtype=np.float32) * seed_sd
        own = rng.standard_normal((studies, networks, images), dtype=np.float32)
        errors.append((hard + arm + seed + own > cut).astype(np.float32))
        rates.append(stats.norm.sf(cut / np.sqrt(IMAGE_SD**2 + arm_sd**2 + seed_sd**2 + 1)))
    return errors, rates


def coverage(estimate_of, arms, seed_sd, arm_sd, studies=2000) -> float:
    rng, hits = np.random.default_rng(1), []
    for _ in range(studies // 250):
        (first, second), (p, q) = simulate(rng, 250, arms, seed_sd, arm_sd)
        low, high = estimate_of(first, second).interval()
        hits.append((low <= p - q) & (p - q <= high))
    return float(np.mean(hits))


NOISE = 3 * np.sqrt(0.95 * 0.05 / 2000)  # of a coverage from 2,000 studies


@pytest.mark.parametrize("seed_sd, arm_sd", [(0.1, 0.3), (0.3, 0.3), (0.5, 0.0), (0.1, 0.6)])
@pytest.mark.parametrize("networks", [(10, 6), (5, 5)])
def test_interval_of_two_arms_covers_the_true_difference(networks, seed_sd, arm_sd):
    arms = [(networks[0], CUT), (networks[1], CUT + 0.1)]
    assert abs(coverage(crossed, arms, seed_sd, arm_sd) - 0.95) < NOISE


@pytest.mark.parametrize("networks", [(10, 6), (3, 3)])
def test_interval_of_arms_that_differ_in_nothing_covers(networks):
    arms = [(networks[0], CUT), (networks[1], CUT)]
    assert abs(coverage(crossed, arms, seed_sd=0.0, arm_sd=0.0) - 0.95) < NOISE


def test_spread_of_seeds_alone_would_not_cover_it():
    arms = [(10, CUT), (6, CUT + 0.1)]
    assert coverage(lambda a, b: welch(a.mean(-1), b.mean(-1)), arms, seed_sd=0.1, arm_sd=0.6) < 0.90


def test_interval_of_the_same_networks_covers():
    """Ten crops against one: the same images and networks, so differences are taken first."""
    arms = [(10, CUT), (10, CUT + 0.1)]
    assert abs(coverage(lambda a, b: crossed(a - b), arms, seed_sd=0.1, arm_sd=0.4) - 0.95) < NOISE


def test_interval_of_one_pair_covers_what_these_two_networks_do_on_all_images():
    rng, hits = np.random.default_rng(2), []
    for _ in range(1500):
        (first, second), (p, q) = simulate(rng, 1, [(1, CUT), (1, CUT + 0.1)], seed_sd=0.0, arm_sd=0.4)
        low, high = one_pair(first[0, 0], second[0, 0]).interval()
        hits.append(low <= p - q <= high)
    assert abs(np.mean(hits) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 1500)


def outputs(rng, networks, images, seed_sd):
    """Softmax outputs (networks, images, 4) of networks for which an image is equally hard; class 0 is right."""
    logits = rng.standard_normal((1, images, 4)) * IMAGE_SD + rng.standard_normal((networks, images, 4))
    logits[..., 0] += 2 + seed_sd * rng.standard_normal((networks, 1))
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("seed_sd", [0.05, 0.3])
def test_interval_of_averages_covers(seed_sd):
    """Five of ten networks, all 252 subsets; the truth from disjoint groups of many more networks and images.

    In larger simulations 94.7 to 96.5% (reproduce/studies/README.md).
    """
    rng, right = np.random.default_rng(7), np.zeros(300, int)
    many = [outputs(rng, 40, 4000, seed_sd) for _ in range(15)]
    alone = np.mean([each.argmax(-1) != 0 for each in many])
    five = np.mean([each.reshape(8, 5, -1, 4).sum(1).argmax(-1) != 0 for each in many])
    hits = []
    for _ in range(200):
        ten = outputs(rng, 10, 300, seed_sd)
        low, high = crossed(averaging(right, ten, 5) - (ten.argmax(-1) != 0)).interval()
        hits.append(low <= five - alone <= high)
    assert abs(np.mean(hits) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)


def test_averages_against_brute_force():
    rng, labels = np.random.default_rng(8), np.arange(6) % 3
    probability = rng.random((4, 6, 3))
    pseudo = averaging(labels, probability, 2)

    def mean_error(networks):
        pairs = [probability[a] + probability[b] for a in networks for b in networks if a < b]
        return np.mean([pair.argmax(1) != labels for pair in pairs], axis=0)

    for left_out in range(4):
        rest = [network for network in range(4) if network != left_out]
        assert pseudo[left_out] == pytest.approx(4 * mean_error(range(4)) - 3 * mean_error(rest), abs=1e-5)
    assert pseudo.mean(0) == pytest.approx(mean_error(range(4)), abs=1e-5)


def test_variance_is_that_of_brute_force():
    """Against the definition, with loops."""
    errors = np.random.default_rng(3).random((4, 7))
    networks, images = errors.shape
    grand, rows, columns = errors.mean(), errors.mean(axis=1), errors.mean(axis=0)
    rest = sum((errors[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(networks) for j in range(images))
    rest /= (networks - 1) * (images - 1) * networks * images
    of_images = sum((c - grand) ** 2 for c in columns) / (images - 1) / images
    of_networks = sum((r - grand) ** 2 for r in rows) / (networks - 1) / networks
    estimate = crossed(errors)
    assert estimate.effect == pytest.approx(grand)
    assert estimate.se**2 == pytest.approx(max(of_images + of_networks - rest, of_images / 2))


def test_welch_is_scipys():
    first, second = np.array([1.0, 2.0, 4.0, 5.5]), np.array([3.0, 7.0, 9.0])
    theirs = stats.ttest_ind(first, second, equal_var=False)
    ours = welch(first, second)
    assert ours.df == pytest.approx(theirs.df)
    assert ours.interval() == pytest.approx(tuple(theirs.confidence_interval()))


def test_permutations_against_brute_force():
    first, second = np.array([1.0, 2.5, 3.0, 4.0]), np.array([2.0, 5.0, 6.0])
    everything, seen = np.concatenate([first, second]), abs(stats.ttest_ind(first, second, equal_var=False).statistic)
    welchs = []
    for chosen in combinations(range(7), 4):
        rest = [i for i in range(7) if i not in chosen]
        welchs.append(stats.ttest_ind(everything[list(chosen)], everything[rest], equal_var=False).statistic)
    assert permutation_p(first, second) == pytest.approx(np.mean(np.abs(welchs) >= seen - 1e-12))


def test_permutations_where_the_smaller_arm_spreads_more():
    """Four against eight runs, three times the spread: the means alone would find something in 16% of such studies."""
    rng, found, by_means = np.random.default_rng(9), [], []
    for _ in range(400):
        first, second = rng.normal(0, 0.5, 8), rng.normal(0, 1.5, 4)
        found.append(permutation_p(first, second) <= 0.05)
        everything = np.concatenate([first, second])
        sums = np.array([everything[list(chosen)].sum() for chosen in combinations(range(12), 4)])
        apart = np.abs(sums / 4 - (everything.sum() - sums) / 8)
        by_means.append(np.mean(apart >= abs(first.mean() - second.mean()) - 1e-12) <= 0.05)
    assert np.mean(found) < 0.10 < np.mean(by_means)


def test_sign_flips_against_brute_force():
    first = np.array([1.0, 2.5, 3.0, 4.0, 7.0, 3.0, 5.0])
    second = first - np.array([0.5, 0.2, -0.1, 0.4, 0.3, 0.6, 0.25])
    difference = first - second
    sums = np.array([np.dot(signs, difference) for signs in product((1, -1), repeat=7)])
    assert permutation_p(first, second, paired=True) == pytest.approx(2 * np.mean(sums >= difference.sum() - 1e-12))


def test_smallest_p():
    assert [least_p(n, n, paired=True) <= 0.05 for n in (5, 6)] == [False, True]
    assert least_p(3, 3) == pytest.approx(0.1)
    six, five = np.arange(6.0), np.arange(5.0)
    assert permutation_p(six + 10, six, paired=True) == pytest.approx(least_p(6, 6, paired=True))
    assert permutation_p(five + 10, five) == pytest.approx(least_p(5, 5))


def test_holm_known_answer():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_keeps_the_chance_of_any_false_finding():
    p = np.random.default_rng(4).random((4000, 8))
    any_found = np.mean([min(holm(list(row))) <= 0.05 for row in p])
    assert abs(any_found - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_equivalence_errs_in_at_most_five_percent():
    """The true effect is the smallest of interest itself: that it is excluded is the error."""
    rng, smallest = np.random.default_rng(5), 1.0
    first, second = smallest + rng.normal(size=(4000, 8)), rng.normal(size=(4000, 8))
    whole = welch(first * 0.3 + 0.7, second * 0.3)
    each = [Estimate(*values) for values in zip(whole.effect, whole.se, whole.df)]
    assert np.mean([equivalence_p(estimate, smallest) <= 0.05 for estimate in each]) < 0.05 + 3 * 0.0035
    assert equivalence_p(Estimate(0.1, 0.1, 20), smallest) < 0.001
    assert equivalence_p(Estimate(0.0, 0.0, 20), smallest) == 1.0


def test_exclusion_against_simulation():
    rng, se = np.random.default_rng(10), 0.7 * np.sqrt(2 / 6)
    whole = welch(rng.normal(0, 0.7, (4000, 6)), rng.normal(0, 0.7, (4000, 6)))
    each = [Estimate(*values) for values in zip(whole.effect, np.full(4000, se), np.full(4000, 1e6))]
    excluded = np.mean([equivalence_p(estimate, 1.0) <= 0.05 for estimate in each])
    assert abs(excluded - exclusion(1.0, se, 1e6, 0.05)) < 3 * np.sqrt(0.25 / 4000)


def test_power_against_simulation():
    rng = np.random.default_rng(6)
    first, second = rng.normal(1.0, 0.7, (5000, 6)), rng.normal(0.0, 0.7, (5000, 6))
    found = stats.ttest_ind(first, second, axis=1).pvalue <= 0.05
    expected = power(1.0, 0.7 * np.sqrt(2 / 6), 10, 0.05)
    assert abs(found.mean() - expected) < 3 * np.sqrt(expected * (1 - expected) / 5000)
