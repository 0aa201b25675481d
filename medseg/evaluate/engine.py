"""What one pair of label maps needs beyond counting: boundaries, bands, courses, lesions, calibration, label by label.

An `Engine` holds a pair and what all labels share (their boxes, the voxels to ignore, the probabilities); `figures`
gives the metrics of one label or region that its options ask for. Work stays in the box of the label: no mask of the
whole grid is made. Undefined is NaN or absent; what that counts as is decided by `catalogue`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap
from medseg.evaluate.catalogue import Distance, Metric
from medseg.metrics import SurfaceDistances, boxes_of, surface_distances
from medseg.metrics.bands import boundary_iou
from medseg.metrics.boxes import Box, grown, start_of, union
from medseg.metrics.calibration import DOMAIN_MM, near, reliability, scores
from medseg.metrics.conventions import BOUNDARIES, BoundaryName
from medseg.metrics.lesions import BRATS_2023, LesionWise, detection, lesion_wise, lesions_of, panoptic_quality

__all__ = ["NSD_TOLERANCES_MM", "Curve", "Engine", "Probabilities"]

NSD_TOLERANCES_MM = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Where the curve of NSD against tolerance is read."""


@dataclass(frozen=True, eq=False)
class Probabilities:
    """The probabilities of the classes: `array` (classes, i, j, k) on the pair's grid, `values` (classes,) of them."""

    array: NDArray[np.floating]
    values: tuple[int, ...]


@dataclass(frozen=True)
class Curve:
    """A reliability curve: voxels of each bin, mean probability said and share that was true, None where empty."""

    counts: tuple[int, ...]
    said: tuple[float | None, ...]
    true: tuple[float | None, ...]


