"""From a fingerprint, a machine and a budget to a plan, by pure rules.

What data decide: dimensions, spacing, normalisation, where voxels are anisotropic. What the budget decides: how much a
step may cost, and from that the patch, the batch and, where a patch would see too little of the body, a coarser grid. A
short budget on a laptop then still sees whole organs; a long one sees finer voxels. Every decision leaves its reason in
`Plan.reasons`. Equal inputs give equal plans; nothing here reads a file, a clock or a device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

from medseg.config.network import NetworkSpec
from medseg.config.schema import Config
from medseg.core.errors import PlanError
from medseg.core.labels import Labels
from medseg.data.fingerprint import STRIPPED_SHARE, ChannelFacts, Fingerprint
from medseg.plan.cost import step_gflop
from medseg.plan.plan import MOST_VOXELS, Plan
from medseg.plan.topology import feature_counts, round_up, topology
from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing

__all__ = ["DeviceFacts", "make_plan"]

ANISOTROPIC = 3.0
"""Voxels this many times longer along one axis are interpolated apart along it (nnU-Net's threshold)."""

STEPS_AT_ONE_MINUTE = 220
"""A budget of m minutes should hold about this many times √m steps; a step may then cost what that leaves.

More time goes into more steps and larger steps alike. On Hippocampus, 10 minutes of 2 cores are some 900 steps of
58 GFLOP (docs/benchmarks.md)."""

TRAINING_SHARE = 0.85
"""The share of a budget that goes into steps; the rest reads, validates and writes."""

SLACK = 1.3
"""A step may cost this many times what the budget suggests before the plan is made smaller."""

COVERAGE = 0.25
"""A patch that sees less than this of the median case makes the plan grid coarser (nnU-Net's low-resolution rule)."""

COARSEST = 3.0
"""The plan grid is never coarser than this many times the median spacing."""

LEAST_LABEL_VOXELS = 300
"""Nor so coarse that the median case of the smallest label has fewer voxels than this."""

LEAST_PATCH = {2: 64, 3: 24}
"""Sides are not shrunk below this, in voxels (unless the images are smaller)."""

MOST_BATCH = {2: 32, 3: 16}

FIRST_FEATURES = {"cpu": 16, "cuda": 32, "mps": 32}
LARGEST_FEATURES = {2: 512, 3: 320}
MOST_STAGES = {2: 7, 3: 6}

BYTES_A_FEATURE = 60
"""Bytes of activations and gradients that a voxel of the first feature maps costs in training, for each convolution.

Peak memory of real steps of `unet3d` (float32, patches of 48 and 64, 16 and 32 features) was 33 to 42; the rest is
margin."""

MEMORY_SHARE = 0.6
"""The share of a device's free memory that a step may take."""


@dataclass(frozen=True)
class DeviceFacts:
    """What the rules know of the machine; `train.measure` brings it.

    Attributes:
        kind: "cpu", "cuda" or "mps".
        gflops: What a convolution reaches here, forwards and backwards, in GFLOP/s.
        memory_gib: Free memory for a step.
    """

    kind: Literal["cpu", "cuda", "mps"]
    gflops: float
    memory_gib: float


def make_plan(fingerprint: Fingerprint, config: Config, labels: Labels, device: DeviceFacts, budget_s: float) -> Plan:
    """The plan for a data set on a machine.

    Raises:
        PlanError: The configuration asks for what these data cannot give.
    """
    reasons: dict[str, str] = {}
    _refuse_fine_grid(fingerprint, config)
    dimensions = _dimensions(fingerprint, config, reasons)
    slice_axis = _slice_axis(fingerprint) if dimensions == 2 else None
    axes = [axis for axis in range(3) if axis != slice_axis]
    allowed = _allowed_gflop(device, budget_s, reasons)
    sizer = _Sizer(fingerprint, config, device, len(fingerprint.channels), len(labels.classes), allowed, axes)
    spacing = _spacing(fingerprint, config, sizer, axes, reasons)
    size = sizer.size(spacing)
    if prod(size.patch) > MOST_VOXELS:
        raise PlanError(f"plan.patch is {_sides(size.patch)}: no machine holds so many voxels. Take a smaller one.")
    _own_grids(fingerprint, reasons)
    reasons["patch"] = (
        f"{_sides(size.patch)} voxels see {size.coverage:.0%} of the median case; a step of {size.batch} costs "
        f"{step_gflop(size.network, size.patch, size.batch):.0f} GFLOP"
    )
    return Plan(
        channels=tuple(channel.name for channel in fingerprint.channels),
        labels=labels.to_json(),
        ignore=labels.ignore,
        dimensions=dimensions,
        slice_axis=slice_axis,
        preprocessing=Preprocessing(
            spacing_mm=spacing,
            thick_axis=_thick_axis(fingerprint, reasons),
            normalisation=tuple(_normalisation(c, config, reasons) for c in fingerprint.channels),
        ),
        network=size.network,
        patch=size.patch,
        batch=size.batch,
        mirror_axes=_mirror_axes(fingerprint, config, axes, reasons),
        overlap=config.prediction.overlap,
        reasons=reasons,
    )


def _refuse_fine_grid(fingerprint: Fingerprint, config: Config) -> None:
    """Planning itself takes memory and time by the size of a case on the plan grid.

    Raises:
        PlanError: The spacing that is asked for makes cases that no machine holds.
    """
    asked = config.plan.spacing_mm or ()
    if len(asked) != 3:
        return
    sides = zip(fingerprint.median_shape, fingerprint.median_spacing_mm, asked, strict=True)
    if prod(n * mm / new for n, mm, new in sides) > 32 * MOST_VOXELS:
        raise PlanError(
            f"plan.spacing_mm is {', '.join(f'{mm:g}' for mm in asked)}, but scans have "
            f"{', '.join(f'{mm:.3g}' for mm in fingerprint.median_spacing_mm)}: no machine holds a case that fine. "
            "Take a coarser one."
        )


def _dimensions(fingerprint: Fingerprint, config: Config, reasons: dict[str, str]) -> Literal[2, 3]:
    flat = min(fingerprint.median_shape) == 1
    wanted = config.plan.dimensions
    if wanted == 3 and flat:
        raise PlanError(
            "The configuration asks for a 3-D network (plan.dimensions=3), but the images are single slices of "
            f"{_sides(fingerprint.median_shape)} voxels. Use -c unet2d, or plan.dimensions=2."
        )
    if wanted != "auto":
        reasons["dimensions"] = f"{wanted}-D, as the configuration says"
        return wanted
    reasons["dimensions"] = "2-D: the images are single slices" if flat else "3-D: the images are volumes"
    return 2 if flat else 3


def _slice_axis(fingerprint: Fingerprint) -> Literal[0, 1, 2]:
    """The axis that a 2-D plan slices along: a single slice's, else the thickest (the last of equals)."""
    if 1 in fingerprint.median_shape:
        axis = max(a for a in range(3) if fingerprint.median_shape[a] == 1)
    else:
        axis = max(range(3), key=lambda a: (fingerprint.median_spacing_mm[a], a))
    return (0, 1, 2)[axis]


def _thick_axis(fingerprint: Fingerprint, reasons: dict[str, str]) -> Literal[0, 1, 2] | None:
    spacing = fingerprint.median_spacing_mm
    axis = max(range(3), key=lambda a: spacing[a])
    others = [mm for a, mm in enumerate(spacing) if a != axis]
    if not fingerprint.placed or spacing[axis] < ANISOTROPIC * max(others):
        return None
    reasons["interpolation"] = f"nearest neighbour along axis {axis}: its voxels are {spacing[axis]:g} mm long"
    return (0, 1, 2)[axis]


def _allowed_gflop(device: DeviceFacts, budget_s: float, reasons: dict[str, str]) -> float:
    wanted_steps = STEPS_AT_ONE_MINUTE * sqrt(budget_s / 60)
    allowed = device.gflops * TRAINING_SHARE * budget_s / wanted_steps
    reasons["cost"] = (
        f"{device.gflops:.0f} GFLOP/s for {budget_s / 60:.0f} minutes: about {wanted_steps:.0f} steps "
        f"of {allowed:.0f} GFLOP"
    )
    return allowed


def _spacing(
    fingerprint: Fingerprint, config: Config, sizer: "_Sizer", axes: Sequence[int], reasons: dict[str, str]
) -> tuple[float | None, float | None, float | None]:
    """The spacing of the plan grid along the RAS axes; None where an axis stays as it is."""
    if not fingerprint.placed:
        reasons["spacing"] = "pictures stay as they are"
        return None, None, None
    if config.plan.spacing_mm is not None:
        if len(config.plan.spacing_mm) != 3:
            raise PlanError(f"plan.spacing_mm has {len(config.plan.spacing_mm)} numbers; it needs 3 (RAS axes, in mm).")
        reasons["spacing"] = "as the configuration says"
        wanted = [float(mm) for mm in config.plan.spacing_mm]
    else:
        wanted = _coarsened(fingerprint, config, sizer, reasons)
    x, y, z = (mm if axis in axes else None for axis, mm in enumerate(wanted))
    return x, y, z


def _coarsened(fingerprint: Fingerprint, config: Config, sizer: "_Sizer", reasons: dict[str, str]) -> list[float]:
    """The median spacing, the finest axes first made coarser until a patch sees enough of a case."""
    # Headers round 0.15 mm to 0.14999999: five digits are more than any scanner has.
    median = [float(f"{mm:.5g}") for mm in fingerprint.median_spacing_mm]
    reasons["spacing"] = "the median of the cases"
    if config.plan.patch is not None:
        return median
    spacing, finest = median, min(median[a] for a in sizer.axes)
    while sizer.size(spacing).coverage < COVERAGE:
        finest *= 1.05
        coarser = [max(mm, finest) if a in sizer.axes else mm for a, mm in enumerate(median)]
        factor = max(new / old for new, old in zip(coarser, median, strict=True))
        if factor > COARSEST or _smallest_label_voxels(fingerprint, coarser) < LEAST_LABEL_VOXELS:
            break
        spacing = coarser
    if spacing != median:
        spacing = [float(f"{mm:.3g}") for mm in spacing]
        reasons["spacing"] = (
            f"coarser than the median {_sides(median)} mm, so that a patch this budget can pay for sees "
            f"{sizer.size(spacing).coverage:.0%} of a case"
        )
    return spacing


def _smallest_label_voxels(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> float:
    smallest_ml = min(fingerprint.median_label_ml.values(), default=float("inf"))
    return smallest_ml * 1000 / prod(spacing_mm)


def _normalisation(channel: ChannelFacts, config: Config, reasons: dict[str, str]) -> ChannelNormalisation:
    scheme = config.plan.normalisation
    key = f"intensities of {channel.name}"
    if scheme == "auto":
        scheme = "ct" if channel.is_ct else "zscore"
        reasons[key] = (
            "clipped and scaled as CT (the numbers mean something)" if channel.is_ct else "z-score of each case"
        )
    else:
        reasons[key] = f"{scheme}, as the configuration says"
    if scheme == "ct":
        return ChannelNormalisation(scheme="ct", low=channel.low, high=channel.high, mean=channel.mean, sd=channel.sd)
    if scheme == "rescale":
        return ChannelNormalisation(scheme="rescale", low=channel.low, high=channel.high)
    stripped = channel.zero_share > STRIPPED_SHARE and scheme in ("zscore", "percentile")
    if stripped:
        reasons[key] += f"; the {channel.zero_share:.0%} of voxels that are exactly 0 are left out"
    return ChannelNormalisation(scheme=scheme, nonzero=stripped)


def _own_grids(fingerprint: Fingerprint, reasons: dict[str, str]) -> None:
    """Say which channels are brought to the grid of the first one; reading a case does it, here as in prediction."""
    first, *others = fingerprint.channels
    having = [f"{each.name} in {each.n_own_grid} of {fingerprint.n_cases} cases" for each in others if each.n_own_grid]
    if having:
        reasons["channels on grids of their own"] = (
            f"{', '.join(having)}: brought to the grid of {first.name}, linearly; the smallest value of the channel "
            "stands outside of its field of view"
        )


def _mirror_axes(
    fingerprint: Fingerprint, config: Config, axes: Sequence[int], reasons: dict[str, str]
) -> tuple[int, ...]:
    wanted = config.augmentation.mirror_axes
    if not config.augmentation.enabled:
        return ()
    if wanted == "auto":
        reasons["mirroring"] = "none: bodies have sides" if fingerprint.placed else "both axes: pictures have no sides"
        return () if fingerprint.placed else tuple(axes)
    outside = [axis for axis in wanted if axis not in axes]
    if outside:
        raise PlanError(
            f"augmentation.mirror_axes names axis {outside[0]}, but this plan has the axes {list(axes)} "
            "(0 left-right, 1 back-front, 2 feet-head)."
        )
    reasons["mirroring"] = "as the configuration says"
    return tuple(sorted(set(wanted)))


@dataclass(frozen=True)
class _Size:
    patch: tuple[int, ...]
    batch: int
    network: NetworkSpec
    coverage: float


@dataclass(frozen=True)
class _Sizer:
    """Finds patch, batch and network for a spacing under what a step may cost."""

    fingerprint: Fingerprint
    config: Config
    device: DeviceFacts
    n_channels: int
    n_classes: int
    allowed_gflop: float
    axes: Sequence[int]

    def size(self, spacing_mm: Sequence[float | None]) -> _Size:
        native = self.fingerprint.median_spacing_mm
        spacing = [spacing_mm[a] or native[a] for a in self.axes]
        shape = [
            max(1, round(self.fingerprint.median_shape[a] * native[a] / mm))
            for a, mm in zip(self.axes, spacing, strict=True)
        ]
        wanted = self.config.plan.patch
        if wanted is None:
            patch = self._patch(shape, spacing)
        elif len(wanted) != len(self.axes):
            raise PlanError(f"plan.patch has {len(wanted)} numbers, but the network has {len(self.axes)} axes.")
        else:
            patch = wanted
        network = self._network(patch, spacing)
        batch = self.config.plan.batch or self._batch(patch, network)
        seen = prod(min(p, n) for p, n in zip(patch, shape, strict=True))
        return _Size(patch, batch, network, seen / prod(shape))

    def _patch(self, shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """The whole median case, then shrunk along the axis that sees most of it until a step is paid for."""
        sides = list(shape)
        least = LEAST_PATCH[len(sides)]
        while True:
            network = self._network(sides, spacing)
            patch = round_up(sides, network.divisor)
            if self._affordable(patch, 2, network) or all(n <= least for n in sides):
                return patch
            shrinkable = [axis for axis, n in enumerate(sides) if n > least]
            axis = max(shrinkable, key=lambda a: (sides[a] / shape[a], sides[a] * spacing[a]))
            sides[axis] = max(least, min(sides[axis] - 1, patch[axis] - network.divisor[axis]))

    def _batch(self, patch: Sequence[int], network: NetworkSpec) -> int:
        batch = 2
        while batch < MOST_BATCH[len(patch)] and self._affordable(patch, batch + 1, network, slack=1.0):
            batch += 1
        return batch

    def _affordable(self, patch: Sequence[int], batch: int, network: NetworkSpec, slack: float = SLACK) -> bool:
        memory_gib = batch * prod(patch) * network.features[0] * BYTES_A_FEATURE * network.convolutions / 2**30
        return (
            step_gflop(network, patch, batch) <= slack * self.allowed_gflop
            and memory_gib <= MEMORY_SHARE * self.device.memory_gib
        )

    def _network(self, patch: Sequence[int], spacing: Sequence[float]) -> NetworkSpec:
        wanted = self.config.network
        dimensions = len(self.axes)
        most = wanted.stages or (len(wanted.features) if wanted.features else MOST_STAGES[dimensions])
        shape = topology(patch, spacing, most)
        kernels = wanted.kernels or shape.kernels
        strides = wanted.strides or shape.strides
        if (wanted.stages or wanted.features) and not wanted.strides and len(strides) < most:
            # The user asked for more stages than the rules would give this patch: halve on, padding inside.
            missing = most - len(strides)
            strides = (*strides, *(((2,) * dimensions,) * missing))
            kernels = wanted.kernels or (*kernels, *(((3,) * dimensions,) * missing))
        first = wanted.first_features or FIRST_FEATURES[self.device.kind]
        largest = wanted.largest_features or LARGEST_FEATURES[dimensions]
        features = wanted.features or feature_counts(len(strides), first, largest)
        try:
            return NetworkSpec(
                name=wanted.name,
                dimensions=2 if dimensions == 2 else 3,
                in_channels=self.n_channels,
                n_classes=self.n_classes,
                features=features,
                kernels=kernels,
                strides=strides,
                convolutions=wanted.convolutions,
                normalisation=wanted.normalisation,
                activation=wanted.activation,
                dropout=wanted.dropout,
                residual=wanted.residual,
                deep_supervision=wanted.deep_supervision,
                downsample=wanted.downsample,
                upsample=wanted.upsample,
            )
        except ValueError as error:
            reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
            raise PlanError(f"The network that the configuration describes cannot be built: {reason}.") from error


def _sides(numbers: Sequence[float]) -> str:
    return " × ".join(f"{n:g}" for n in numbers)
