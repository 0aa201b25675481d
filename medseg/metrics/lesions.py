"""Lesions one by one: connected components of two masks, which of them were found, and how well.

Four conventions are in use and give four numbers for one pair of masks, so each is a function with its own name, and
its parameters are values with names: *detection* (any overlap, or an IoU from which a lesion counts as found),
*lesion-wise Dice and HD95* as the BraTS challenge of 2023 has them, and *panoptic quality*. Components are found inside
the box of each mask, and per-lesion work stays in the box of the lesion: no full-size mask a lesion. On a grid of one
slice (k = 1) neighbours are those in the plane. The module must never know of files or names of labels.

Sources: Kuijf 2019 (WMH challenge: detection); the BraTS 2023 evaluation code (dilation, thresholds, penalties);
Kirillov 2019 (PQ).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import nan
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure
from scipy.ndimage import label as label_components

from medseg.core.errors import UsageError
from medseg.core.geometry import Geometry
from medseg.metrics.boundary import Boundary, boundary_of, surface_distances
from medseg.metrics.boxes import Box, box_of, boxes_of, grown, moved, seen, start_of, union

__all__ = [
    "BRATS_2023",
    "CONNECTIVITIES",
    "Detection",
    "LesionWise",
    "LesionWiseRule",
    "Lesions",
    "PanopticQuality",
    "detection",
    "lesion_wise",
    "lesions_of",
    "panoptic_quality",
]

CONNECTIVITIES: Mapping[int, int] = MappingProxyType({6: 1, 18: 2, 26: 3})
"""How many neighbours a voxel has → across how many axes at once two voxels may touch."""


_NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
"""Where the lesions of an empty mask lie."""


@dataclass(frozen=True, eq=False)
class Lesions:
    """The connected components of a mask.

    Attributes:
        numbers: Which lesion a voxel belongs to, 1…n, 0 for none; int32, of the box alone.
        box: Where `numbers` lies in the grid.
        sizes: Voxels of each lesion, (n,).
        connectivity: Neighbours of a voxel: 6, 18 or 26.
    """

    numbers: NDArray[np.int32]
    box: Box
    sizes: NDArray[np.int64]
    connectivity: int

    def __len__(self) -> int:
        return int(self.sizes.size)

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """The box of each lesion in the grid."""
        return tuple(moved(box, start_of(self.box)) for box in boxes_of(self.numbers).values())

    def within(self, box: Box) -> NDArray[np.int32]:
        """The numbers of lesions in a box of the grid, 0 where it reaches beyond their own."""
        return seen(self.numbers, start_of(self.box), box)


def lesions_of(mask: NDArray[np.bool_], *, connectivity: int = 26) -> Lesions:
    """The connected components of a mask (i, j, k).

    Raises:
        UsageError: The connectivity is none of 6, 18, 26.
    """
    if connectivity not in CONNECTIVITIES:
        raise UsageError(f"Voxels have 6, 18 or 26 neighbours; a connectivity of {connectivity} does not exist.")
    box = box_of(mask) or _NOWHERE
    numbers, n = label_components(mask[box], _structure(connectivity), output=np.int32)
    sizes = np.bincount(numbers.reshape(-1), minlength=n + 1)[1:].astype(np.int64)
    return Lesions(numbers, box, sizes, connectivity)


@dataclass(frozen=True, slots=True)
class Detection:
    """How many lesions were found: counts of lesions, and the shares that follow; NaN where a formula is 0/0.

    Attributes:
        found: Lesions of the reference that the prediction overlaps enough.
        missed: Lesions of the reference that it does not.
        right: Lesions of the prediction that overlap the reference enough.
        spurious: Lesions of the prediction that do not: false alarms.
    """

    found: int
    missed: int
    right: int
    spurious: int

    @property
    def recall(self) -> float:
        """The share of the reference's lesions that were found; NaN if it has none."""
        return _ratio(self.found, self.found + self.missed)

    @property
    def precision(self) -> float:
        """The share of the prediction's lesions that are right; NaN if it has none."""
        return _ratio(self.right, self.right + self.spurious)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 if only one side has lesions, NaN if neither has."""
        if not (self.found + self.missed) or not (self.right + self.spurious):
            return nan if self.found + self.missed + self.right + self.spurious == 0 else 0.0
        return _ratio(2 * self.recall * self.precision, self.recall + self.precision, otherwise=0.0)


def detection(reference: Lesions, predicted: Lesions, *, iou: float | None = None) -> Detection:
    """Which lesions were found: by any shared voxel, or where a pair's IoU is at least `iou`."""
    rows, columns, counts = _shared(reference, predicted)
    if iou is not None:
        unions = reference.sizes[rows - 1] + predicted.sizes[columns - 1] - counts
        enough = counts >= iou * unions * (1 - 1e-12)
        rows, columns = rows[enough], columns[enough]
    found, right = np.unique(rows).size, np.unique(columns).size
    return Detection(found, len(reference) - found, right, len(predicted) - right)


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """Matched lesions and their quality; NaN where neither side has a lesion.

    Attributes:
        matched: Pairs with an IoU above 0.5: no lesion can be in two of them.
        missed: Lesions of the reference without a match.
        spurious: Lesions of the prediction without a match.
        sum_iou: Σ IoU of the matched pairs.
    """

    matched: int
    missed: int
    spurious: int
    sum_iou: float

    @property
    def segmentation(self) -> float:
        """SQ: the mean IoU of the matched pairs; NaN if there is none."""
        return _ratio(self.sum_iou, self.matched)

    @property
    def recognition(self) -> float:
        """RQ = TP / (TP + FP/2 + FN/2)."""
        return _ratio(self.matched, self.matched + self.spurious / 2 + self.missed / 2)

    @property
    def quality(self) -> float:
        """PQ = SQ · RQ; 0 if nothing is matched, NaN if neither side has a lesion."""
        return _ratio(self.sum_iou, self.matched + self.spurious / 2 + self.missed / 2)


