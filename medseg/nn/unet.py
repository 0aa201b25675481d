"""The U-Net, readable from top to bottom in the words of its papers.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; the
anisotropic kernels and strides, instance normalisation, leaky ReLU and deep supervision are those of Isensee et al.,
"nnU-Net", Nature Methods 2021; residual blocks are those of He et al., CVPR 2016.

                image                                                     logits
                  │                                                         ↑ final 1×1(×1) convolution
    stage 0     convolutions ────────────── skip connection ─────────→ convolutions
                  ↓ max pooling or strided                    upsampling    ↑ ·····→ deep supervision head
    stage 1       convolutions ───────────── skip connection ───────→ convolutions
                    ↓                                                   ↑ ·········→ deep supervision head
      ⋮               contracting path                      expanding path
                                 ↓                       ↑
    last stage                     bottleneck: convolutions

Conventions: tensors are (b, c, *spatial), spatial being (i, j) or (i, j, k) in array order; sides are voxels. Stage 0
is the finest. The names of the modules below are the names in the weight files: renaming one breaks trained models. The
module knows no file, no case, no spacing and no loss.
"""

from collections.abc import Callable, Sequence
from math import gcd, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.config.network import Activation, NetworkSpec, Upsampling

__all__ = ["Bottleneck", "ContractingPath", "ExpandingPath", "UNet", "crop", "pad_to_multiples"]

LEAKY_SLOPE = 0.01
"""Slope of the leaky ReLU below 0, as in nnU-Net."""

MOST_GROUPS = 8
"""Group normalisation takes this many groups, or as many of them as divide the features (Myronenko 2018 takes 8)."""

FINAL_GAIN = 1.0
"""Standard deviation of the logits of a fresh network, about. Less is tempting (it starts undecided) and learns slower:
with 0.1, Adam first spends its steps on letting these few weights grow (a toy task took 100 steps instead of 20)."""

Layer = Callable[..., nn.Module]

