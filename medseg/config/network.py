"""A network described by values alone, so that a plan can be made, stored and compared without torch.

`NetworkSpec` is complete: nothing is left to guess. `nn.networks.build` makes the module from it.
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MOST_LABELS", "MOST_STAGES", "NETWORK_NAMES", "Count", "NetworkName", "NetworkSpec"]

NetworkName = Literal["unet", "dynunet", "basicunet", "segresnet", "attentionunet", "swinunetr", "mednext"]
"""The rows of `nn.networks.NETWORKS`, listed here for those who must not load torch."""

NETWORK_NAMES: tuple[str, ...] = get_args(NetworkName)

Activation = Literal["relu", "leaky_relu", "gelu", "silu"]
Normalisation = Literal["instance", "batch", "group", "none"]
Downsampling = Literal["maxpool", "strided"]
Upsampling = Literal["transposed", "nearest", "linear"]

Count = Annotated[int, Field(ge=1, le=4096)]

Axes = tuple[Count, ...]
"""A number for each spatial axis of the network (2 or 3 of them)."""

MOST_STAGES = 12
"""Each stage halves the sides: from 4096 voxels nothing is left after so many."""

MOST_LABELS = 65_535
"""Values that label maps can hold (uint16) besides the background."""


class NetworkSpec(BaseModel):
    """Everything that decides a network's shape and parameters.

    Stage 0 works at the input's resolution, the last stage is the bottleneck. `kernels[s]` and `strides[s]` have one
    number an axis; `strides[0]` is all ones, `strides[s]` is how stage s is entered from stage s-1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "unet"
    dimensions: Literal[2, 3]
    in_channels: Count
    n_classes: int = Field(ge=2, le=MOST_LABELS + 1)
    features: tuple[Count, ...] = Field(min_length=2, max_length=MOST_STAGES)
    kernels: tuple[Axes, ...] = Field(max_length=MOST_STAGES)
    strides: tuple[Axes, ...] = Field(max_length=MOST_STAGES)
    convolutions: int = Field(2, ge=1, le=8)
    normalisation: Normalisation = "instance"
    activation: Activation = "leaky_relu"
    dropout: float = Field(0.0, ge=0, lt=1)
    residual: bool = False
    deep_supervision: bool = True
    downsample: Downsampling = "maxpool"
    upsample: Upsampling = "transposed"

    @model_validator(mode="after")
    def _stages_agree(self) -> "NetworkSpec":
        if not len(self.features) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"{len(self.features)} features, {len(self.kernels)} kernels and {len(self.strides)} strides: "
                "each stage needs one of each"
            )
        for axes in (*self.kernels, *self.strides):
            if len(axes) != self.dimensions or min(axes) < 1:
                raise ValueError(f"{list(axes)} must be {self.dimensions} whole numbers ≥ 1, one for each axis")
        if any(k % 2 == 0 for axes in self.kernels for k in axes):
            raise ValueError("kernels must be odd, so that a convolution keeps the size of its input")
        if max(self.strides[0]) > 1:
            raise ValueError("the first stage works at the input's resolution: its stride must be 1")
        return self

    @property
    def divisor(self) -> Axes:
        """The product of the strides along each axis: sides that are multiples of it need no padding inside."""
        product = [1] * self.dimensions
        for axes in self.strides:
            product = [p * s for p, s in zip(product, axes, strict=True)]
        return tuple(product)
