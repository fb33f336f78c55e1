import pytest
from scipy.stats import binomtest

from alexnet_zoo.intervals import difference, wilson


@pytest.mark.parametrize("wrong, images", [(0, 10), (10, 10), (18, 360), (20_350, 50_000), (1, 150_000)])
def test_wilson_against_scipy(wrong, images):
    expected = binomtest(wrong, images).proportion_ci(method="wilson")
    low, high = wilson(100 * wrong / images, images)
    assert low == pytest.approx(100 * expected.low, abs=1e-9)
    assert high == pytest.approx(100 * expected.high, abs=1e-9)


def test_difference_against_newcombes_own_example():
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 has the interval 0.0524 to 0.3339."""
    low, high = difference(100 * 56 / 70, 70, 100 * 48 / 80, 80)
    assert (low, high) == (pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))
