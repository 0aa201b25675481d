"""A network stage by stage: resolution, features, receptive field, parameters and work, before it is trained.

The network runs once on torch's meta device, where tensors have shapes but no memory. A multiply-add of a convolution
or a matrix product counts as two FLOP; all else (normalisation, activation, pooling, interpolation) does not. The
*receptive field* of a stage is how many voxels of the image, along each axis, a voxel of its result can depend on
through convolutions, pooling and interpolation, far from the border and where it is widest; instance normalisation
sees the whole patch besides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from medseg.config.network import NetworkSpec
from medseg.nn.networks import build
from medseg.nn.unet import UNet

__all__ = ["NetworkSummary", "StageSummary", "receptive_field", "summarise"]

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One row: a stage of ours, or a part of another network.

    Attributes:
        path: "contracting", "bottleneck", "expanding" or "output"; for other networks "".
        name: Such as "stage 0".
        resolution: Sides of the result in voxels; empty where it has none (heads, which work in training only).
        features: Number of features of the result.
        receptive_field: Voxels of the image along each axis; None where it is not known.
        parameters: Number of learnt numbers.
        gflop: Work of a forward pass over one patch.
        share: `gflop` as a share of the whole.
    """

    path: str
    name: str
    resolution: Axes
    features: int
    receptive_field: Axes | None
    parameters: int
    gflop: float
    share: float


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """All rows in the order in which the image passes them, and the sums."""

    rows: tuple[StageSummary, ...]
    parameters: int
    forward_gflop: float


