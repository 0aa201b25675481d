"""The metrics that a table can hold: name, unit, range, what they need, and what an undefined value counts as.

One row a metric, names with their unit where there is one, so that `hd95_mm` is read as what it is in every file. A
number of another convention has another name: `hd95_pooled_mm`, `hd95_surfels_mm` (DeepMind's boundaries),
`lesion_dice_brats2023_gli`. Distances are a family: any percentile (`hd99_mm`) of any boundary is made when asked for.

The policy about empty masks and missing files stands here and nowhere else: `one_empty` and `neither` are the raw
values where one side or both lack the label, `worst` is what a miss, a false alarm and a missing or failed prediction
count as in the mean over *all* where the metric has no value of its own, `perfect` what a label that is absent in both
counts as. How a value is computed is the matter of `medseg.metrics`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal, get_args

from medseg.core.errors import UsageError
from medseg.metrics.conventions import BoundaryName
from medseg.metrics.lesions import BRATS_2023

__all__ = [
    "CALIBRATION",
    "DEFAULT_METRICS",
    "LESIONS",
    "METRICS",
    "Distance",
    "Metric",
    "chosen",
    "metric_of",
    "of_boundary",
]

Need = Literal["counts", "boundary", "band", "skeleton", "lesions", "lesion_wise", "probabilities"]
"""What a metric is computed from; "counts" are those of the confusion matrix."""


@dataclass(frozen=True, slots=True)
class Distance:
    """How a figure is read from two boundaries.

    Attributes:
        figure: The percentile `q` of the distances, their means, or the share within a tolerance.
        q: Percentile; 100 is the largest distance.
        pooled: Of both sets taken as one, not the larger of two.
        boundary: Which elements make a boundary.
    """

    figure: Literal["percentile", "assd", "masd", "nsd"]
    q: float = 100.0
    pooled: bool = False
    boundary: BoundaryName = "faces"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a table must know of a metric.

    Attributes:
        name: As in metrics.csv and summary.json.
        unit: "mm", "ml", "%", or "" for a share or a count.
        title: As in a table's head.
        worst: What counts where a prediction is as bad as can be: a number, the image's "diagonal" in mm, or None (then
            an undefined value is in no mean).
        perfect: What counts where reference and prediction are both empty and the metric is undefined; None: nothing.
        bounds: The range that values cannot leave.
        is_headline: Whether the mean over labels is a figure for a whole set.
        is_default: Whether it is measured unless asked otherwise.
        needs: What it is computed from.
        larger_is_better: None where neither is.
        one_empty: The raw value where one side alone has the label and nothing can be measured; None: there is none.
        neither: The raw value where no side has it; None: there is none.
        distance: How it is read from boundaries; None if it is not.
        rule: The BraTS sub-challenge whose parameters it has; "" for none.
    """

    name: str
    unit: str
    title: str
    worst: float | Literal["diagonal"] | None = None
    perfect: float | None = None
    bounds: tuple[float | None, float | None] = (None, None)
    is_headline: bool = False
    is_default: bool = True
    needs: Need = "counts"
    larger_is_better: bool | None = None
    one_empty: float | None = None
    neither: float | None = None
    distance: Distance | None = None
    rule: str = ""


def _share(name: str, title: str, *, headline: bool = True, default: bool = True) -> Metric:
    return Metric(name, "", title, 0.0, 1.0, (0.0, 1.0), headline, default, larger_is_better=True)


def _extra(name: str, title: str, needs: Need, *, headline: bool = True) -> Metric:
    """A share that is measured when asked for, and 0 where one side alone has the label."""
    return replace(_share(name, title, headline=headline, default=False), needs=needs, one_empty=0.0)


def _count(name: str, title: str) -> Metric:
    return Metric(name, "", title, bounds=(0.0, None), is_default=False, needs="lesions", neither=0.0)


def _distance(name: str, title: str, distance: Distance, *, default: bool = True) -> Metric:
    bounds = (0.0, None)
    return Metric(
        name, "mm", title, "diagonal", 0.0, bounds, True, default, "boundary", larger_is_better=False, distance=distance
    )


def _nsd(name: str, title: str, distance: Distance, *, default: bool = True) -> Metric:
    # Nothing of a boundary is near to nothing: 0 by the formula, while a distance to nothing does not exist.
    return replace(_share(name, title, default=default), needs="boundary", one_empty=0.0, distance=distance)