def panoptic_quality(reference: Lesions, predicted: Lesions) -> PanopticQuality:
    """Panoptic quality of one label's lesions (Kirillov 2019)."""
    rows, columns, counts = _shared(reference, predicted)
    iou = counts / (reference.sizes[rows - 1] + predicted.sizes[columns - 1] - counts)
    matched = iou > 0.5
    n = int(matched.sum())
    return PanopticQuality(n, len(reference) - n, len(predicted) - n, float(iou[matched].sum()))


@dataclass(frozen=True, slots=True)
class LesionWiseRule:
    """The parameters of the lesion-wise metrics of BraTS 2023, by the name of the sub-challenge.

    Attributes:
        name: As in the names of columns.
        dilations: How often the reference is dilated (18 neighbours) before its components are taken.
        smallest_mm3: Reference lesions of at most this volume are left out.
        worst_hd95_mm: What a missed or spurious lesion counts as: the diagonal of a BraTS image.
    """

    name: str
    dilations: int
    smallest_mm3: float
    worst_hd95_mm: float = 374.0


BRATS_2023: Mapping[str, LesionWiseRule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            LesionWiseRule("gli", 3, 50),
            LesionWiseRule("ssa", 3, 50),
            LesionWiseRule("ped", 3, 50),
            LesionWiseRule("men", 1, 50),
            LesionWiseRule("met", 1, 2),
        )
    }
)
"""Glioma, Sub-Saharan Africa, paediatric, meningioma, metastases."""


@dataclass(frozen=True, slots=True)
class LesionWise:
    """Means over lesions: those of the reference that are large enough, and each spurious one of the prediction.

    Attributes:
        dice: The mean Dice; 1 if there is no lesion to judge.
        hd95_mm: The mean HD95; 0 if there is no lesion to judge.
        n_reference: Lesions of the reference that count.
        n_missed: Those of them that the prediction does not touch.
        n_spurious: Lesions of the prediction that touch no lesion of the reference.
    """

    dice: float
    hd95_mm: float
    n_reference: int
    n_missed: int
    n_spurious: int