def summarise(spec: NetworkSpec, patch: Sequence[int]) -> NetworkSummary:
    """What the network of this description is like on one patch of these sides.

    Args:
        spec: The network.
        patch: Sides in voxels, one an axis of the network.
    """
    network = skeleton(spec)
    parts = _parts_of_unet(network, spec) if isinstance(network, UNet) else list(_parts(network, set()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for part in parts:
            part.watch(counter)
        network(torch.empty(1, spec.in_channels, *patch, device="meta"))
    total = counter.get_total_flops()
    rows = tuple(
        StageSummary(
            path=part.path,
            name=part.name,
            resolution=tuple(part.shape[2:]),
            features=part.shape[1] if part.shape else spec.n_classes,
            receptive_field=part.receptive_field,
            parameters=_n_parameters(part.module),
            gflop=part.flop / 1e9,
            share=part.flop / total,
        )
        for part in parts
    )
    return NetworkSummary(rows, _n_parameters(network), total / 1e9)


def receptive_field(spec: NetworkSpec, stage: int, path: str) -> Axes:
    """Voxels of the image along each axis that one voxel of the result of a stage of our U-Net can depend on.

    Args:
        spec: The network.
        stage: 0 is the finest.
        path: "contracting" (the bottleneck too) or "expanding".
    """
    sides = []
    for axis in range(spec.dimensions):
        period = 1
        for stride in spec.strides[stage + 1 :]:
            period *= stride[axis]
        seen = _contracted if path == "contracting" else _expanded
        # What a fine voxel sees depends on where in a coarse voxel it lies: the widest of one period counts.
        spans = [seen(spec, axis, stage, (voxel, voxel)) for voxel in range(period if path == "expanding" else 1)]
        sides.append(max(last - first + 1 for first, last in spans))
    return tuple(sides)


Span = tuple[int, int]
"""First and last voxel along one axis."""


def _contracted(spec: NetworkSpec, axis: int, stage: int, span: Span) -> Span:
    """The voxels of the image that a span of the result of a contracting stage (or the bottleneck) depends on."""
    first, last = span
    for step in range(stage, -1, -1):
        half, stride = spec.kernels[step][axis] // 2, spec.strides[step][axis]
        more = half * (spec.convolutions - 1)
        first, last = first - more, last + more
        if spec.downsample == "maxpool":
            first, last = (first - half) * stride, (last + half) * stride + stride - 1
        else:
            shortcut = stride - 1 if spec.residual else 0
            first, last = first * stride - half, last * stride + max(half, shortcut)
    return first, last


def _expanded(spec: NetworkSpec, axis: int, stage: int, span: Span) -> Span:
    """The voxels of the image that a span of the result of an expanding stage sees: by its skip and from below."""
    half, stride = spec.kernels[stage][axis] // 2, spec.strides[stage + 1][axis]
    reach = half * spec.convolutions
    first, last = span[0] - reach, span[1] + reach
    by_skip = _contracted(spec, axis, stage, (first, last))
    if spec.upsample != "transposed":
        first, last = first - half, last + half
    if spec.upsample == "linear":
        # Voxel v lies at (v + 1/2) / stride - 1/2 among the coarse ones, and takes from those on both sides of it.
        below = (2 * first + 1 - stride) // (2 * stride), -((stride - 2 * last - 1) // (2 * stride))
    else:
        below = first // stride, last // stride
    deeper = _contracted if stage + 2 == len(spec.features) else _expanded
    from_below = deeper(spec, axis, stage + 1, below)
    return min(by_skip[0], from_below[0]), max(by_skip[1], from_below[1])


@dataclass
class _Part:
    """A part of a network that becomes a row, and what was seen of it while the network ran."""

    path: str
    name: str
    module: nn.Module
    receptive_field: Axes | None = None
    shape: Axes = ()
    flop: int = 0

    def watch(self, counter: FlopCounterMode) -> None:
        """Count the work between the start and the end of the module, and keep the shape of its result."""

        def start(_module: nn.Module, _inputs: object) -> None:
            self.flop -= counter.get_total_flops()

        def end(_module: nn.Module, _inputs: object, output: object) -> None:
            self.flop += counter.get_total_flops()
            if isinstance(output, Tensor):
                self.shape = tuple(output.shape)

        self.module.register_forward_pre_hook(start)
        self.module.register_forward_hook(end)


def _parts_of_unet(network: UNet, spec: NetworkSpec) -> list[_Part]:
    deepest = len(spec.features) - 1
    down = [receptive_field(spec, stage, "contracting") for stage in range(deepest + 1)]
    up = [receptive_field(spec, stage, "expanding") for stage in range(deepest)]
    contracting = zip(network.contracting_path.stages, down, strict=False)
    expanding = list(zip(network.expanding_path.stages, up, strict=True))
    final = f"final {'×'.join(['1'] * spec.dimensions)} convolution"
    parts = [_Part("contracting", f"stage {s}", module, field) for s, (module, field) in enumerate(contracting)]
    parts.append(_Part("bottleneck", f"stage {deepest}", network.bottleneck, down[-1]))
    parts += [_Part("expanding", f"stage {s}", *expanding[s]) for s in reversed(range(deepest))]
    parts.append(_Part("output", final, network.final_convolution, up[0]))
    if len(network.deep_supervision_heads):
        parts.append(_Part("output", "deep supervision heads", network.deep_supervision_heads))
    return parts


def _parts(module: nn.Module, seen: set[nn.Parameter], prefix: str = "") -> Iterator[_Part]:
    """The parts of another network, coarsely: its children, and theirs where a child is a mere list of modules."""
    for name, child in module.named_children():
        new = set(child.parameters()) - seen
        if type(child) in (nn.ModuleList, nn.Sequential) or not prefix:
            yield from _parts(child, seen, f"{prefix}{name}.")
        elif new:
            seen |= new
            yield _Part("", f"{prefix}{name}".removeprefix("network."), child)


class _WithoutWeights(TorchFunctionMode):
    """Networks are made without drawing their weights, which takes longer than all the rest and is not looked at."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def skeleton(spec: NetworkSpec) -> nn.Module:
    """The network with names, shapes and types of all its numbers, and without the memory for them.

    Raises:
        UsageError: As `build`.
    """
    with torch.random.fork_rng(devices=[]), _WithoutWeights():
        try:
            with torch.device("meta"):
                return build(spec).eval()
        except (NotImplementedError, RuntimeError):
            # Some of MONAI's networks look at numbers while they are made. Memory that nobody writes to is not taken.
            return build(spec).to("meta").eval()


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
