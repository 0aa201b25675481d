"""How much of a label two maps have in common: one confusion matrix, and every count and volume that follows from it.

The matrix is counted once for a whole pair of maps, chunk by chunk; labels and regions are then sums of its cells, so
twenty labels cost what one does. Counts are int64: no sum of a large volume wraps or stops growing. What a formula
leaves undefined (0/0) is NaN; what that means for a table is decided elsewhere. The module must never know of files,
names of labels or spacing beyond the volume of a voxel.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError

__all__ = ["Confusion", "Overlap", "confusion"]

_CHUNK_VOXELS = 2**16
"""Voxels counted at once. Small enough for the cache: four times faster than 2**22 (0.14 s, 0.54 s for 52 M voxels)."""

_DIRECT_VALUES = 256
"""Up to this value labels index the matrix as they are; above, they are numbered first."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """The four counts of one label or region, and the measures that follow from them; NaN where a formula is 0/0."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def n_reference(self) -> int:
        """Voxels of the reference."""
        return self.true_positive + self.false_negative

    @property
    def n_predicted(self) -> int:
        """Voxels of the prediction."""
        return self.true_positive + self.false_positive

    @property
    def dice(self) -> float:
        """2TP / (2TP + FP + FN); NaN if both are empty (Dice 1945, Zijdenbos 1994)."""
        return _ratio(2 * self.true_positive, self.n_reference + self.n_predicted)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN); NaN if both are empty (Jaccard 1912)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN if the prediction is empty."""
        return _ratio(self.true_positive, self.n_predicted)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), also called sensitivity; NaN if the reference is empty."""
        return _ratio(self.true_positive, self.n_reference)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP); it grows with the field of view, so it ranks nothing. NaN if the reference fills the grid."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def volume_similarity(self) -> float:
        """1 − |V_P − V_R| / (V_P + V_R); NaN if both are empty (Taha & Hanbury 2015)."""
        return 1 - _ratio(abs(self.n_predicted - self.n_reference), self.n_predicted + self.n_reference)

    @property
    def volume_error_percent(self) -> float:
        """100 · (V_P − V_R) / V_R, signed; NaN if the reference is empty."""
        return 100 * _ratio(self.n_predicted - self.n_reference, self.n_reference)

    def volume_error_ml(self, voxel_volume_ml: float) -> float:
        """V_P − V_R in ml, signed: above 0 the prediction is larger."""
        return (self.n_predicted - self.n_reference) * voxel_volume_ml


@dataclass(frozen=True, eq=False)
class Confusion:
    """How many voxels have each pair of values.

    Attributes:
        values: The values of either map, ascending, (n,); the value to ignore is not among them.
        counts: Voxels by reference value (rows) and predicted value (columns), int64 (n, n).
        n_ignored: Voxels that the reference says to ignore; they are in no cell.
    """

    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    n_ignored: int = 0

    @property
    def reference_counts(self) -> dict[int, int]:
        """Voxels of the reference by value, of the values that it has."""
        return self._present(self.counts.sum(axis=1))

    @property
    def predicted_counts(self) -> dict[int, int]:
        """Voxels of the prediction by value, of the values that it has."""
        return self._present(self.counts.sum(axis=0))

    def overlap(self, values: Collection[int]) -> Overlap:
        """The counts of one label (a single value) or of a region (several values taken together)."""
        of_it = np.isin(self.values, list(values))
        in_both = int(self.counts[np.ix_(of_it, of_it)].sum())
        in_reference, in_predicted = int(self.counts[of_it].sum()), int(self.counts[:, of_it].sum())
        return Overlap(
            true_positive=in_both,
            false_positive=in_predicted - in_both,
            false_negative=in_reference - in_both,
            true_negative=int(self.counts.sum()) - in_reference - in_predicted + in_both,
        )

    def _present(self, counts: NDArray[np.int64]) -> dict[int, int]:
        return {int(value): int(count) for value, count in zip(self.values, counts, strict=True) if count}


def confusion(
    reference: NDArray[np.integer], predicted: NDArray[np.integer], *, ignore: int | None = None
) -> Confusion:
    """Count every pair of values of two label maps of one shape (integers ≥ 0, any number of axes).

    `ignore` names the value of the *reference* whose voxels count nowhere. Where only the prediction has that value, it
    is counted like any other.

    Raises:
        InputError: The shapes differ, or a value is negative.
    """
    if reference.shape != predicted.shape:
        raise InputError(f"The reference has the shape {reference.shape}, the prediction {predicted.shape}.")
    values = _values(reference, predicted)
    # Values that are already 0…n-1 (nearly every label map) index the matrix as they are.
    direct = bool(values[-1] == values.size - 1)
    n = values.size
    cells = np.zeros(n * n, np.int64)
    # With many values the matrix is larger than a chunk, and adding to it would be the work.
    for rows, columns in _chunks(reference, predicted, max(_CHUNK_VOXELS, 4 * n * n)):
        if not direct:
            rows, columns = np.searchsorted(values, rows), np.searchsorted(values, columns)
        # Widened before it is multiplied: uint8 · 21 wraps.
        cells += np.bincount(rows.astype(np.intp) * n + columns.astype(np.intp), minlength=n * n)
    counts = cells.reshape(n, n)
    ignored = values == ignore if ignore is not None else np.zeros(n, np.bool_)
    n_ignored = int(counts[ignored].sum())
    counts[ignored] = 0
    seen = counts.any(axis=0) | counts.any(axis=1)
    return Confusion(values[seen], counts[np.ix_(seen, seen)], n_ignored)


def _values(reference: NDArray[np.integer], predicted: NDArray[np.integer]) -> NDArray[np.int64]:
    """All values that could occur, ascending: 0…largest where that is few, else those that do occur."""
    if reference.size == 0:
        return np.zeros(1, np.int64)
    smallest = min(int(reference.min()), int(predicted.min()))
    largest = max(int(reference.max()), int(predicted.max()))
    if smallest < 0:
        raise InputError(f"A label map holds the value {smallest}; labels are whole numbers from 0 on.")
    if largest < _DIRECT_VALUES:
        return np.arange(largest + 1)
    return np.union1d(np.unique(reference), np.unique(predicted)).astype(np.int64)


def _chunks(
    first: NDArray[np.integer], second: NDArray[np.integer], n_voxels: int
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer]]]:
    """Both arrays by pieces of about `n_voxels`, voxel by voxel in step, whatever their order in memory."""
    if first.ndim == 0:
        first, second = first.reshape(1), second.reshape(1)
    # Slabs across the slowest axis of the first array lie together in memory.
    axes = sorted(range(first.ndim), key=lambda axis: -abs(first.strides[axis]))
    first, second = first.transpose(axes), second.transpose(axes)
    thickness = max(1, n_voxels // max(1, first[:1].size))
    for start in range(0, first.shape[0], thickness):
        slab = slice(start, start + thickness)
        yield first[slab].reshape(-1), second[slab].reshape(-1)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else nan
