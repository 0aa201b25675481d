"""How the learning rate moves and how a budget of seconds becomes a number of steps.

Everything here is a pure function of steps and seconds that were measured elsewhere: no clock, no state. A run's
progress is a share in [0, 1]; when a correction of the number of steps is announced, progress stays continuous and
still ends at 1, so the learning rate ends at its floor whatever the machine did.
"""

from math import cos, pi
from typing import Literal

from medseg.config.schema import TrainingConfig
from medseg.plan.plan import Correction

__all__ = ["augmentation_strength", "corrected_steps", "learning_rate", "progress", "steps_within"]

PEAK = {"adamw": 5e-3, "sgd": 1e-2}
"""Peak learning rate of each optimiser where the user names none."""

FLOOR = 0.01
"""The learning rate ends at this share of its peak: the last steps still average something into the EMA."""

FULL_AUGMENTATION_STEPS = 6000
"""From here on augmentation is at full strength; shorter runs see each case too seldom to overfit."""

LIGHT_AUGMENTATION = 0.35
"""Strength of augmentation in the shortest runs."""


def steps_within(seconds: float, seconds_per_step: float, least: int = 20) -> int:
    """How many steps fit into `seconds`; never fewer than `least`, which then overruns and is announced.

    >>> steps_within(60, 0.5)
    120
    """
    return max(least, int(seconds / seconds_per_step))


def progress(step: int, steps: int, corrections: tuple[Correction, ...] = ()) -> float:
    """The share of a run that is behind it when `step` steps are done, in [0, 1]; piecewise linear.

    >>> progress(50, 100)
    0.5
    >>> progress(75, 100, (Correction(at=50, steps=100),))
    0.75
    >>> progress(60, 100, (Correction(at=50, steps=70),))
    0.75
    """
    start, share, end = 0, 0.0, steps
    for correction in corrections:
        if step < correction.at:
            break
        share += (1 - share) * (correction.at - start) / (end - start)
        start, end = correction.at, correction.steps
    if end <= start:
        return 1.0
    return min(1.0, share + (1 - share) * (step - start) / (end - start))


def learning_rate(done: float, training: TrainingConfig) -> float:
    """The learning rate at progress `done` in [0, 1]: a linear warm-up, then the decay by its name.

    "cosine" follows Loshchilov & Hutter 2017 without restarts, "polynomial" nnU-Net's (1 - t)^0.9.
    """
    peak = training.learning_rate or PEAK[training.optimizer]
    if done < training.warmup:
        return peak * (FLOOR + (1 - FLOOR) * done / training.warmup)
    rest = (done - training.warmup) / (1 - training.warmup)
    decay: dict[Literal["cosine", "polynomial", "constant"], float] = {
        "cosine": (1 + cos(pi * rest)) / 2,
        "polynomial": (1 - rest) ** 0.9,
        "constant": 1.0,
    }
    return peak * (FLOOR + (1 - FLOOR) * decay[training.schedule])


def augmentation_strength(steps: int) -> float:
    """How strong augmentation is in a run of `steps` steps, in (0, 1]: it grows with the budget.

    Augmentation keeps a network from learning cases by heart; a run of minutes never comes that far, and what it needs
    is to see scans as they are. The two constants are a choice, not yet an ablation.

    >>> augmentation_strength(6000)
    1.0
    """
    share = min(1.0, steps / FULL_AUGMENTATION_STEPS)
    return LIGHT_AUGMENTATION + (1 - LIGHT_AUGMENTATION) * share


def corrected_steps(
    step: int, steps: int, elapsed_s: float, seconds_per_step: float, end_s: float, tolerance: float
) -> int | None:
    """The number of steps that ends the training at `end_s`, or None where the present one nearly does.

    Args:
        step: Steps done.
        steps: Steps that the run has as things stand.
        elapsed_s: Seconds of the budget that are used.
        seconds_per_step: What a step has taken so far.
        end_s: When, in seconds of the budget, the last step should end.
        tolerance: The share of `end_s` by which it may be missed.

    >>> corrected_steps(50, 100, elapsed_s=60, seconds_per_step=1.0, end_s=90, tolerance=0.03)
    80
    >>> corrected_steps(50, 100, elapsed_s=60, seconds_per_step=1.0, end_s=111, tolerance=0.03)
    """
    expected_s = elapsed_s + (steps - step) * seconds_per_step
    if abs(expected_s - end_s) <= tolerance * end_s:
        return None
    return max(step + 1, step + int((end_s - elapsed_s) / seconds_per_step))
