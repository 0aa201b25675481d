"""Whether probabilities mean what they say: Brier score, negative log-likelihood, calibration error, reliability curve.

A probability map is (classes, i, j, k), background first, its classes summing to 1. All figures depend on *where* they
are computed: the same predictions had a calibration error of 0.015 over a whole image and of 0.152 over the box around
the organ. So the domain is an argument, `near` makes the usual one (the union of both masks, dilated by some mm), and
a table must print it. Sums are float64 and taken in chunks. The module must never know of files or names of labels.

Sources: Brier 1950; Naeini 2015 and Guo 2017 (ECE with equal bins of one label's probability).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.metrics.boxes import box_of, grown

__all__ = ["DOMAIN_MM", "N_BINS", "Reliability", "Scores", "near", "reliability", "scores"]

DOMAIN_MM = 10.0
"""How far around both masks calibration is judged."""

N_BINS = 15

_LEAST = 1e-7
"""A probability of 0 for what is true would cost infinitely much."""

_CHUNK_VOXELS = 2**18


@dataclass(frozen=True, slots=True)
class Scores:
    """Proper scores over a domain of n voxels; NaN where it is empty.

    Attributes:
        brier: Mean over voxels of Σ over classes of (p − y)²: 0 best, 2 worst.
        nll: Mean of −ln p of the true class, p at least 1e-7.
        n: Voxels of the domain.
    """

    brier: float
    nll: float
    n: int


@dataclass(frozen=True, eq=False)
class Reliability:
    """What was said and what was true of one label, in equal bins of its probability.

    Attributes:
        counts: Voxels of each bin, (bins,).
        said: Mean probability in each bin; NaN where it is empty.
        true: Share of voxels that have the label; NaN where it is empty.
    """

    counts: NDArray[np.int64]
    said: NDArray[np.float64]
    true: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: Σ n/N · |said − true|; NaN for an empty domain."""
        n = int(self.counts.sum())
        filled = self.counts > 0
        if not n:
            return nan
        return float((self.counts[filled] * np.abs(self.said - self.true)[filled]).sum() / n)


def near(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], grid: Geometry, mm: float = DOMAIN_MM
) -> NDArray[np.bool_]:
    """Where calibration is judged: voxels at most `mm` from either mask; the whole grid if both are empty.

    Distances are between voxel centres, along the axes' spacing (exact on grids at right angles).
    """
    both = reference | predicted
    box = box_of(both)
    if box is None:
        return np.ones(both.shape, np.bool_)
    reach = [int(np.ceil(mm / side)) for side in grid.spacing_mm]
    around = grown(box, reach, both.shape)
    domain = np.zeros(both.shape, np.bool_)
    domain[around] = distance_transform_edt(~both[around], sampling=grid.spacing_mm) <= mm
    return domain


def scores(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer], domain: NDArray[np.bool_] | None = None
) -> Scores:
    """Brier score and negative log-likelihood.

    Args:
        probabilities: (classes, i, j, k).
        classes: The true class of each voxel (i, j, k), 0…classes − 1.
        domain: Voxels that count (i, j, k); all by default.

    Raises:
        InputError: The shapes differ, or a class has no probability.
    """
    _check(probabilities, classes, domain)
    brier, nll, n = 0.0, 0.0, 0
    for p, truth in _chunks(probabilities, classes, domain):
        own = np.take_along_axis(p, truth[None], axis=0)[0]
        # Σ (p − y)² = Σ p² − 2 p_true + 1
        brier += float((np.square(p).sum(axis=0) - 2 * own + 1).sum())
        nll -= float(np.log(np.maximum(own, _LEAST)).sum())
        n += truth.size
    return Scores(brier / n, nll / n, n) if n else Scores(nan, nan, 0)


def reliability(
    probabilities: NDArray[np.floating],
    classes: NDArray[np.integer],
    label: int | Sequence[int],
    domain: NDArray[np.bool_] | None = None,
    *,
    n_bins: int = N_BINS,
) -> Reliability:
    """The reliability curve of a class, or of several that form a region (whose probabilities add up).

    Bins are (0, 1/n], (1/n, 2/n] …; a probability of 0 is in the first. Arguments and errors are those of `scores`.
    """
    _check(probabilities, classes, domain)
    chosen = [label] if isinstance(label, int) else list(label)
    counts, said, true = np.zeros(n_bins, np.int64), np.zeros(n_bins), np.zeros(n_bins)
    for p, truth in _chunks(probabilities, classes, domain):
        own = np.clip(p[chosen].sum(axis=0), 0, 1)
        bins = np.clip(np.ceil(own * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
        counts += np.bincount(bins, minlength=n_bins)
        said += np.bincount(bins, weights=own, minlength=n_bins)
        true += np.bincount(bins, weights=np.isin(truth, chosen), minlength=n_bins)
    with np.errstate(invalid="ignore"):
        return Reliability(counts, said / counts, true / counts)


def _check(probabilities: NDArray[np.floating], classes: NDArray[np.integer], domain: NDArray[np.bool_] | None) -> None:
    if probabilities.ndim != classes.ndim + 1 or probabilities.shape[1:] != classes.shape:
        raise InputError(
            f"Probabilities of shape {probabilities.shape} do not fit a label map of {classes.shape}: "
            "they must be (classes, i, j, k) on the same grid."
        )
    if domain is not None and domain.shape != classes.shape:
        raise InputError(f"A domain of shape {domain.shape} does not fit a label map of {classes.shape}.")
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < probabilities.shape[0]:
        raise InputError(
            f"The label map has classes from {int(classes.min())} to {int(classes.max())}, but there are "
            f"probabilities of {probabilities.shape[0]} classes."
        )


def _chunks(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer], domain: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.intp]]]:
    """Probabilities (classes, n) in float64 and true classes (n,) of the voxels that count, some layers at a time."""
    thickness = max(1, _CHUNK_VOXELS // max(1, classes[:1].size))
    for start in range(0, classes.shape[0], thickness):
        layers = slice(start, start + thickness)
        counts = np.ones(classes[layers].shape, np.bool_) if domain is None else domain[layers]
        if counts.any():
            yield probabilities[:, layers][:, counts].astype(np.float64), classes[layers][counts].astype(np.intp)
