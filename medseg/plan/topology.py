"""From a patch to a network: how often each axis is halved, with which kernels, and how many features a stage has.

The rules are nnU-Net's (Isensee et al., Nature Methods 2021, supplementary note 3): an axis is halved while its feature
map stays at least four voxels wide and its voxels are not much coarser than the finest; it is convolved (kernel 3)
once the voxels are less than twice as coarse as the finest. Pure arithmetic: no data, no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Topology", "feature_counts", "round_up", "topology"]

LEAST_SIDE = 4
"""A feature map is not halved below this side, in voxels."""

COARSER = 2.0
"""An axis whose voxels are at least this many times coarser than the finest is left alone for now."""

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """Kernels and strides of each stage; `strides[0]` is all ones."""

    kernels: tuple[Axes, ...]
    strides: tuple[Axes, ...]

    @property
    def divisor(self) -> Axes:
        """Sides of a patch must be multiples of this to pass without padding."""
        total = [1] * len(self.strides[0])
        for stride in self.strides:
            total = [t * s for t, s in zip(total, stride, strict=True)]
        return tuple(total)


def topology(patch: Sequence[int], spacing_mm: Sequence[float], most_stages: int) -> Topology:
    """Kernels and strides for a patch of this size and spacing; at least two stages where any side allows it.

    >>> topology((40, 56, 40), (1, 1, 1), 6).strides
    ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    >>> topology((16, 64, 64), (5, 1, 1), 3).kernels
    ((1, 3, 3), (1, 3, 3), (3, 3, 3))
    """
    sides, spacing = list(patch), list(spacing_mm)
    kernels: list[Axes] = [_kernel(spacing)]
    strides: list[Axes] = [(1,) * len(sides)]
    while len(strides) < most_stages:
        wide = [n >= 2 * LEAST_SIDE for n in sides]
        finest = min((mm for mm, ok in zip(spacing, wide, strict=True) if ok), default=0.0)
        halved = [ok and mm < COARSER * finest for mm, ok in zip(spacing, wide, strict=True)]
        if not any(halved):
            break
        stride = tuple(2 if half else 1 for half in halved)
        sides = [-(-n // s) for n, s in zip(sides, stride, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(spacing))
    if len(strides) == 1:
        strides.append(tuple(2 if n > 1 else 1 for n in sides))
        kernels.append(kernels[0])
    return Topology(tuple(kernels), tuple(strides))


def feature_counts(stages: int, first: int, largest: int) -> tuple[int, ...]:
    """Features of each stage: doubled from stage to stage up to `largest`.

    >>> feature_counts(6, 32, 320)
    (32, 64, 128, 256, 320, 320)
    """
    return tuple(min(first * 2**stage, largest) for stage in range(stages))


def round_up(sides: Sequence[int], divisor: Sequence[int]) -> Axes:
    """The smallest multiples of `divisor` that hold `sides`.

    >>> round_up((35, 50, 36), (8, 8, 8))
    (40, 56, 40)
    """
    return tuple(-(-n // d) * d for n, d in zip(sides, divisor, strict=True))


def _kernel(spacing_mm: Sequence[float]) -> Axes:
    finest = min(spacing_mm)
    return tuple(3 if mm < COARSER * finest else 1 for mm in spacing_mm)
