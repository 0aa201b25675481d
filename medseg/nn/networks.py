"""Networks by name: ours, and those of MONAI behind the same contract.

Whatever the name, `build` gives a module whose forward takes an image (b, in_channels, *spatial) of any size and
returns logits (b, n_classes, *spatial); in training with deep supervision a list of them, finest first, the head of
stage s with sides ceil(side / product of the strides down to s). A network is a row of `NETWORKS`. What a `NetworkSpec`
asks for and a network cannot do is refused by the name of its key, never dropped in silence; the one exception is an
option left at its default, which stands for what the network always does (`limits` of its row says what that is).

MONAI is imported here only, when a network of it is built.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from medseg.config.network import NetworkSpec
from medseg.core.account import give_account_a_name
from medseg.core.errors import UsageError
from medseg.nn.unet import LEAKY_SLOPE, MOST_GROUPS, UNet, crop, pad_to_multiples

__all__ = ["NETWORKS", "Network", "Padded", "build", "names"]

Heads = Callable[[Any, NetworkSpec], list[Tensor]]
"""What a network returns in training with deep supervision → its heads' logits, each on its own grid, finest first."""


def _one_head(outputs: Tensor, _: NetworkSpec) -> list[Tensor]:
    return [outputs]


@dataclass(frozen=True)
class Network:
    """A row of the table.

    Attributes:
        builder: Makes the module; may raise `UsageError` for a shape that the network does not come in.
        pads: Whether the network takes any size by itself. Otherwise `Padded` gives it multiples of the spec's divisor.
        heads: How its outputs in training become a list, finest first.
        limits: For each option that is not free, the values that the network can honour; none of the option's other
            values is accepted but the default, which is then read as the first of these.
    """

    builder: Callable[[NetworkSpec], nn.Module]
    pads: bool = False
    heads: Heads = _one_head
    limits: Mapping[str, tuple[object, ...]] = field(default_factory=dict)


