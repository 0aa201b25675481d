"""How numbers are held while a network runs, and which way is fastest here.

What a processor offers says little: bfloat16 with channels last is 2.4 times faster than float32 on one CPU and 30
times slower on another of the same size. So candidates run real windows through the real network and are timed; one
that is hopeless already on a single small layer is not tried at all. A model trained in one arithmetic runs in the
other.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Arithmetic", "Dtype", "candidates", "fastest", "seconds_of", "seconds_of_each"]

Dtype = Literal["float32", "bfloat16", "float16"]

HOPELESS = 3.0
"""A candidate this many times slower than float32 on one small layer, or than the best on its first run, is dropped."""

TIMED_RUNS = 2
"""Runs that are timed of each candidate after the first, which pays for allocations."""


@dataclass(frozen=True)
class Arithmetic:
    """The type of the multiplications and the layout in memory."""

    dtype: Dtype = "float32"
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


def candidates(wish: Dtype | Literal["auto"], device: torch.device) -> list[Arithmetic]:
    """What to try on this device, the safest first; never empty.

    Channels last first: it was never slower in float32 on the CPUs measured, so it also is what runs untimed.
    """
    if wish != "auto":
        return [Arithmetic(wish, "channels_last"), Arithmetic(wish, "channels_first")]
    found = [Arithmetic("float32", "channels_last"), Arithmetic("float32", "channels_first")]
    if device.type == "cuda":
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append(Arithmetic("bfloat16" if good else "float16", "channels_last"))
    elif device.type == "cpu" and not _bfloat16_is_hopeless():
        found.append(Arithmetic("bfloat16", "channels_last"))
    return found


def fastest(options: Iterable[Arithmetic], run: Callable[[Arithmetic], object], device: torch.device) -> Arithmetic:
    """Time `run` under each option, in order, and take the one with the shortest run."""
    seconds = seconds_of_each(options, lambda arithmetic: partial(run, arithmetic), device)
    return min(seconds, key=lambda arithmetic: seconds[arithmetic])


def seconds_of_each(
    options: Iterable[Arithmetic],
    prepare: Callable[[Arithmetic], Callable[[], object]],
    device: torch.device,
    *,
    runs: int = TIMED_RUNS,
    summary: Callable[[Sequence[float]], float] = min,
) -> dict[Arithmetic, float]:
    """Seconds of a run under each option, in order.

    Args:
        options: What to time.
        prepare: Brings everything into an arithmetic and gives the run to be timed.
        device: What is waited for.
        runs: Timed runs after the first, which pays for allocations; an option that is hopeless in its first has none.
        summary: Makes one number of the timed runs.
    """
    seconds: dict[Arithmetic, float] = {}
    for arithmetic in options:
        run = prepare(arithmetic)
        first = seconds_of(run, device)
        hopeless = bool(seconds) and first > HOPELESS * min(seconds.values())
        seconds[arithmetic] = first if hopeless else summary([seconds_of(run, device) for _ in range(runs)])
    return seconds


def _synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given, so that a clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@cache
def _bfloat16_is_hopeless() -> bool:
    """Whether one small convolution shows that this CPU has no bfloat16 units; takes milliseconds, once a process."""
    return _layer_seconds(torch.bfloat16) > HOPELESS * _layer_seconds(torch.float32)


def _layer_seconds(dtype: torch.dtype) -> float:
    # Constants, not a fresh layer: its initial weights would be drawn from the random numbers of a training under way.
    weight = torch.ones(16, 16, 3, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    image = torch.ones(1, 16, 12, 12, 12, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        functional.conv3d(image, weight, padding=1)
        return min(
            seconds_of(lambda: functional.conv3d(image, weight, padding=1), torch.device("cpu")) for _ in range(3)
        )


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one run, until the device has done all of it."""
    start = time.perf_counter()
    run()
    _synchronise(device)
    return time.perf_counter() - start
