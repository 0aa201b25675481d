"""What the numbers look like: of each label the worst cases and the median one, where both outlines are farthest apart.

Worst is by the first headline figure that was measured; cases that could not be compared have nothing to show. Only
these few cases are read again, each once, with the image under the masks where it is known. Slices are hung as
radiologists do, cropped around the label, and a ring marks the largest distance between the boundaries. Where one side
lacks the label there is no distance: then the slice is the one with most of it. Slices lie as they were taken, unless
the distance runs across them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import MedsegError
from medseg.core.geometry import Geometry, Reorientation, Voxels
from medseg.core.views import shown_axis
from medseg.data.cases import read_image
from medseg.data.dataset import Case
from medseg.evaluate.catalogue import Metric
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.pairs import Drawn, Pair
from medseg.evaluate.score import Facts, Row, read_again
from medseg.evaluate.tables import number_of
from medseg.metrics.boundary import Farthest, farthest
from medseg.metrics.boxes import Box, boxes_of, start_of, union
from medseg.metrics.conventions import BOUNDARIES
from medseg.pages.cuts import Cut, around
from medseg.pages.pictures import Layer, Picture, data_uri, drawn, grey_of

__all__ = ["PREDICTION_COLOUR", "REFERENCE_COLOUR", "CloseUp", "Rank", "chosen", "close_ups"]

REFERENCE_COLOUR, PREDICTION_COLOUR = "#3fa9f5", "#ffb000"
"""Blue and amber: apart for all the colour-blind. The reference's line is wide, so both show where they agree."""

MOST_PICTURES = 48
MOST_WORST = 3
"""Of a label, beside the median one."""

LEAST_VOXELS = 48
"""So much of the surroundings is shown at least, along each side."""

SHOWN_SIDE, LARGEST_SIDE = 300, 320
"""Pixels along the longer side: at least, and at most before some are left out."""

WIDE_VOXELS, NEAR_VOXELS = 128, 56
"""Where so much is shown, what is around the ring is shown once more by itself, this wide."""

_EMPTY_GREY = 28
"""What masks lie on where no image is known."""

Rank = Literal["worst", "median", "only"]


