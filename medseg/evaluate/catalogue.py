"""The metrics that a table can hold: name, unit, range, and what an undefined value counts as.

One row a metric, names with their unit where there is one, so that `hd95_mm` is read as what it is in every file. The
policy about empty masks and missing files stands here and nowhere else: `worst` is what a miss, a false alarm and a
missing or failed prediction count as in the mean over *all* where the metric has no value of its own, `perfect` what a
label that is absent in both counts as. How a value is computed is the matter of `medseg.metrics`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from medseg.core.errors import UsageError

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "chosen"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a table must know of a metric.

    Attributes:
        name: As in metrics.csv and summary.json.
        unit: "mm", "ml", "%", or "" for a share.
        title: As in a table's head.
        worst: What counts where a prediction is as bad as can be: a number, the image's "diagonal" in mm, or None (then
            an undefined value is in no mean).
        perfect: What counts where reference and prediction are both empty and the metric is undefined; None: nothing.
        bounds: The range that values cannot leave.
        is_headline: Whether the mean over labels is a figure for a whole set.
        is_default: Whether it is measured unless asked otherwise.
    """

    name: str
    unit: str
    title: str
    worst: float | Literal["diagonal"] | None = None
    perfect: float | None = None
    bounds: tuple[float | None, float | None] = (None, None)
    is_headline: bool = False
    is_default: bool = True

    @property
    def is_distance(self) -> bool:
        """Whether the boundaries are needed."""
        return self.worst == "diagonal" or self.name == "nsd"


def _share(name: str, title: str, **more: bool) -> Metric:
    return Metric(name, "", title, 0.0, 1.0, (0.0, 1.0), **{"is_headline": True, **more})


def _distance(name: str, title: str, **more: bool) -> Metric:
    return Metric(name, "mm", title, "diagonal", 0.0, (0.0, None), **{"is_headline": True, **more})


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _share("dice", "Dice"),
        _share("iou", "IoU"),
        _share("precision", "precision"),
        _share("recall", "recall"),
        # Grows with the field of view, so it ranks nothing. It is defined for empty masks too: its value counts.
        Metric("specificity", "", "specificity", 0.0, None, (0.0, 1.0), is_default=False),
        Metric("reference_ml", "ml", "reference volume", bounds=(0.0, None)),
        Metric("predicted_ml", "ml", "predicted volume", bounds=(0.0, None)),
        Metric("volume_error_ml", "ml", "volume error"),
        Metric("absolute_volume_error_ml", "ml", "absolute volume error", bounds=(0.0, None), is_default=False),
        Metric("volume_error_percent", "%", "volume error", bounds=(-100.0, None)),
        _share("volume_similarity", "volume similarity", is_default=False),
        _distance("hd_mm", "HD"),
        _distance("hd95_mm", "HD95"),
        _distance("hd95_pooled_mm", "HD95 (pooled)", is_default=False),
        _distance("assd_mm", "ASSD"),
        _distance("masd_mm", "MASD", is_default=False),
        _share("nsd", "NSD"),
    )
}
"""Every metric by its name, in the order of tables."""

DEFAULT_METRICS = tuple(metric.name for metric in METRICS.values() if metric.is_default)
"""What is measured unless asked otherwise."""


def chosen(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics that a user means, in the order of tables: "all", a name, or a name without its unit ("hd95").

    Raises:
        UsageError: A name is unknown; the message offers the nearest.
    """
    short = {name.removesuffix(f"_{metric.unit}"): name for name, metric in METRICS.items() if metric.unit != "%"}
    known = {**short, **{name: name for name in METRICS}}
    wanted: set[str] = set()
    for name in names:
        if name == "all":
            wanted.update(METRICS)
        elif name.lower() in known:
            wanted.add(known[name.lower()])
        else:
            nearest = get_close_matches(name.lower(), known, 1, 0.5)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            raise UsageError(f"There is no metric '{name}'.{hint} Known are {', '.join(METRICS)}.")
    return tuple(name for name in METRICS if name in wanted)