class Padded(nn.Module):
    """A network of fixed divisor as one of any input size, with the outputs of all ours (see the module's opening)."""

    def __init__(self, network: nn.Module, spec: NetworkSpec, heads: Heads) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self._heads = heads

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        sides: Sequence[int] = image.shape[2:]
        outputs = self.network(pad_to_multiples(image, self.spec.divisor))
        if not (self.training and self.spec.deep_supervision):
            return crop(outputs, sides)
        cropped = []
        for logits, stride in zip(self._heads(outputs, self.spec), self.spec.strides, strict=False):
            sides = [-(-side // step) for side, step in zip(sides, stride, strict=True)]
            cropped.append(crop(logits, sides))
        return cropped


def build(spec: NetworkSpec) -> nn.Module:
    """The network that `spec` describes, with fresh weights from torch's random state.

    Raises:
        UsageError: No network has this name, it cannot do what is asked, or a package that it needs is missing.
    """
    row = _row(spec.name)
    _check_limits(spec, row)
    network = row.builder(spec)
    return network if row.pads else Padded(network, spec, row.heads)


def names() -> tuple[str, ...]:
    """What `network.name` may be; `config.network.NETWORK_NAMES` is the same list without torch."""
    return tuple(NETWORKS)


def _row(name: str) -> Network:
    if name in NETWORKS:
        return NETWORKS[name]
    nearest = get_close_matches(name, NETWORKS, 1, 0.4)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    raise UsageError(f"network.name is {name!r}, but the networks are {', '.join(NETWORKS)}.{guess}")


def _check_limits(spec: NetworkSpec, row: Network) -> None:
    for option, honoured in row.limits.items():
        value = getattr(spec, option)
        if value not in honoured and value != NetworkSpec.model_fields[option].default:
            can = " or ".join(str(choice) for choice in honoured)
            raise UsageError(f"network.{option} is {value}, but {spec.name} only comes with {can}. Take that or unet.")


# ---- MONAI's networks ------------------------------------------------------------------------------------------------


def _monai(network: str, /, **arguments: object) -> nn.Module:
    """A network of MONAI, made without the warnings that MONAI gives while it is imported and used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        give_account_a_name()
        from monai.networks import nets

        if not hasattr(nets, network):
            raise UsageError(f"The installed MONAI has no {network}. Install a newer one: pip install -U monai")
        module: nn.Module = getattr(nets, network)(**arguments)
    return module


def _dynunet(spec: NetworkSpec) -> nn.Module:
    """nnU-Net's network (Isensee et al. 2021) as MONAI has it; a head a stage of the expanding path."""
    stages = len(spec.features)
    if stages < 3:
        raise UsageError(f"network.stages is {stages}, but dynunet needs 3 or more. Take more stages or unet.")
    network = _monai(
        "DynUNet",
        spatial_dims=spec.dimensions,
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        kernel_size=spec.kernels,
        strides=spec.strides,
        upsample_kernel_size=spec.strides[1:],
        filters=spec.features,
        dropout=spec.dropout or None,
        norm_name=_norm(spec),
        act_name=_act(spec),
        deep_supervision=spec.deep_supervision,
        deep_supr_num=stages - 2,
        res_block=spec.residual,
        trans_bias=True,
    )
    network.register_forward_hook(_forget_heads)
    return network


def _forget_heads(network: Any, _inputs: object, _outputs: object) -> None:  # noqa: ANN401 (torch knows no DynUNet)
    """DynUNet would keep its heads' results, so that it could not be copied and held the memory of the last step."""
    network.heads[:] = [torch.zeros(1)] * len(network.heads)


def _dynunet_heads(outputs: Tensor, spec: NetworkSpec) -> list[Tensor]:
    """The heads themselves: MONAI repeats the voxels of a coarser one to the full size; every s-th undoes that."""
    heads = []
    steps = [1] * spec.dimensions
    for logits, stride in zip(outputs.unbind(1), spec.strides, strict=False):
        steps = [total * step for total, step in zip(steps, stride, strict=True)]
        heads.append(logits[(slice(None), slice(None), *(slice(None, None, step) for step in steps))])
    return heads


def _basicunet(spec: NetworkSpec) -> nn.Module:
    """Falk et al., Nature Methods 2019: five stages, max pooling."""
    _check_shape(spec, stages=5)
    return _monai(
        "BasicUNet",
        spatial_dims=spec.dimensions,
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        features=(*spec.features, spec.features[0]),
        act=_act(spec),
        norm=_norm(spec),
        bias=False,
        dropout=spec.dropout,
        upsample={"transposed": "deconv", "linear": "nontrainable"}[spec.upsample],
    )


def _segresnet(spec: NetworkSpec) -> nn.Module:
    """Myronenko 2018, without the autoencoder: 1, 2, 2 and 4 residual blocks on the way down, one a stage up."""
    stages = len(spec.features)
    _check_shape(spec)
    _check_features(spec, tuple(spec.features[0] * 2**stage for stage in range(stages)))
    return _monai(
        "SegResNet",
        spatial_dims=spec.dimensions,
        init_filters=spec.features[0],
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        dropout_prob=spec.dropout or None,
        act=_act(spec),
        norm=_norm(spec),
        blocks_down=(1, *[2] * (stages - 2), 4),
        blocks_up=(1,) * (stages - 1),
        upsample_mode={"transposed": "deconv", "linear": "nontrainable"}[spec.upsample],
    )


def _attentionunet(spec: NetworkSpec) -> nn.Module:
    """Oktay et al. 2018: a gate on each skip connection; batch normalisation and ReLU throughout."""
    _check_shape(spec, stride=None)
    return _monai(
        "AttentionUnet",
        spatial_dims=spec.dimensions,
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        channels=spec.features,
        strides=spec.strides[1:],
        dropout=spec.dropout,
    )


def _swinunetr(spec: NetworkSpec) -> nn.Module:
    """Hatamizadeh et al. 2022: a shifted-window transformer on the way down, convolutions on the way up."""
    first = spec.features[0]
    if find_spec("einops") is None:
        raise UsageError("network.name is swinunetr, which needs einops. Install it: pip install 'medseg[networks]'")
    if first % 12:
        raise UsageError(f"network.features starts with {first}, but swinunetr needs a multiple of 12. Take 24 or 48.")
    _check_shape(spec, stages=6)
    _check_features(spec, (first, first, 2 * first, 4 * first, 8 * first, 16 * first))
    return _monai(
        "SwinUNETR",
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        feature_size=first,
        norm_name=_norm(spec),
        drop_rate=spec.dropout,
        spatial_dims=spec.dimensions,
    )


def _mednext(spec: NetworkSpec) -> nn.Module:
    """Roy et al. 2023: depthwise convolutions of a large kernel; `convolutions` blocks a stage, expanding by 2."""
    stages = len(spec.features)
    kernel = spec.kernels[0][0]
    _check_shape(spec, kernel=kernel)
    _check_features(spec, tuple(spec.features[0] * 2**stage for stage in range(stages)))
    return _monai(
        "MedNeXt",
        spatial_dims=spec.dimensions,
        init_filters=spec.features[0],
        in_channels=spec.in_channels,
        out_channels=spec.n_classes,
        kernel_size=kernel,
        deep_supervision=spec.deep_supervision,
        use_residual_connection=spec.residual,
        blocks_down=(spec.convolutions,) * (stages - 1),
        blocks_bottleneck=spec.convolutions,
        blocks_up=(spec.convolutions,) * (stages - 1),
    )


def _mednext_heads(outputs: tuple[Tensor, ...], _: NetworkSpec) -> list[Tensor]:
    return list(outputs)


def _norm(spec: NetworkSpec) -> tuple[str, dict[str, Any]]:
    """Normalisation in MONAI's words."""
    match spec.normalisation:
        case "group":
            return "group", {"num_groups": gcd(MOST_GROUPS, *spec.features)}
        case "batch":
            return "batch", {}
        case _:
            return "instance", {"affine": True}


def _act(spec: NetworkSpec) -> str | tuple[str, dict[str, Any]]:
    """Activation in MONAI's words."""
    match spec.activation:
        case "leaky_relu":
            return "leakyrelu", {"inplace": True, "negative_slope": LEAKY_SLOPE}
        case "relu":
            return "relu", {"inplace": True}
        case "silu":
            return "silu"
        case "gelu":
            return "gelu"


def _check_shape(spec: NetworkSpec, stages: int | None = None, kernel: int = 3, stride: int | None = 2) -> None:
    """Raise UsageError unless the stages, kernels and strides are the only ones that the network comes in."""
    found = len(spec.features)
    if stages is not None and found != stages:
        raise UsageError(f"network.stages is {found}, but {spec.name} has {stages}. Set network.stages={stages}.")
    if any(side != kernel for axes in spec.kernels for side in axes):
        wanted = [[kernel] * spec.dimensions] * found
        raise UsageError(
            f"network.kernels is {_lists(spec.kernels)}, but {spec.name} has one kernel everywhere. "
            f"Set network.kernels={wanted}."
        )
    if stride is not None and any(step != stride for axes in spec.strides[1:] for step in axes):
        wanted = [[1] * spec.dimensions, *[[stride] * spec.dimensions] * (found - 1)]
        raise UsageError(
            f"network.strides is {_lists(spec.strides)}, but {spec.name} divides every axis by {stride} at each stage. "
            f"Set network.strides={wanted}."
        )


def _check_features(spec: NetworkSpec, wanted: tuple[int, ...]) -> None:
    if spec.features != wanted:
        raise UsageError(
            f"network.features is {list(spec.features)}, but {spec.name} that starts with {wanted[0]} has "
            f"{list(wanted)}. Set network.features={list(wanted)}."
        )


def _lists(axes: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(numbers) for numbers in axes]


_STRIDED = {"downsample": ("strided",)}
_NORMALISED = {"normalisation": ("instance", "batch", "group")}
_TWO_CONVOLUTIONS = {"convolutions": (2,)}

NETWORKS: Mapping[str, Network] = {
    "unet": Network(UNet, pads=True),
    "dynunet": Network(
        _dynunet,
        heads=_dynunet_heads,
        limits={**_STRIDED, **_NORMALISED, **_TWO_CONVOLUTIONS, "upsample": ("transposed",)},
    ),
    "basicunet": Network(
        _basicunet,
        limits={
            **_NORMALISED,
            **_TWO_CONVOLUTIONS,
            "residual": (False,),
            "downsample": ("maxpool",),
            "upsample": ("transposed", "linear"),
        },
    ),
    "segresnet": Network(
        _segresnet,
        limits={
            **_STRIDED,
            **_NORMALISED,
            **_TWO_CONVOLUTIONS,
            "residual": (True,),
            "upsample": ("transposed", "linear"),
        },
    ),
    "attentionunet": Network(
        _attentionunet,
        limits={
            **_STRIDED,
            **_TWO_CONVOLUTIONS,
            "normalisation": ("batch",),
            "activation": ("relu",),
            "residual": (False,),
            "upsample": ("transposed",),
        },
    ),
    "swinunetr": Network(
        _swinunetr,
        limits={
            **_STRIDED,
            **_NORMALISED,
            **_TWO_CONVOLUTIONS,
            "activation": ("leaky_relu",),
            "residual": (True,),
            "upsample": ("transposed",),
        },
    ),
    "mednext": Network(
        _mednext,
        heads=_mednext_heads,
        limits={
            **_STRIDED,
            "normalisation": ("group",),
            "activation": ("gelu",),
            "dropout": (0.0,),
            "upsample": ("transposed",),
        },
    ),
}
"""Every network by its name. Those without heads (all but unet, dynunet and mednext) give a list of one in training."""
