"""`medseg train --dry-run`: what would happen, measured, without a file written."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from medseg.core.events import Event, Finished
from medseg.nn.summary import NetworkSummary, summarise
from medseg.train.learners import new_learner
from medseg.train.measure import peak_memory_gib, time_steps
from medseg.train.schedule import steps_within
from medseg.train.setup import TrainOptions, set_up

__all__ = ["DryRun", "dry_run"]

STEPS_SHARE = 0.9
"""About so much of a training's time goes into steps."""


@dataclass(frozen=True)
class DryRun(Event):
    """What a training on these data would be.

    Attributes:
        fingerprint: As `fingerprint.json`.
        plan: As `plan.json` before its steps are counted.
        network: The network stage by stage.
        tried: Seconds a step of each arithmetic that was tried.
        steps: Steps that the budget (or the epochs) would hold.
        expected_s: Seconds until its end.
        memory_gib: The most memory that the timed steps took; None where nothing tells.
    """

    fingerprint: dict[str, Any]
    plan: dict[str, Any]
    network: NetworkSummary
    tried: dict[str, float]
    steps: int
    expected_s: float
    memory_gib: float | None


def dry_run(data: Path, options: TrainOptions) -> Iterator[Event]:
    """Look at the data, plan, and time real steps; yields a `DryRun` and `Finished` at the end."""
    setup = yield from set_up(data, options)
    training = setup.config.training
    measured = time_steps(setup.plan, training, lambda arithmetic: new_learner(setup, arithmetic), setup.device)
    budget_s = setup.plan.budget_s
    counts = [] if training.epochs is None else [training.epochs * training.steps_an_epoch]
    counts += [] if budget_s is None else [steps_within(STEPS_SHARE * budget_s, measured.seconds_per_step)]
    steps = min(counts)
    result = DryRun(
        fingerprint=setup.fingerprint.to_json(),
        plan=setup.plan.to_json(),
        network=summarise(setup.plan.network, setup.plan.patch),
        tried={name: round(seconds, 4) for name, seconds in measured.tried.items()},
        steps=steps,
        expected_s=ceil(steps * measured.seconds_per_step / STEPS_SHARE),
        memory_gib=peak_memory_gib(setup.device),
    )
    yield result
    yield Finished("", 0.0)