@dataclass(frozen=True, slots=True)
class CloseUp:
    """A case of a label, to be looked at.

    Attributes:
        case: Its id.
        label: The label's name.
        rank: Why it was chosen.
        words: Its figures.
        pictures: The label in its surroundings; where those are large also what lies around the ring.
    """

    case: str
    label: str
    rank: Rank
    words: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A case of a label that is to be shown."""

    case: str
    label: str
    rank: Rank


def chosen(evaluation: Evaluation) -> tuple[Choice, ...]:
    """What to show: label by label, the worst cases first; of very many labels those with the worst means."""
    metric = next((each for each in evaluation.options.measured if each.is_headline), None)
    if metric is None:
        return ()
    compared = {facts.pair.case for facts in evaluation.facts if facts.outcome == "compared"}
    by_label: dict[str, list[Row]] = {}
    for row in evaluation.rows:
        if row.metric == metric.name and row.case in compared and row.status in ("ok", "missed", "false_alarm"):
            by_label.setdefault(row.label, []).append(row)
    sizes = {(row.case, row.label): row.counted or 0.0 for row in evaluation.rows if row.metric == "reference_ml"}
    n_each = max(2, min(MOST_WORST + 1, MOST_PICTURES // max(1, len(by_label))))
    shown = sorted(by_label, key=lambda label: _badness(np.mean([_counted(r) for r in by_label[label]]), metric))
    names = set(shown[-(MOST_PICTURES // n_each) :])
    return tuple(
        choice
        for label, rows in by_label.items()
        if label in names
        for choice in _of_label(rows, metric, sizes, n_each - 1)
    )


def _of_label(
    rows: Sequence[Row], metric: Metric, sizes: Mapping[tuple[str, str], float], n_worst: int
) -> tuple[Choice, ...]:
    """The worst cases and the median one; of equally bad ones the larger first."""
    ordered = sorted(rows, key=lambda r: (-_badness(_counted(r), metric), -sizes.get((r.case, r.label), 0.0)))
    if len(ordered) == 1:
        return (Choice(ordered[0].case, ordered[0].label, "only"),)
    worst = ordered[:n_worst]
    median = ordered[len(ordered) // 2]
    rest = () if median in worst else (Choice(median.case, median.label, "median"),)
    return (*(Choice(row.case, row.label, "worst") for row in worst), *rest)


def _counted(row: Row) -> float:
    return 0.0 if row.counted is None else row.counted


def _badness(value: Any, metric: Metric) -> float:  # noqa: ANN401  a float of numpy or of Python
    return -float(value) if metric.larger_is_better else float(value)


def close_ups(evaluation: Evaluation) -> tuple[CloseUp, ...]:
    """The pictures of what was chosen; a case whose files cannot be read any more is left out."""
    choices = chosen(evaluation)
    facts = {each.pair.case: each for each in evaluation.facts}
    rows: dict[tuple[str, str], dict[str, Row]] = {}
    for row in evaluation.rows:
        rows.setdefault((row.case, row.label), {})[row.metric] = row
    found: dict[tuple[str, str], CloseUp] = {}
    for case in dict.fromkeys(choice.case for choice in choices):
        wanted = [choice for choice in choices if choice.case == case]
        try:
            looked = _Case.read(facts[case], evaluation)
        except MedsegError:
            continue
        for choice in wanted:
            view = looked.view(facts[case].values_of(choice.label, evaluation.labels))
            figures = _figures(rows[case, choice.label], evaluation.options)
            found[case, choice.label] = _close_up(choice, view, figures)
    return tuple(found[choice.case, choice.label] for choice in choices if (choice.case, choice.label) in found)


def _figures(rows: Mapping[str, Row], options: EvaluateOptions) -> str:
    """The first headline share and the first headline distance in words, or the status that says why there is none."""
    status = next(iter(rows.values())).status
    if status != "ok":
        return {"missed": "missed: the prediction lacks it", "false_alarm": "false alarm: the reference lacks it"}[
            status
        ]
    said = []
    for unit in ("", "mm"):
        headlines = (metric for metric in options.measured if metric.is_headline and metric.unit == unit)
        preferred = sorted(headlines, key=lambda metric: not metric.name.startswith("hd95"))
        for metric in preferred[:1]:
            value = number_of(rows[metric.name].value, metric.name)
            said.append(f"{metric.title} {value}{f' {unit}' if unit else ''}")
    return ", ".join(said)


@dataclass(frozen=True, eq=False)
class _View:
    """Cuts through a label in one plane, and what they show."""

    cuts: tuple[Cut, ...]
    image: NDArray[Any] | None
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    ring: Voxels | None
    distance_mm: float | None


@dataclass(frozen=True, eq=False)
class _Case:
    """A case as it is looked at: both maps and the image in canonical order, on one grid."""

    grid: Geometry
    turn: Reorientation
    placed: bool
    maps: tuple[NDArray[Any], NDArray[Any]]
    boxes: tuple[Mapping[int, Box], Mapping[int, Box]]
    ignored: NDArray[np.bool_] | None
    image: NDArray[Any] | None
    options: EvaluateOptions

    @classmethod
    def read(cls, facts: Facts, evaluation: Evaluation) -> "_Case":
        """Read a case again.

        Raises:
            InputError: It cannot be read any more.
        """
        meant = read_again(facts, evaluation.labels, evaluation.options)
        reference, predicted = meant.reference, meant.predicted or meant.reference
        grid, ignore = reference.geometry, evaluation.labels.ignore
        turn = grid.to_canonical
        ours: NDArray[Any] = turn.apply(reference.array)
        theirs: NDArray[Any] = turn.apply(predicted.array)
        ignored = None if ignore is None else np.asarray(ours == ignore)
        image = _image_of(facts.pair, grid, evaluation.options)
        return cls(
            grid.reorient(turn),
            turn,
            reference.meta.placed,
            (ours, theirs),
            (boxes_of(ours), boxes_of(theirs)),
            ignored,
            None if image is None else turn.apply(image),
            evaluation.options,
        )

    def view(self, values: Sequence[int]) -> _View:
        """A label where its two sides are farthest apart."""
        reference, predicted = (self._mask(side, values) for side in (0, 1))
        together = union([box for side in (0, 1) for value, box in self.boxes[side].items() if value in values])
        cropped = [mask[together] for mask in (reference, predicted)]
        start = start_of(together)
        elements = [
            BOUNDARIES[self.options.boundary](mask, self.grid, start=start, ignored=self.ignored) for mask in cropped
        ]
        apart = farthest(*elements)
        axis = shown_axis(self.grid) if apart is None else _axis_showing(apart, self.grid)
        ring = None
        if apart is None or not apart.distance_mm:
            fullest = int(
                np.count_nonzero(cropped[0] | cropped[1], axis=tuple(a for a in range(3) if a != axis)).argmax()
            )
            index = start[axis] + fullest
        else:
            ring = _voxel_at(apart.point_mm, reference if apart.of_reference else predicted, self.grid)
            index = ring[axis]
        last = (together[0].stop - 1, together[1].stop - 1, together[2].stop - 1)
        boxes = [around(self.grid, start, last, least=(LEAST_VOXELS,) * 3, factor=1.3)]
        if ring is not None and _longest(boxes[0], axis) > WIDE_VOXELS:
            boxes.append(around(self.grid, ring, ring, least=(NEAR_VOXELS,) * 3))
        cuts = tuple(
            Cut(self.grid, self.turn, self.placed, axis, index, box, -(-_longest(box, axis) // LARGEST_SIDE))
            for box in boxes
        )
        distance = None if apart is None else apart.distance_mm
        return _View(cuts, self.image, (reference, predicted), ring, distance)

    def _mask(self, side: int, values: Sequence[int]) -> NDArray[np.bool_]:
        array = self.maps[side]
        mask = np.asarray(array == values[0]) if len(values) == 1 else np.isin(array, values)
        return mask if self.ignored is None else mask & ~self.ignored


def _image_of(pair: Pair, grid: Geometry, options: EvaluateOptions) -> NDArray[Any] | None:
    """The first channel of the image under the masks, if it is known and lies on their grid."""
    scan = pair.scan
    if scan is None and isinstance(pair.reference, Drawn):
        scan = Case(pair.case, (pair.reference.image,), read=pair.reference.read)
    # A folder of images does not say whether a file of several volumes holds channels; to be looked at it may.
    for each in () if scan is None else (scan, replace(scan, stacked=True)):
        try:
            volume = read_image(each, options.read)
        except MedsegError:
            continue
        if volume.geometry.same_as(grid) or _is_flat(volume.geometry, grid):
            return np.asarray(volume.array[0])
    return None


def _is_flat(image: Geometry, grid: Geometry) -> bool:
    """Whether both are pictures of one shape: formats of pictures say nothing of space."""
    return image.shape == grid.shape and grid.shape[2] == 1


def _axis_showing(apart: Farthest, grid: Geometry) -> int:
    """The axis to look along: across the slices, unless the distance runs that way and no slice would show it."""
    usual = shown_axis(grid)
    steps = np.abs(grid.to_voxel(apart.nearest_mm) - grid.to_voxel(apart.point_mm)) * grid.spacing_mm
    if 1 in grid.shape or steps[usual] ** 2 <= (steps**2).sum() / 2:
        return usual
    return min((axis for axis in (1, 0, 2) if axis != usual), key=lambda axis: round(float(steps[axis]), 6))


def _voxel_at(point_mm: tuple[float, float, float], mask: NDArray[np.bool_], grid: Geometry) -> Voxels:
    """The voxel of a mask that an element of its boundary belongs to: a face lies half a voxel beside it."""
    place = grid.to_voxel(point_mm)
    near = [
        tuple(int(np.clip(c, 0, n - 1)) for c, n in zip(corner, grid.shape, strict=True))
        for corner in product(*((np.floor(p + 1e-6), np.ceil(p - 1e-6)) for p in place))
    ]
    i, j, k = next((voxel for voxel in near if mask[voxel]), near[0])
    return i, j, k


def _longest(box: Box, axis: int) -> int:
    return int(max(side.stop - side.start for a, side in enumerate(box) if a != axis))


def _close_up(choice: Choice, view: _View, figures: str) -> CloseUp:
    apart = f"{view.distance_mm:.1f} mm apart at the ring" if view.ring is not None else ""
    words = "; ".join(part for part in (figures, apart, view.cuts[0].title) if part)
    about = f"{choice.case}, {choice.label}"
    return CloseUp(
        choice.case, choice.label, choice.rank, words, tuple(_picture(view, cut, about, words) for cut in view.cuts)
    )


def _picture(view: _View, cut: Cut, about: str, words: str) -> Picture:
    reference, predicted = (cut.of(mask) for mask in view.masks)
    grey = np.full(reference.shape, _EMPTY_GREY, np.uint8) if view.image is None else grey_of(cut.of(view.image))
    tint = 0.25 if view.image is None else 0.0
    pixels = drawn(
        grey,
        (Layer(reference, REFERENCE_COLOUR, 3, tint), Layer(predicted, PREDICTION_COLOUR, 1, tint)),
        cut.aspect,
        None if view.ring is None else cut.spot(view.ring),
        SHOWN_SIDE,
    )
    height, width = pixels.shape[:2]
    shown = [name for name, mask in (("reference", reference), ("prediction", predicted)) if mask.any()]
    where = "" if cut is view.cuts[0] else " around the ring"
    return Picture(
        source=data_uri(pixels),
        width=width,
        height=height,
        title=cut.title,
        alternative=f"{about}{where}: outlines of {' and '.join(shown) or 'nothing'}. {words}.",
        legend=(("reference", REFERENCE_COLOUR), ("prediction", PREDICTION_COLOUR)),
        edges=cut.edges,
    )
