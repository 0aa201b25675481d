"""Whether a z-score leaves an image its contrast: a few values far from all others make the others one number.

The mean and the standard deviation of an image see every voxel. One of 1e30, or padding of -3.4e38, and all tissue is
squeezed into a hair's breadth, while percentiles look as ever. Judged by sampled voxels and the two extremes.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from medseg.pages import number

__all__ = ["Flattened", "flattened"]

LEVEL_SD = 0.05
"""Values closer than this, in standard deviations, are one shade of grey to a network."""

FEW_LEVELS = 3
NEARLY_ALL = 0.99
"""An image is flattened where so few shades hold so many of its voxels (padding left out) ..."""

MANY_VALUES = 0.9
"""... although its so many most common values hold less than this: a mask has few values by nature."""

PERCENTILES = (0.5, 99.5)
"""What scaling by percentiles clips an image to."""

FEWEST_SAMPLES = 50
"""Of fewer voxels nobody can say what contrast there was."""


@dataclass(frozen=True)
class Flattened:
    """What squeezes an image, and what is left of it.

    Attributes:
        smallest: The smallest value of the image.
        largest: Its largest value.
        low: Nearly all voxels (padding left out) lie between this value ...
        high: ... and this one.
        contrast_sd: How far apart a z-score leaves those two, in standard deviations; usually some 4.
        by_percentiles: Whether scaling by percentiles squeezes the image as well: too many voxels are far away.
    """

    smallest: float
    largest: float
    low: float
    high: float
    contrast_sd: float
    by_percentiles: bool = False

    @property
    def remedy(self) -> str:
        """What to do about it."""
        correct = "Correct these values in the file (padding: the darkest real value)"
        return f"{correct}." if self.by_percentiles else f"{correct}, or use --set plan.normalisation=percentile."

    def __str__(self) -> str:
        return (
            f"values run from {number(self.smallest)} to {number(self.largest)}, but nearly all lie between "
            f"{number(self.low)} and {number(self.high)}, which a z-score leaves {self.contrast_sd:.1g} standard "
            "deviations apart"
        )


def flattened(
    sample: NDArray[np.float32], smallest: float, largest: float, n_voxels: int, nonzero: bool = False
) -> Flattened | None:
    """What squeezes an image, or None where its z-score keeps a contrast.

    Args:
        sample: Values of voxels from anywhere in the image.
        smallest: The smallest value of all voxels.
        largest: The largest.
        n_voxels: How many voxels there are.
        nonzero: Whether voxels that are exactly 0 are left out of mean and standard deviation.
    """
    values = sample.astype(np.float64)
    values = values[values != 0] if nonzero else values
    if values.size < FEWEST_SAMPLES:
        return None
    main, sd = _main_shade(values, smallest, largest, n_voxels)
    if main is None:
        return None
    ends = np.percentile(values, PERCENTILES)
    clipped, _ = _main_shade(values.clip(*ends), float(ends[0]), float(ends[1]), n_voxels)
    low, high = float(main.min()), float(main.max())
    return Flattened(smallest, largest, low, high, (high - low) / sd, clipped is not None)


def _main_shade(
    values: NDArray[np.float64], smallest: float, largest: float, n_voxels: int
) -> tuple[NDArray[np.float64] | None, float]:
    """The values that a z-score makes one shade of grey, if that is nearly all there is, and the standard deviation."""
    mean = float(values.mean())
    # An extreme that no sample hit still counts: a single voxel so far away makes this standard deviation alone.
    sd = max(float(values.std()), max(largest - mean, mean - smallest) / sqrt(n_voxels))
    distinct, counts = np.unique(values, return_counts=True)
    seen = values[values != distinct[counts.argmax()]]  # the most common value is padding, if there is any
    if seen.size < FEWEST_SAMPLES or sd == 0 or _share_of_few(seen) >= MANY_VALUES:
        return None, sd
    levels = np.floor((seen - mean) / (LEVEL_SD * sd))
    if _share_of_few(levels) < NEARLY_ALL:
        return None, sd
    shades, counts = np.unique(levels, return_counts=True)
    return seen[np.abs(levels - shades[counts.argmax()]) <= 1], sd  # the border of two may run through the tissue


def _share_of_few(values: NDArray[np.float64]) -> float:
    """The share of all that the few most common values have."""
    counts = np.sort(np.unique(values, return_counts=True)[1])
    return float(counts[-FEW_LEVELS:].sum() / values.size)
