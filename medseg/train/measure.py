"""What this machine gives: its speed on one layer, real training steps in each arithmetic, and memory.

A plan is sized by `layer_gflops`; the number of steps that a budget holds comes from `time_steps`, which runs real
steps of the planned network on batches of the planned shape. Which candidates are worth trying is
`predict.arithmetic`'s knowledge, shared with prediction.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from medseg.config.schema import TrainingConfig
from medseg.core.memory import free_bytes
from medseg.plan.plan import Plan
from medseg.predict.arithmetic import Arithmetic, candidates, seconds_of, seconds_of_each
from medseg.train.batches import Batch
from medseg.train.loop import Learner

__all__ = ["Measured", "free_memory_gib", "layer_gflops", "peak_memory_gib", "time_steps"]

LAPTOP_GIB = 4.0
"""What is counted on where the system does not tell: half of a small laptop."""

LAYER_RUNS = 12
"""Runs of the layer by which a plan is sized."""

TIMED_STEPS = 3
"""Steps that are timed of each candidate after the first, which pays for allocations."""


@dataclass(frozen=True)
class Measured:
    """The arithmetic that was chosen, and seconds a step of every candidate that was tried."""

    arithmetic: Arithmetic
    seconds_per_step: float
    tried: dict[str, float]


def time_steps(
    plan: Plan, training: TrainingConfig, learner: Callable[[Arithmetic], Learner], device: torch.device
) -> Measured:
    """Time real steps in each arithmetic that the device and the user allow, and choose the fastest by its median.

    Args:
        plan: What a batch looks like.
        training: May fix the arithmetic or the memory format.
        learner: Makes a fresh learner on the device; it is thrown away.
        device: Where steps run.
    """
    batch = _batch(plan)

    def prepare(arithmetic: Arithmetic) -> Callable[[], object]:
        trained = learner(arithmetic)
        return lambda: trained.learn(batch, step=0, rate=1e-5)

    allowed = [
        arithmetic
        for arithmetic in candidates(training.arithmetic, device)
        if training.memory_format in ("auto", arithmetic.memory_format)
    ]
    seconds = seconds_of_each(allowed, prepare, device, runs=TIMED_STEPS, summary=median)
    best = min(seconds, key=lambda arithmetic: seconds[arithmetic])
    return Measured(best, seconds[best], {str(arithmetic): s for arithmetic, s in seconds.items()})


def layer_gflops(device: torch.device) -> float:
    """GFLOP/s of a middling 3-D convolution here, forwards and backwards: what the rules size a plan by.

    A whole network reaches about the same as this layer does; it takes a second. The best of several runs counts: what
    else the machine does at this moment must not make a plan small that trains for an hour.
    """
    layer = nn.Conv3d(32, 32, 3, padding=1).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(2, 32, 24, 24, 24).to(device, memory_format=torch.channels_last_3d)

    def run() -> None:
        layer(image).sum().backward()

    run()
    # Without the gradient of its input the layer does two thirds of a step's work.
    gflop = 2 * 2 * 2 * 24**3 * 32 * 32 * 27 / 1e9
    return gflop / min(seconds_of(run, device) for _ in range(LAYER_RUNS))


def free_memory_gib(device: torch.device) -> float:
    """Memory that a step may count on, in GiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    found = free_bytes()
    return LAPTOP_GIB if found is None else found / 2**30


def peak_memory_gib(device: torch.device) -> float | None:
    """The most memory that this process (or its GPU) has held so far, in GiB; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _batch(plan: Plan) -> Batch:
    """Noise of the planned shape: what a step costs does not depend on what it sees."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(plan.batch, len(plan.channels), *plan.patch, generator=generator)
    classes = torch.randint(0, plan.network.n_classes, (plan.batch, *plan.patch), generator=generator)
    return image, classes.to(torch.uint8)
