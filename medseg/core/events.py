"""What long work says while it goes on: typed, frozen events that generators yield.

Progress displays, `events.jsonl`, `--json` and tests are listeners; none of them is in the loop. An event holds plain
numbers, strings and mappings, so `record` can turn any of them into one line of JSON. Seconds are wall clock.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "CaseFailed",
    "CasePredicted",
    "CaseRead",
    "CaseScored",
    "EpochEnded",
    "Error",
    "Event",
    "Finished",
    "Noted",
    "Planned",
    "StepEnded",
    "Validated",
    "Warned",
    "record",
]


@dataclass(frozen=True)
class Event:
    """Anything that long work reports."""


@dataclass(frozen=True)
class Noted(Event):
    """Something worth a line that needs no action."""

    text: str


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know; `case` names where, if it is one case."""

    text: str
    case: str | None = None


@dataclass(frozen=True)
class CaseRead(Event):
    """A case went through a `phase` (`done` of `total`): "checking", "preparing"; "making" a phantom."""

    case: str
    done: int
    total: int
    phase: str


@dataclass(frozen=True)
class CaseFailed(Event):
    """One case could not be used; the others go on."""

    case: str
    reason: str
    done: int
    total: int


@dataclass(frozen=True)
class Planned(Event):
    """The plan stands: steps, what a step takes, and when the work will end."""

    steps: int
    epochs: int
    seconds_per_step: float
    expected_s: float
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepEnded(Event):
    """One step of training; `loss` is None where it was not fetched from the device."""

    step: int
    steps: int
    loss: float | None
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True)
class EpochEnded(Event):
    """A stretch of steps ended; a row of `history.csv`."""

    epoch: int
    epochs: int
    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    elapsed_s: float
    validation_dice: float | None = None


@dataclass(frozen=True)
class Validated(Event):
    """Whole-volume validation ended: mean Dice over labels and by label, on `n_cases` cases."""

    step: int
    n_cases: int
    dice: float
    dice_by_label: Mapping[str, float]
    final: bool


@dataclass(frozen=True)
class CasePredicted(Event):
    """A case was predicted and written (or was already up to date: status "current")."""

    case: str
    status: str
    outputs: tuple[str, ...]
    seconds: float
    volumes_ml: Mapping[str, float]
    done: int
    total: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseScored(Event):
    """A case was compared with its reference."""

    case: str
    done: int
    total: int


@dataclass(frozen=True)
class Finished(Event):
    """The work is done: where its result lies and its main figures."""

    output: str
    elapsed_s: float
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error(Event):
    """The command ends before its work is done: why, in a sentence, and the exit code."""

    text: str
    exit_code: int


def record(event: Event) -> dict[str, Any]:
    """An event as a JSON-ready mapping, its kind in snake case under "event"; numbers that are not finite are None.

    >>> record(Noted("ready"))
    {'event': 'noted', 'text': 'ready'}
    """
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    return {"event": kind, **{name: _finite(value) for name, value in asdict(event).items()}}


def _finite(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """NaN and infinity, which JSON does not have, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