def _calibration(name: str, title: str, largest: float | None) -> Metric:
    """Defined for empty masks too: the domain is then the whole image."""
    return Metric(
        name,
        "",
        title,
        bounds=(0.0, largest),
        is_headline=True,
        is_default=False,
        needs="probabilities",
        larger_is_better=False,
    )


def _brats(rule: str) -> tuple[Metric, Metric]:
    title = f"BraTS 2023 {rule.upper()}"
    dice = replace(_extra(f"lesion_dice_brats2023_{rule}", f"lesion Dice ({title})", "lesion_wise"), rule=rule)
    hd95 = Metric(
        f"lesion_hd95_brats2023_{rule}_mm",
        "mm",
        f"lesion HD95 ({title})",
        BRATS_2023[rule].worst_hd95_mm,
        0.0,
        (0.0, None),
        True,
        False,
        "lesion_wise",
        larger_is_better=False,
        distance=Distance("percentile", 95),
        rule=rule,
    )
    return replace(dice, one_empty=None), hd95


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("dice", "Dice"),
        _share("iou", "IoU"),
        _share("precision", "precision"),
        _share("recall", "recall"),
        # Grows with the field of view, so it ranks nothing. It is defined for empty masks too: its value counts.
        Metric("specificity", "", "specificity", 0.0, None, (0.0, 1.0), is_default=False, larger_is_better=True),
        Metric("reference_ml", "ml", "reference volume", bounds=(0.0, None)),
        Metric("predicted_ml", "ml", "predicted volume", bounds=(0.0, None)),
        Metric("volume_error_ml", "ml", "volume error"),
        Metric("absolute_volume_error_ml", "ml", "absolute volume error", bounds=(0.0, None), is_default=False),
        Metric("volume_error_percent", "%", "volume error", bounds=(-100.0, None)),
        _share("volume_similarity", "volume similarity", default=False),
        _distance("hd_mm", "HD", Distance("percentile")),
        _distance("hd95_mm", "HD95", Distance("percentile", 95)),
        _distance("hd95_pooled_mm", "HD95 (pooled)", Distance("percentile", 95, pooled=True), default=False),
        _distance("assd_mm", "ASSD", Distance("assd")),
        _distance("masd_mm", "MASD", Distance("masd"), default=False),
        _nsd("nsd", "NSD", Distance("nsd")),
        _extra("boundary_iou", "boundary IoU", "band"),
        _extra("cldice", "clDice", "skeleton"),
        _count("lesions_reference", "lesions"),
        _count("lesions_predicted", "predicted lesions"),
        _count("lesions_missed", "missed lesions"),
        _count("lesions_spurious", "spurious lesions"),
        replace(_extra("lesion_recall", "lesion recall", "lesions", headline=False), one_empty=None),
        replace(_extra("lesion_precision", "lesion precision", "lesions", headline=False), one_empty=None),
        _extra("lesion_f1", "lesion F1", "lesions"),
        _extra("pq", "PQ", "lesions"),
        replace(_extra("sq", "SQ", "lesions", headline=False), one_empty=None),
        _extra("rq", "RQ", "lesions", headline=False),
        *(metric for rule in BRATS_2023 for metric in _brats(rule)),
        _calibration("brier", "Brier", 2.0),
        _calibration("nll", "NLL", None),
        _calibration("ece", "ECE", 1.0),
    )
}
"""The metrics by name, in the order of tables; `metric_of` knows the rest of the distances too."""

DEFAULT_METRICS = tuple(metric.name for metric in METRICS.values() if metric.is_default)
"""What is measured unless asked otherwise."""

LESIONS = tuple(name for name, metric in METRICS.items() if metric.needs == "lesions")
"""What `--lesions` adds."""

CALIBRATION = tuple(name for name, metric in METRICS.items() if metric.needs == "probabilities")
"""What is added where probabilities were saved."""

_FAMILY = re.compile(
    r"(?P<figure>hd(?P<q>\d{1,2}(?:\.\d+)?)?|assd|masd|nsd|lesion_hd95_brats2023_(?P<rule>[a-z]+))"
    r"(?P<pooled>_pooled)?(?:_(?P<boundary>surfels|voxels))?(?:_mm)?"
)


