"""How a case comes from its native grid to the plan grid, as values: the same for training and for prediction.

The *plan grid* is the closest canonical RAS axis order (flips and permutations only), resampled to the plan's spacing.
Everything here is kept in the model, so that a prediction years later repeats what training did.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ChannelNormalisation", "Preprocessing"]


Spacing = Annotated[float, Field(gt=0)]

_NUMBERS: dict[str, tuple[Literal["low", "high", "mean", "sd"], ...]] = {
    "ct": ("low", "high", "mean", "sd"),
    "rescale": ("low", "high"),
}
"""What a scheme must be told; the others measure on the case itself."""


class ChannelNormalisation(BaseModel):
    """What is done to the intensities of one channel.

    Attributes:
        scheme: "zscore": (v - mean) / sd of the case itself; "ct": clip to [low, high], then (v - mean) / sd, all four
            measured over the data set's foreground; "percentile": the case's own [0.5 %, 99.5 %] to [0, 1], clipped;
            "rescale": [low, high], fixed, to [0, 1]; "none".
        nonzero: For "zscore" and "percentile": the statistics see only voxels that are not exactly 0 (skull-stripped
            images), and those that are stay 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scheme: Literal["zscore", "ct", "percentile", "rescale", "none"]
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    sd: float | None = None
    nonzero: bool = False

    @model_validator(mode="after")
    def _has_its_numbers(self) -> "ChannelNormalisation":
        self.required(*_NUMBERS.get(self.scheme, ()))
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low} and high {self.high}, but low must not lie above high")
        return self

    def required(self, *names: Literal["low", "high", "mean", "sd"]) -> tuple[float, ...]:
        """The numbers of these names, which the scheme cannot do without."""
        values = {name: getattr(self, name) for name in names}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ValueError(f'the scheme "{self.scheme}" needs {", ".join(missing)}')
        return tuple(values.values())


class Preprocessing(BaseModel):
    """Everything between a volume on its native grid and the array that a network sees.

    Attributes:
        spacing_mm: Spacing of the plan grid along the canonical (RAS) axes; None leaves an axis as it is (pictures,
            and the slice axis of a 2-D plan).
        thick_axis: The canonical axis along which images are too coarse for cubic interpolation (anisotropy ≥ 3):
            nearest neighbour there, cubic in plane, as nnU-Net does. None where there is none.
        normalisation: One a channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    spacing_mm: tuple[Spacing | None, Spacing | None, Spacing | None]
    thick_axis: Literal[0, 1, 2] | None = None
    normalisation: tuple[ChannelNormalisation, ...]