@dataclass
class Engine:
    """The figures of the labels of one pair.

    Attributes:
        reference: The truth.
        predicted: What is judged, on the same grid.
        metrics: What to measure; those that need only counts are left to the confusion matrix.
        ignore: The value of the reference that nobody judges.
        connectivity: Neighbours of a voxel in lesions: 6, 18 or 26.
        probabilities: Those of the classes, where they were saved.
        n_dropped: Boundary elements that were left out because they touch voxels to ignore.
        curves: By label: its reliability curve.
        nsd_curves: By label: NSD at each of `NSD_TOLERANCES_MM`, between the boundaries of the first NSD asked for.
    """

    reference: LabelMap
    predicted: LabelMap
    metrics: Sequence[Metric]
    ignore: int | None = None
    connectivity: int = 26
    probabilities: Probabilities | None = None
    n_dropped: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    nsd_curves: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._maps = (self.reference.array, self.predicted.array)
        self._boxes = tuple(boxes_of(array) for array in self._maps)
        ignored = None if self.ignore is None else np.asarray(self.reference.array == self.ignore)
        self._ignored = ignored if ignored is not None and ignored.any() else None
        self._needs = {metric.needs for metric in self.metrics}

    @property
    def grid(self) -> Geometry:
        return self.reference.geometry

    def figures(self, name: str, values: Collection[int], tolerance_mm: float) -> dict[str, float]:
        """All figures of a label or region that at least one side has.

        Args:
            name: The label's, for its curve.
            values: Its values.
            tolerance_mm: How far apart boundaries may lie to agree.
        """
        boxes = [self._box(side, values) for side in (0, 1)]
        found: dict[str, float] = {}
        if "probabilities" in self._needs and self.probabilities is not None:
            found |= self._calibration(name, values, self.probabilities)
        if boxes[0] is None and boxes[1] is None:
            return found
        if self._needs & {"lesions", "lesion_wise"}:
            found |= self._lesions(values)
        if boxes[0] is None or boxes[1] is None:
            return found
        if "boundary" in self._needs:
            found |= self._distances(name, values, tolerance_mm)
        if self._needs & {"band", "skeleton"}:
            found |= self._of_masks(values, tolerance_mm)
        return found

    def _box(self, side: int, values: Collection[int]) -> Box | None:
        boxes = [self._boxes[side][value] for value in values if value in self._boxes[side]]
        return union(boxes) if boxes else None

    def _mask(self, side: int, values: Collection[int], box: Box) -> NDArray[np.bool_]:
        """Where a map has the label in a box; a view of nothing is made of the rest."""
        inside = self._maps[side][box]
        mask = inside == next(iter(values)) if len(values) == 1 else np.isin(inside, list(values))
        return np.asarray(mask)

    def _distances(self, name: str, values: Collection[int], tolerance_mm: float) -> dict[str, float]:
        by_boundary: dict[BoundaryName, SurfaceDistances] = {}
        found = {}
        for metric in self.metrics:
            if metric.needs == "boundary" and metric.distance is not None:
                kind = metric.distance.boundary
                if kind not in by_boundary:
                    by_boundary[kind] = self._surfaces(kind, values)
                found[metric.name] = _read(by_boundary[kind], metric.distance, tolerance_mm)
                if metric.distance.figure == "nsd" and by_boundary[kind].defined:
                    curve = tuple(by_boundary[kind].nsd(tolerance) for tolerance in NSD_TOLERANCES_MM)
                    self.nsd_curves.setdefault(name, curve)
        return found

    def _surfaces(self, kind: BoundaryName, values: Collection[int]) -> SurfaceDistances:
        sides = []
        for side in (0, 1):
            box = self._box(side, values)
            assert box is not None  # noqa: S101  asked for only where both sides have the label
            start = (box[0].start, box[1].start, box[2].start)
            sides.append(BOUNDARIES[kind](self._mask(side, values, box), self.grid, start=start, ignored=self._ignored))
        found = surface_distances(*sides)
        self.n_dropped += found.n_dropped
        return found

    def _together(
        self, values: Collection[int], margin: int = 1
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Geometry, Box]:
        """Both masks in one box, `margin` voxels around it as far as the grid reaches, without what is ignored.

        The margin is at least 1: a body in a single slice of a volume is no picture, whose grid has a single slice.
        """
        boxes = [box for side in (0, 1) if (box := self._box(side, values)) is not None]
        box = grown(union(boxes), (margin,) * 3, self.grid.shape)
        reference, predicted = (self._mask(side, values, box) for side in (0, 1))
        if self._ignored is not None:
            judged = ~self._ignored[box]
            reference, predicted = reference & judged, predicted & judged
        return reference, predicted, self.grid.crop(start_of(box), tuple(side.stop for side in box)), box

    def _of_masks(self, values: Collection[int], tolerance_mm: float) -> dict[str, float]:
        reference, predicted, grid, _ = self._together(values)
        found = {}
        if "band" in self._needs:
            found["boundary_iou"] = boundary_iou(reference, predicted, grid, tolerance_mm)
        if "skeleton" in self._needs:
            from medseg.metrics.skeleton import centreline

            found["cldice"] = centreline(reference, predicted, grid).dice
        return found

    def _lesions(self, values: Collection[int]) -> dict[str, float]:
        # The dilations of the challenge end at the border of the image and not at that of the box.
        margin = 1 + max((BRATS_2023[metric.rule].dilations for metric in self.metrics if metric.rule), default=0)
        reference, predicted, grid, _ = self._together(values, 2 * margin)
        found: dict[str, float] = {}
        if "lesions" in self._needs:
            found |= self._one_by_one(reference, predicted)
        rules = {
            (metric.rule, metric.distance.boundary if metric.distance else None)
            for metric in self.metrics
            if metric.rule
        }
        for rule, boundary in sorted(rules, key=str):
            how = BOUNDARIES[boundary or "faces"]
            judged = lesion_wise(reference, predicted, grid, BRATS_2023[rule], boundary_of=how)
            found |= self._by_rule(rule, boundary, judged)
        return found

    def _by_rule(self, rule: str, boundary: BoundaryName | None, judged: LesionWise) -> dict[str, float]:
        return {
            metric.name: judged.dice if metric.distance is None else judged.hd95_mm
            for metric in self.metrics
            if metric.rule == rule and (metric.distance.boundary if metric.distance else None) == boundary
        }

    def _one_by_one(self, reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, float]:
        theirs, ours = (lesions_of(mask, connectivity=self.connectivity) for mask in (reference, predicted))
        detected, matched = detection(theirs, ours), panoptic_quality(theirs, ours)
        return {
            "lesions_reference": float(len(theirs)),
            "lesions_predicted": float(len(ours)),
            "lesions_missed": float(detected.missed),
            "lesions_spurious": float(detected.spurious),
            "lesion_recall": detected.recall,
            "lesion_precision": detected.precision,
            "lesion_f1": detected.f1,
            "pq": matched.quality,
            "sq": matched.segmentation,
            "rq": matched.recognition,
        }

    def _calibration(self, name: str, values: Collection[int], said: Probabilities) -> dict[str, float]:
        """Calibration of the label against the rest, near both masks (or everywhere where neither has it)."""
        reach = int(np.ceil(DOMAIN_MM / min(self.grid.spacing_mm)))
        if any(self._box(side, values) is not None for side in (0, 1)):
            reference, predicted, grid, box = self._together(values, reach)
            domain = near(reference, predicted, grid, DOMAIN_MM)
        else:
            box = (slice(0, self.grid.shape[0]), slice(0, self.grid.shape[1]), slice(0, self.grid.shape[2]))
            reference, domain = np.zeros(self.grid.shape, np.bool_), np.ones(self.grid.shape, np.bool_)
        if self._ignored is not None:
            domain &= ~self._ignored[box]
        classes = [place for place, value in enumerate(said.values) if value in values]
        own = np.clip(said.array[(classes, *box)].sum(axis=0, dtype=np.float64), 0, 1)
        two, truth = np.stack([1 - own, own]), reference.astype(np.uint8)
        proper, curve = scores(two, truth, domain), reliability(two, truth, 1, domain)
        self.curves[name] = Curve(
            tuple(int(n) for n in curve.counts),
            tuple(None if np.isnan(x) else float(x) for x in curve.said),
            tuple(None if np.isnan(x) else float(x) for x in curve.true),
        )
        return {"brier": proper.brier, "nll": proper.nll, "ece": curve.ece}


def _read(found: SurfaceDistances, how: Distance, tolerance_mm: float) -> float:
    read: Mapping[str, Callable[[], float]] = {
        "percentile": lambda: found.percentile(how.q, pooled=how.pooled),
        "assd": lambda: found.assd_mm,
        "masd": lambda: found.masd_mm,
        # Where ignored voxels ate a whole boundary there is no share of it.
        "nsd": lambda: found.nsd(tolerance_mm) if found.defined else nan,
    }
    return read[how.figure]()
