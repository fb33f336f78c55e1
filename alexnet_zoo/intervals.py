"""95% intervals of error rates, in percent."""

from math import sqrt

Z = 1.959963984540054  # the normal distribution's 97.5% point


def wilson(error: float, images: int) -> tuple[float, float]:
    """Wilson's score interval of an error rate (percent) counted over `images` independent images."""
    p, n = error / 100, images
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(0.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))


def difference(error1: float, images1: int, error2: float, images2: int) -> tuple[float, float]:
    """Interval of error1 - error2, in points: Newcombe's hybrid of the two Wilson intervals (1998, method 10).

    It takes the two for independent. Two networks on the same images are not, so it errs on the wide side.
    """
    low1, high1 = wilson(error1, images1)
    low2, high2 = wilson(error2, images2)
    effect = error1 - error2
    return (
        effect - sqrt((error1 - low1) ** 2 + (high2 - error2) ** 2),
        effect + sqrt((high1 - error1) ** 2 + (error2 - low2) ** 2),
    )