def lesion_wise(
    reference: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    grid: Geometry,
    rule: LesionWiseRule,
    *,
    boundary_of: Callable[..., Boundary] = boundary_of,
) -> LesionWise:
    """Lesion-wise Dice and HD95 of two masks (i, j, k) of one grid by the rule of a BraTS 2023 sub-challenge.

    Components of the dilated reference, restricted to the reference, are its lesions; a lesion is compared with the
    union of all predicted components (26 neighbours) that touch it once it is dilated again. The challenge measures
    HD95 with DeepMind's elements; `boundary_of` says which are taken here (medseg's faces by default).
    """
    measure = _Pairwise(grid, boundary_of)
    ours, theirs = lesions_of(predicted), _merged(reference, rule.dilations)
    touched: set[int] = set()
    dice, hd95, n_missed, n_reference = 0.0, 0.0, 0, 0
    for number, own_box in enumerate(theirs.boxes, start=1):
        box = grown(own_box, (rule.dilations + 1,) * 3, reference.shape)
        lesion = theirs.within(box) == number
        around = binary_dilation(lesion, generate_binary_structure(3, 2), iterations=rule.dilations)
        touching = np.unique(ours.within(box)[around])
        touching = touching[touching > 0]
        touched.update(int(n) for n in touching)
        # Left out is a lesion only after the prediction was matched to it: what it touches is not spurious.
        if theirs.sizes[number - 1] * grid.voxel_volume_ml * 1000 <= rule.smallest_mm3:
            continue
        n_reference += 1
        if not touching.size:
            n_missed += 1
            hd95 += rule.worst_hd95_mm
            continue
        found_dice, found_hd95 = measure(lesion, box, ours, touching)
        dice, hd95 = dice + found_dice, hd95 + found_hd95
    n_spurious = len(ours) - len(touched)
    n = n_reference + n_spurious
    if not n:
        return LesionWise(1.0, 0.0, 0, 0, 0)
    return LesionWise(dice / n, (hd95 + n_spurious * rule.worst_hd95_mm) / n, n_reference, n_missed, n_spurious)


class _Pairwise:
    """Dice and HD95 of one lesion against some predicted components."""

    def __init__(self, grid: Geometry, boundary_of: Callable[..., Boundary]) -> None:
        self._grid, self._boundary_of = grid, boundary_of

    def __call__(
        self, lesion: NDArray[np.bool_], box: Box, ours: Lesions, touching: NDArray[np.integer]
    ) -> tuple[float, float]:
        own_box = union([ours.boxes[number - 1] for number in touching])
        predicted = np.isin(ours.within(own_box), touching)
        in_both = np.count_nonzero(lesion & seen(predicted, start_of(own_box), box))
        dice = 2 * in_both / (np.count_nonzero(lesion) + np.count_nonzero(predicted))
        found = surface_distances(self._boundary(lesion, box), self._boundary(predicted, own_box))
        return dice, found.hd95_mm()

    def _boundary(self, mask: NDArray[np.bool_], box: Box) -> Boundary:
        return self._boundary_of(mask, self._grid, start=start_of(box))


def _merged(mask: NDArray[np.bool_], dilations: int) -> Lesions:
    """The components of the dilated mask, restricted to the mask: lesions that lie close together are one."""
    box = grown(box_of(mask) or _NOWHERE, (dilations,) * 3, mask.shape)
    inside = mask[box]
    dilated = binary_dilation(inside, generate_binary_structure(3, 2), iterations=dilations) if dilations else inside
    numbers, n = label_components(dilated, _structure(26), output=np.int32)
    numbers[~inside] = 0
    sizes = np.bincount(numbers.reshape(-1), minlength=n + 1)[1:].astype(np.int64)
    return Lesions(numbers, box, sizes, 26)


def _shared(reference: Lesions, predicted: Lesions) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of lesions that share voxels: numbers of the reference's and of the prediction's, voxels shared."""
    theirs = reference.numbers
    ours = predicted.within(reference.box)
    both = (theirs > 0) & (ours > 0)
    keys, counts = np.unique(theirs[both].astype(np.int64) * (len(predicted) + 1) + ours[both], return_counts=True)
    rows, columns = np.divmod(keys, len(predicted) + 1)
    return rows, columns, counts.astype(np.int64)


def _structure(connectivity: int) -> NDArray[np.bool_]:
    structure: NDArray[np.bool_] = generate_binary_structure(3, CONNECTIVITIES[connectivity])
    return structure


def _ratio(part: float, whole: float, *, otherwise: float = nan) -> float:
    return part / whole if whole else otherwise
