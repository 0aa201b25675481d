"""What a U-Net costs, by arithmetic alone: the rules weigh plans by it before any network exists.

One multiply-add counts as two floating-point operations, only convolutions count (all else together is below a
percent), and the backward pass as twice the forward. `nn.summary` counts the same on the real module; a test holds
the two together.
"""

from collections.abc import Sequence
from math import prod

from medseg.config.network import NetworkSpec

__all__ = ["forward_gflop", "stage_sides", "step_gflop"]


def stage_sides(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The sides of the feature maps of each stage, in voxels.

    >>> stage_sides((40, 56), [(1, 1), (2, 2), (1, 2)])
    [(40, 56), (20, 28), (20, 14)]
    """
    sides = tuple(patch)
    result = []
    for stride in strides:
        sides = tuple(-(-n // s) for n, s in zip(sides, stride, strict=True))
        result.append(sides)
    return result


def forward_gflop(spec: NetworkSpec, patch: Sequence[int]) -> float:
    """GFLOP of one forward pass over one patch of our U-Net of this description (Ronneberger et al. 2015)."""
    voxels = [prod(sides) for sides in stage_sides(patch, spec.strides)]
    kernel = [prod(axes) for axes in spec.kernels]
    more = spec.convolutions - 1
    total = 0.0
    incoming = spec.in_channels
    for stage, features in enumerate(spec.features):
        total += voxels[stage] * kernel[stage] * (incoming * features + more * features**2)
        incoming = features
    for stage in range(len(spec.features) - 2, -1, -1):
        features, below = spec.features[stage], spec.features[stage + 1]
        upsampling_kernel = 1 if spec.upsample == "transposed" else kernel[stage]
        total += voxels[stage] * features * below * upsampling_kernel
        total += voxels[stage] * kernel[stage] * (2 * features**2 + more * features**2)
    total += voxels[0] * spec.features[0] * spec.n_classes
    return 2 * total / 1e9


def step_gflop(spec: NetworkSpec, patch: Sequence[int], batch: int) -> float:
    """GFLOP of one training step: a forward and a backward pass over a batch."""
    return 3 * batch * forward_gflop(spec, patch)
