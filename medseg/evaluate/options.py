"""What an evaluation measures and how, as one frozen value that is saved beside its results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Any, Literal, get_args

from medseg.core.errors import UsageError
from medseg.core.frozen import FrozenMapping
from medseg.core.labels import Labels
from medseg.evaluate.catalogue import DEFAULT_METRICS, LESIONS, Metric, chosen, metric_of, of_boundary
from medseg.evaluate.readers import ConsensusName
from medseg.io import ReadOptions
from medseg.metrics.conventions import BoundaryName
from medseg.metrics.lesions import CONNECTIVITIES

__all__ = ["EvaluateOptions", "parse_labels", "parse_tolerances"]


@dataclass(frozen=True)
class EvaluateOptions:
    """How predictions are judged.

    Attributes:
        metrics: Names of the catalogue (their units may be left out), or "all".
        labels: Names of the labels and regions to judge; empty: all.
        tolerance_mm: How far apart boundaries may lie to agree, for NSD.
        tolerances_mm: The same for single labels, by name.
        boundary: The elements between which distances are measured: medseg's "faces", DeepMind's "surfels", or the
            "voxels" of MONAI and MedPy. Figures of another kind have another name.
        hd95_definition: The larger of the two directed percentiles ("max"), or that of both sets as one ("pooled").
        lesions: Also count and match lesions one by one.
        connectivity: Neighbours of a voxel in a lesion: 6, 18 or 26.
        consensus: How several readers of a case become one reference.
        jobs: Processes that compare cases; 1 compares them in this one.
        max_memory_bytes: So much memory may the processes take together; None: no limit.
        seed: Of the bootstrap intervals.
        level: Coverage that intervals aim at.
        read: How files are read where they leave a choice.

    Raises:
        UsageError: A metric is unknown or a number is out of its range.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    labels: tuple[str, ...] = ()
    tolerance_mm: float = 1.0
    tolerances_mm: Mapping[str, float] = field(default_factory=FrozenMapping)
    boundary: BoundaryName = "faces"
    hd95_definition: Literal["max", "pooled"] = "max"
    lesions: bool = False
    connectivity: int = 26
    consensus: ConsensusName = "staple"
    jobs: int = 1
    max_memory_bytes: int | None = None
    seed: int = 0
    level: float = 0.95
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        if self.hd95_definition not in ("max", "pooled"):
            raise UsageError(f"HD95 is defined by 'max' or 'pooled', not by '{self.hd95_definition}'.")
        if self.boundary not in get_args(BoundaryName):
            raise UsageError(f"Boundaries are {', '.join(get_args(BoundaryName))}, not '{self.boundary}'.")
        if self.consensus not in get_args(ConsensusName):
            raise UsageError(f"Readers agree by {' or '.join(get_args(ConsensusName))}, not by '{self.consensus}'.")
        if self.connectivity not in CONNECTIVITIES:
            raise UsageError(f"Voxels have 6, 18 or 26 neighbours, not {self.connectivity}.")
        object.__setattr__(self, "metrics", self._named(chosen(self.metrics)))
        # A plain dict, because a proxy cannot be sent to another process.
        object.__setattr__(self, "tolerances_mm", dict(self.tolerances_mm))
        object.__setattr__(self, "labels", tuple(self.labels))
        for what, value in {"tolerance": self.tolerance_mm, **self.tolerances_mm}.items():
            if not (isfinite(value) and value >= 0):
                raise UsageError(f"A tolerance is a distance in mm from 0 on, but '{what}' is {value}.")
        if self.jobs < 1:
            raise UsageError(f"At least one process must compare the cases; jobs is {self.jobs}.")
        if not 0 < self.level < 1:
            raise UsageError(f"The level of an interval lies between 0 and 1, such as 0.95; it is {self.level}.")

    def _named(self, metrics: tuple[str, ...]) -> tuple[str, ...]:
        """Another number gets another name, so that two conventions never meet in one column."""
        if self.lesions:
            metrics = (*metrics, *LESIONS)
        if self.hd95_definition == "pooled":
            metrics = tuple("hd95_pooled_mm" if name == "hd95_mm" else name for name in metrics)
        if self.boundary != "faces":
            metrics = tuple(of_boundary(metric_of(name), self.boundary).name for name in metrics)
        return chosen(metrics)

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics, as the catalogue has them."""
        return tuple(metric_of(name) for name in self.metrics)

    def tolerance_of(self, label: str) -> float:
        """The tolerance in mm for a label or region."""
        return self.tolerances_mm.get(label, self.tolerance_mm)

    def select(self, labels: Labels) -> tuple[str, ...]:
        """The names to judge, in the order of `labels`.

        Raises:
            UsageError: A name asked for, or with a tolerance of its own, is no label's.
        """
        for name in (*self.labels, *self.tolerances_mm):
            if name not in labels.values:
                nearest = get_close_matches(name, labels.names, 1, 0.5)
                hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
                raise UsageError(f"There is no label '{name}'.{hint} Known are {', '.join(labels.names) or 'none'}.")
        return tuple(name for name in labels.names if not self.labels or name in self.labels)

    def to_json(self) -> dict[str, Any]:
        """What shaped the numbers, for summary.json."""
        return {
            "metrics": list(self.metrics),
            "boundary": self.boundary,
            "hd95_definition": self.hd95_definition,
            "connectivity": self.connectivity,
            "consensus": self.consensus,
            "tolerance_mm": self.tolerance_mm,
            "tolerances_mm": dict(self.tolerances_mm),
            "level": self.level,
            "seed": self.seed,
            "read": self.read.to_pairs(),
        }


def parse_tolerances(texts: Iterable[str]) -> tuple[float, dict[str, float]]:
    """The tolerance for all labels and those of single ones, from "2.0" and "liver=3.0"; the later wins.

    >>> parse_tolerances(["2", "liver=3.0"])
    (2.0, {'liver': 3.0})

    Raises:
        UsageError: What should be a number is none.
    """
    for_all, single = 1.0, {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise UsageError(f"A tolerance is mm, as in 1.0 or liver=2.0, not '{text}'.") from None
        if equals:
            single[name] = value
        else:
            for_all = value
    return for_all, single


def parse_labels(texts: Iterable[str]) -> tuple[Labels | None, tuple[str, ...]]:
    """What `--labels` means: a declaration ("liver=1", "whole=1+2", "ignore=255") or a choice of names ("liver").

    Returns:
        The declared labels, or None if the texts only choose; and the chosen names, empty for a declaration.

    >>> parse_labels(["liver=1", "whole=1+2", "ignore=255"])[0].to_json()
    {'liver': 1, 'whole': [1, 2]}
    >>> parse_labels(["liver"])
    (None, ('liver',))

    Raises:
        UsageError: Both are mixed, or a value is no whole number.
    """
    texts = [text for text in texts if text]
    declarations = [text.rpartition("=") for text in texts if "=" in text]
    if not declarations:
        return None, tuple(texts)
    if len(declarations) < len(texts):
        raise UsageError("Either declare every label (liver=1) or choose among known ones (liver); the two were mixed.")
    values: dict[str, tuple[int, ...]] = {}
    for name, _, numbers in declarations:
        if not name or not all(number.strip().isdecimal() for number in numbers.split("+")):
            raise UsageError(f"A label is declared as NAME=VALUE or NAME=VALUE+VALUE, not as '{name}={numbers}'.")
        values[name] = tuple(int(number) for number in numbers.split("+"))
    ignore = values.pop("ignore", None)
    if ignore is not None and len(ignore) != 1:
        raise UsageError("One value can be ignored, as in ignore=255.")
    return Labels(values, ignore[0] if ignore else None), ()