_CONVOLUTION: dict[int, Layer] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED_CONVOLUTION: dict[int, Layer] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_MAX_POOLING: dict[int, Layer] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE_POOLING: dict[int, Layer] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_BATCH_NORMALISATION: dict[int, Layer] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_DROPOUT: dict[int, Layer] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class UNet(nn.Module):
    """The whole network: image (b, in_channels, *spatial) → logits (b, n_classes, *spatial), for any sides ≥ 1.

    In training with deep supervision it returns a list instead, finest first: the logits, then those of the head of
    each coarser stage of the expanding path, with sides ceil(side / product of the strides down to that stage).
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.contracting_path = ContractingPath(spec)
        self.bottleneck = Bottleneck(spec)
        self.expanding_path = ExpandingPath(spec)
        self.final_convolution = _one_by_one(spec, spec.features[0])
        coarser = spec.features[1:-1] if spec.deep_supervision else ()
        self.deep_supervision_heads = nn.ModuleList(_one_by_one(spec, features) for features in coarser)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        sides: Sequence[int] = image.shape[2:]
        skips = self.contracting_path(pad_to_multiples(image, self.spec.divisor))
        expanded = self.expanding_path(self.bottleneck(skips[-1]), skips)
        logits = crop(self.final_convolution(expanded[0]), sides)
        if not (self.training and self.spec.deep_supervision):
            return logits
        outputs = [logits]
        for head, features, stride in zip(
            self.deep_supervision_heads, expanded[1:], self.spec.strides[1:-1], strict=True
        ):
            sides = [-(-side // step) for side, step in zip(sides, stride, strict=True)]
            outputs.append(crop(head(features), sides))
        return outputs


class ContractingPath(nn.Module):
    """What is in the image: early stages see edges and texture, deep ones shape and context.

    Image (b, in_channels, *spatial) → a list, finest first, of what the skip connections carry: that of stage s is
    (b, features[s], *spatial / product of strides[:s + 1]).
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_ContractingStage(spec, stage) for stage in range(len(spec.features) - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        skips = []
        features = image
        for stage in self.stages:
            features = stage(features)
            skips.append(features)
        return skips


class Bottleneck(nn.Module):
    """The last stage, coarsest and widest: (b, features[-2], *sides) → (b, features[-1], *sides / strides[-1])."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.stage = _ContractingStage(spec, len(spec.features) - 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.stage(features)  # type: ignore[no-any-return]


class ExpandingPath(nn.Module):
    """Where it is: back to the input's resolution, each stage with the fine detail that its skip connection brings.

    (b, features[-1], *coarsest sides) and the skips, finest first → the stages' results, finest first, each of the
    shape of its skip.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_ExpandingStage(spec, stage) for stage in range(len(spec.features) - 1))

    def forward(self, features: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
        expanded = []
        for stage, skip in zip(reversed(self.stages), reversed(skips), strict=True):
            features = stage(features, skip)
            expanded.append(features)
        return expanded[::-1]


class _ContractingStage(nn.Module):
    """Stage s of the way down: halve the resolution (all but stage 0), then convolutions.

    (b, features[s - 1], *sides) → (b, features[s], *sides / strides[s]).
    """

    def __init__(self, spec: NetworkSpec, stage: int) -> None:
        super().__init__()
        incoming = spec.features[stage - 1] if stage else spec.in_channels
        stride = spec.strides[stage]
        pools = spec.downsample == "maxpool" and max(stride) > 1
        self.max_pooling = _MAX_POOLING[spec.dimensions](stride, stride) if pools else nn.Identity()
        self.convolutions = _Convolutions(spec, stage, incoming, (1,) * spec.dimensions if pools else stride)

    def forward(self, features: Tensor) -> Tensor:
        return self.convolutions(self.max_pooling(features))  # type: ignore[no-any-return]


class _ExpandingStage(nn.Module):
    """Stage s of the way up: upsampling, concatenation with the skip, convolutions.

    (b, features[s + 1], *sides) and the skip (b, features[s], *sides · strides[s + 1]) → the shape of the skip.
    """

    def __init__(self, spec: NetworkSpec, stage: int) -> None:
        super().__init__()
        features = spec.features[stage]
        self.upsampling = _upsampling(spec, stage)
        self.convolutions = _Convolutions(spec, stage, 2 * features, (1,) * spec.dimensions)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        return self.convolutions(torch.cat((skip, self.upsampling(features)), dim=1))  # type: ignore[no-any-return]


class _Convolutions(nn.Module):
    """The convolutions of one stage, each followed by normalisation and activation; the first one may be strided.

    (b, incoming, *sides) → (b, features[stage], *sides / stride). With `spec.residual` the stage is one residual block:
    its input is added before the last activation, projected by a 1×1(×1) convolution where the features differ and
    averaged where the stride is not 1 (averaging instead of skipping voxels: He et al. 2019, "Bag of Tricks").
    """

    def __init__(self, spec: NetworkSpec, stage: int, incoming: int, stride: Sequence[int]) -> None:
        super().__init__()
        features = spec.features[stage]
        one = (1,) * spec.dimensions
        self.layers = nn.ModuleList(
            _Convolution(spec, features if layer else incoming, features, spec.kernels[stage], one if layer else stride)
            for layer in range(spec.convolutions)
        )
        self.activation = _activation(spec.activation)
        self.shortcut = _shortcut(spec, incoming, features, stride) if spec.residual else None

    def forward(self, features: Tensor) -> Tensor:
        result = features
        for layer in self.layers[:-1]:
            result = self.activation(layer(result))
        result = self.layers[-1](result)
        if self.shortcut is not None:
            result = result + self.shortcut(features)
        return self.activation(result)  # type: ignore[no-any-return]


class _Convolution(nn.Module):
    """One convolution that keeps the sides (or divides them by its stride), dropout of whole features, normalisation.

    (b, incoming, *sides) → (b, features, *sides / stride). Zeros are put around the image. There is no bias before a
    normalisation, which would subtract it again and has its own shift.
    """

    def __init__(
        self, spec: NetworkSpec, incoming: int, features: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.convolution = _CONVOLUTION[spec.dimensions](
            incoming,
            features,
            kernel_size=tuple(kernel),
            stride=tuple(stride),
            padding=tuple(side // 2 for side in kernel),
            bias=spec.normalisation == "none",
        )
        self.dropout = _DROPOUT[spec.dimensions](spec.dropout) if spec.dropout else nn.Identity()
        self.normalisation = _normalisation(spec, features)

    def forward(self, features: Tensor) -> Tensor:
        return self.normalisation(self.dropout(self.convolution(features)))  # type: ignore[no-any-return]


class _InstanceNormalisation(nn.Module):
    """Each feature of each sample to mean 0 and variance 1 over its voxels, then a learnt scale and shift.

    (b, features, *sides) → the same (Ulyanov et al. 2016; biased variance, as in torch). On a CPU torch's own
    rearranges channels-last features and back. Instance normalisation of one sample is batch normalisation by the
    statistics of that batch of one, which does not: that saves 15 % of a training step.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, features: Tensor) -> Tensor:
        if features.is_contiguous() or not features.is_cpu or torch.compiler.is_compiling():
            return functional.instance_norm(features, weight=self.weight, bias=self.bias)
        samples = [
            functional.batch_norm(sample, None, None, self.weight, self.bias, training=True)
            for sample in torch.split(features, 1)
        ]
        return torch.cat(samples) if len(samples) > 1 else samples[0]


class _Interpolation(nn.Module):
    """Sides times the stride, by nearest neighbour or linearly (voxels are cells: corners are not aligned)."""

    def __init__(self, dimensions: int, stride: Sequence[int], how: Upsampling) -> None:
        super().__init__()
        self.factors = [float(step) for step in stride]
        self.mode = "nearest" if how == "nearest" else {2: "bilinear", 3: "trilinear"}[dimensions]

    def forward(self, features: Tensor) -> Tensor:
        return functional.interpolate(features, scale_factor=self.factors, mode=self.mode)


def pad_to_multiples(image: Tensor, divisor: Sequence[int]) -> Tensor:
    """The image (b, c, *sides), continued at the far end of each axis to sides that are multiples of `divisor`.

    The border voxels are repeated: zeros would draw an edge that the scan does not have and pull the statistics of
    instance normalisation, and mirroring is not defined for sides below the padding. Padding at the far end alone keeps
    voxel 0 of each stage over voxel 0 of the image. One more multiple is added where the coarsest feature map would be
    a single voxel, whose variance no normalisation can take. Nothing is copied where nothing is missing.
    """
    sides = list(image.shape[2:])
    wanted = [-(-side // step) * step for side, step in zip(sides, divisor, strict=True)]
    if prod(side // step for side, step in zip(wanted, divisor, strict=True)) == 1:
        wanted[-1] += divisor[-1]
    if wanted == sides:
        return image
    ends = [end for side, want in zip(reversed(sides), reversed(wanted), strict=True) for end in (0, want - side)]
    return functional.pad(image, ends, mode="replicate")


def crop(features: Tensor, sides: Sequence[int]) -> Tensor:
    """The first `sides` voxels of (b, c, *spatial) along each spatial axis: a view."""
    spatial = tuple(slice(side) for side in sides)
    return features[(slice(None), slice(None), *spatial)]


def _upsampling(spec: NetworkSpec, stage: int) -> nn.Module:
    """From stage + 1 to `stage`: (b, features[stage + 1], *sides) → (b, features[stage], *sides · stride).

    "transposed" is the up-convolution of 2015: kernel = stride, so that each voxel becomes a block and none overlap.
    The others interpolate and then convolve with the stage's kernel (Odena et al. 2016: no checkerboard).
    """
    below, features = spec.features[stage + 1], spec.features[stage]
    stride, kernel = spec.strides[stage + 1], spec.kernels[stage]
    if spec.upsample == "transposed":
        return _TRANSPOSED_CONVOLUTION[spec.dimensions](below, features, kernel_size=stride, stride=stride)
    padding = tuple(side // 2 for side in kernel)
    convolution = _CONVOLUTION[spec.dimensions](below, features, kernel_size=kernel, padding=padding)
    return nn.Sequential(_Interpolation(spec.dimensions, stride, spec.upsample), convolution)


def _shortcut(spec: NetworkSpec, incoming: int, features: int, stride: Sequence[int]) -> nn.Module:
    layers: list[nn.Module] = []
    if max(stride) > 1:
        layers.append(_AVERAGE_POOLING[spec.dimensions](tuple(stride), tuple(stride)))
    if incoming != features:
        one = (1,) * spec.dimensions
        layers.append(_Convolution(spec.model_copy(update={"dropout": 0.0}), incoming, features, one, one))
    return nn.Sequential(*layers)


def _one_by_one(spec: NetworkSpec, features: int) -> nn.Module:
    """Features to logits, voxel by voxel."""
    return _CONVOLUTION[spec.dimensions](features, spec.n_classes, kernel_size=1)


def _normalisation(spec: NetworkSpec, features: int) -> nn.Module:
    match spec.normalisation:
        case "instance":
            return _InstanceNormalisation(features)
        case "batch":
            return _BATCH_NORMALISATION[spec.dimensions](features)
        case "group":
            return nn.GroupNorm(gcd(features, MOST_GROUPS), features)
        case "none":
            return nn.Identity()


def _activation(name: Activation) -> nn.Module:
    """In place where the derivative needs only the result: that saves a copy of every feature map."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()


def _initialise(network: UNet) -> None:
    """Weights drawn so that the variance of the features stays the same from layer to layer (He et al. 2015).

    Each layer's input is what an activation let through, so the gain is that of the activation (of ReLU also for GELU
    and SiLU, which let through nearly the same). A transposed convolution whose kernel is its stride makes a voxel of
    one voxel: its fan-in is its channels alone. No activation follows the logits: their gain is `FINAL_GAIN`. Biases
    start at 0.
    """
    slope = LEAKY_SLOPE if network.spec.activation == "leaky_relu" else 0.0
    gain = (2 / (1 + slope**2)) ** 0.5
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.weight, std=gain / (module.in_channels * prod(module.kernel_size)) ** 0.5)
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(module.weight, std=gain / module.in_channels**0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for head in (network.final_convolution, *network.deep_supervision_heads):
        nn.init.normal_(head.weight, std=FINAL_GAIN / head.in_channels**0.5)