@lru_cache(maxsize=256)
def metric_of(name: str) -> Metric:
    """A metric by its name: of the catalogue, or of the family of distances.

    >>> metric_of("hd99_voxels_mm").distance
    Distance(figure='percentile', q=99.0, pooled=False, boundary='voxels')

    Raises:
        UsageError: There is no such metric.
    """
    found = METRICS.get(name) or _of_family(name)
    if found is None:
        raise UsageError(f"There is no metric '{name}'. Known are {', '.join(METRICS)}.")
    return found


def of_boundary(metric: Metric, boundary: BoundaryName) -> Metric:
    """The same figure between other boundaries, under a name of its own; metrics without boundaries stay."""
    if metric.distance is None or metric.distance.boundary == boundary:
        return metric
    bare = metric.name.removesuffix("_mm")
    for other in get_args(BoundaryName):
        bare = bare.removesuffix(f"_{other}")
    suffix = "" if boundary == "faces" else f"_{boundary}"
    return metric_of(f"{bare}{suffix}{'_mm' if metric.unit == 'mm' else ''}")


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics that a user means, in the order of tables: "all", a name, or a name without its unit ("hd95").

    Raises:
        UsageError: A name is unknown; the message offers the nearest.
    """
    short = {name.removesuffix(f"_{metric.unit}"): name for name, metric in METRICS.items() if metric.unit != "%"}
    known = {**short, **{name: name for name in METRICS}}
    wanted: dict[str, Metric] = {}
    for name in names:
        wanted.update(_meant(name, known))
    order = {name: place for place, name in enumerate(METRICS)}
    return tuple(sorted(wanted, key=lambda name: (order[_relative(wanted[name])], name not in METRICS, name)))


def _meant(name: str, known: Mapping[str, str]) -> dict[str, Metric]:
    if name == "all":
        # The five sub-challenges of BraTS are five answers to one question: they are asked for by name.
        return {name: metric for name, metric in METRICS.items() if not metric.rule}
    found = METRICS.get(known.get(name.lower(), "")) or _of_family(name.lower())
    if found is not None:
        return {found.name: found}
    nearest = get_close_matches(name.lower(), known, 1, 0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    raise UsageError(f"There is no metric '{name}'.{hint} Known are {', '.join(METRICS)}.")


def _relative(metric: Metric) -> str:
    """The metric of the catalogue that a metric stands beside in a table."""
    if metric.name in METRICS:
        return metric.name
    if metric.rule:
        return f"lesion_hd95_brats2023_{metric.rule}_mm"
    distance = metric.distance or Distance("percentile")
    figures = {"assd": "assd_mm", "masd": "masd_mm", "nsd": "nsd"}
    return figures.get(distance.figure, "hd_mm" if distance.q == 100 else "hd95_mm")


def _of_family(name: str) -> Metric | None:
    match = _FAMILY.fullmatch(name)
    if match is None or match["rule"] not in (None, *BRATS_2023):
        return None
    figure, pooled, boundary = match["figure"], match["pooled"] is not None, match["boundary"] or "faces"
    if figure.startswith("hd") or match["rule"]:
        q = 95.0 if match["rule"] else float(match["q"] or 100)
        distance = Distance("percentile", q, pooled, boundary)  # type: ignore[arg-type]  # the pattern names them all
    elif pooled:
        return None
    else:
        distance = Distance(figure, boundary=boundary)  # type: ignore[arg-type]  # likewise
    if distance.q <= 0 or (match["rule"] and pooled):
        return None
    return _named(figure, distance, match["rule"])


def _named(figure: str, distance: Distance, rule: str | None) -> Metric:
    words = ["pooled"] * distance.pooled + [distance.boundary] * (distance.boundary != "faces")
    name = "_".join([figure, *words])
    about = f" ({', '.join(words)})" if words else ""
    if rule:
        base = METRICS[f"lesion_hd95_brats2023_{rule}_mm"]
        return replace(base, name=f"{name}_mm", title=base.title + about, distance=distance)
    title = figure.upper() + about
    if distance.figure == "nsd":
        return _nsd(name, title, distance, default=False)
    return _distance(f"{name}_mm", title, distance, default=False)
