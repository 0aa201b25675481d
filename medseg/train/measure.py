"""Which arithmetic and memory format train fastest here, and how long a step takes: real steps, timed.

What a processor offers says little: bfloat16 with channels last is 2.4 times faster than float32 on one CPU and 30 times
slower on another of the same size. So each candidate runs a real step of the real network on a real batch; one that is
hopeless already on a single small layer is not tried at all.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.config.schema import TrainingConfig

__all__ = ["Arithmetic", "Measured", "candidates", "fastest", "layer_gflops"]

HOPELESS = 3.0
"""A candidate this many times slower than float32 on one small layer, or than the best on its first step, is dropped."""

TIMED_STEPS = 3
"""Steps that are timed of each candidate after the first, which pays for allocations."""


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are held while a network runs: the type of the multiplications and the layout in memory."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    memory_format: Literal["channels_first", "channels_last"] = "channels_first"

    def layout(self, dimensions: int) -> torch.memory_format:
        if self.memory_format == "channels_first":
            return torch.contiguous_format
        return torch.channels_last if dimensions == 2 else torch.channels_last_3d

    def place(self, module: nn.Module, device: torch.device, dimensions: int) -> nn.Module:
        """`module` on the device in this layout (in place, as torch does)."""
        return module.to(device, memory_format=self.layout(dimensions))  # type: ignore[call-overload, no-any-return]

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, self.dtype))

    def __str__(self) -> str:
        return f"{self.dtype}, {self.memory_format.replace('_', ' ')}"


@dataclass(frozen=True)
class Measured:
    """What was chosen and what was seen: seconds a step of every candidate that was tried."""

    arithmetic: Arithmetic
    seconds_per_step: float
    tried: dict[str, float]


def candidates(training: TrainingConfig, device: torch.device) -> list[Arithmetic]:
    """What to try here, by the device and by what the user has fixed; never empty."""
    dtypes: list[Literal["float32", "bfloat16", "float16"]] = ["float32"]
    if device.type == "cuda":
        dtypes.append("bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16")
    elif device.type == "cpu" and _layer_seconds(torch.bfloat16) < HOPELESS * _layer_seconds(torch.float32):
        dtypes.append("bfloat16")
    found = [
        Arithmetic(dtype, layout)
        for dtype in (dtypes if training.arithmetic == "auto" else [training.arithmetic])
        for layout in ("channels_last", "channels_first")
        if training.memory_format in ("auto", layout)
    ]
    # A type that pays at all pays with channels last on a CPU; its other layout was never the fastest.
    return [a for a in found if a.dtype == "float32" or a.memory_format == "channels_last" or len(found) < 3]


def fastest(options: list[Arithmetic], step: Callable[[Arithmetic], Callable[[], None]]) -> Measured:
    """Time real steps of each candidate, in order, and choose the fastest by its median.

    Args:
        options: The candidates.
        step: Prepares a candidate and returns a function that does one whole step and waits for its end.
    """
    seconds: dict[Arithmetic, float] = {}
    for arithmetic in options:
        run = step(arithmetic)
        first = _seconds(run)
        if seconds and first > HOPELESS * min(seconds.values()):
            seconds[arithmetic] = first
            continue
        seconds[arithmetic] = median(_seconds(run) for _ in range(TIMED_STEPS))
    best = min(seconds, key=lambda a: seconds[a])
    return Measured(best, seconds[best], {str(a): s for a, s in seconds.items()})


def layer_gflops(device: torch.device) -> float:
    """GFLOP/s of a middling 3-D convolution here, forwards and backwards: what the rules size a plan by.

    A network reaches about the same share of the peak as this layer does; it takes a fraction of a second.
    """
    layer = nn.Conv3d(32, 32, 3, padding=1).to(device)
    image = torch.randn(2, 32, 24, 24, 24, device=device)

    def run() -> None:
        layer(image).sum().backward()
        synchronise(device)

    run()
    gflop = 3 * 2 * 2 * 24**3 * 32 * 32 * 27 / 1e9
    return gflop / median(_seconds(run) for _ in range(3))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given, so that a clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _layer_seconds(dtype: torch.dtype) -> float:
    """Seconds of a small convolution on the CPU in this type: enough to see a thirtyfold slowness."""
    layer = nn.Conv3d(16, 16, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image: Tensor = torch.randn(1, 16, 12, 12, 12).to(dtype=dtype, memory_format=torch.channels_last_3d)

    def run() -> None:
        with torch.no_grad():
            layer(image)

    run()
    return min(_seconds(run) for _ in range(3))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


