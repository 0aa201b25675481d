"""What a user may decide, as frozen values: `Config` and its sections.

Every key has a default that works; "auto" (or null) leaves the decision to the plan's rules. Unknown keys are refused
(`config.load` turns the refusal into one line with the nearest right key). The schema knows no files and no data.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medseg.config.network import (
    MOST_LABELS,
    MOST_STAGES,
    Activation,
    Count,
    Downsampling,
    NetworkName,
    Normalisation,
    Upsampling,
)
from medseg.core.labels import Labels

__all__ = [
    "AugmentationConfig",
    "Config",
    "DataConfig",
    "LabelConfig",
    "NetworkConfig",
    "PlanConfig",
    "PredictionConfig",
    "TrainingConfig",
]

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]
Byte = Annotated[int, Field(ge=0, le=255)]
LabelValue = Annotated[int, Field(ge=1, le=MOST_LABELS)]
Scheme = Literal["zscore", "ct", "percentile", "rescale", "none"]
LayoutName = Literal["auto", "table", "msd", "nnunet", "paired", "folders", "dicom", "bids"]


class _Section(BaseModel):
    # YAML reads the text "1" as a number: where text is wanted, it is text again.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "_Section":
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name.endswith("_range") and value[0] > value[1]:
                raise ValueError(f"{name} is [{value[0]}, {value[1]}], but a range ascends")
        return self


class LabelConfig(_Section):
    """What neither a data set nor the name of a label says: its value, and its code and colour in DICOM.

    A number (or a list of numbers, for a region) alone is the value.
    """

    value: LabelValue | tuple[LabelValue, ...] | None = None
    code: str | None = Field(None, min_length=1, max_length=16)
    """Of the thing that is segmented (Segmented Property Type), such as "10200004"; `meaning` says it in words."""
    meaning: str | None = Field(None, min_length=1, max_length=64)
    scheme: str = Field("SCT", min_length=1, max_length=16)
    """Whose code it is: "SCT" is SNOMED CT."""
    category: Literal["anatomy", "tissue", "abnormality"] | None = None
    side: Literal["left", "right"] | None = None
    color: tuple[Byte, Byte, Byte] | None = None
    """Red, green and blue, as viewers shall show it."""

    @property
    def says_more_than_a_value(self) -> bool:
        return self.model_dump(exclude={"value"}, exclude_defaults=True) != {}

    @model_validator(mode="before")
    @classmethod
    def _value_alone(cls, given: Any) -> Any:  # noqa: ANN401  whatever a file holds
        return given if isinstance(given, dict | LabelConfig) else {"value": given}

    @model_validator(mode="after")
    def _code_has_a_meaning(self) -> "LabelConfig":
        if (self.code is None) != (self.meaning is None):
            raise ValueError("code and meaning belong together: a code that nobody can read helps nobody")
        return self


class LabelOutput(LabelConfig):
    """What a label is called, coded and coloured as where a prediction is written; its value stays.

    A text alone is the name.
    """

    name: str | None = Field(None, min_length=1, max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _value_alone(cls, given: Any) -> Any:  # noqa: ANN401  whatever an option holds
        return given if isinstance(given, dict | LabelOutput) else {"name": given}

    @model_validator(mode="after")
    def _value_stays(self) -> "LabelOutput":
        if self.value is not None:
            raise ValueError("the value of a label is that of training and stays; leave value out")
        return self


class DataConfig(_Section):
    """Which cases there are and how files are read."""

    layout: LayoutName = "auto"
    group: str | None = None
    """What keeps cases together in one fold: a column of the table, a pattern such as "^(ms\\d+)", or "block:5"."""
    folds: int = Field(5, ge=2, le=100)
    read: dict[str, str] = {}
    """How a file that leaves a choice is read, as `--read KEY=VALUE`."""
    labels: dict[str, LabelConfig] = {}
    """What the data set does not say of its labels: values (`liver: 1`), and codes and colours for DICOM."""

    @model_validator(mode="before")
    @classmethod
    def _without_background(cls, given: Any) -> Any:  # noqa: ANN401  whatever a file holds
        """`background: 0` may be said, as other tools want it, and says nothing."""
        if not isinstance(given, dict) or not isinstance(given.get("labels"), dict):
            return given
        return {
            **given,
            "labels": {name: label for name, label in given["labels"].items() if (name, label) != ("background", 0)},
        }

    @property
    def declared_labels(self) -> Labels | None:
        """The labels whose values are given here ("ignore" is the value to ignore); None if none is.

        Raises:
            InputError: The values contradict each other or lie outside of what label maps hold.
        """
        values = {
            name: label.value if isinstance(label.value, tuple) else (label.value,)
            for name, label in self.labels.items()
            if label.value is not None
        }
        ignored = values.pop("ignore", None)
        return Labels(values, None if ignored is None else ignored[0]) if values else None


class PlanConfig(_Section):
    """What the plan's rules would decide, where the user knows better."""

    dimensions: Literal["auto", 2, 3] = "auto"
    spacing_mm: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Of the plan grid, for the axes left-right, back-front, feet-head."""
    patch: tuple[Annotated[int, Field(ge=1, le=4096)], ...] | None = None
    """One number for each axis of the network."""
    batch: int | None = Field(None, ge=1, le=4096)
    normalisation: Scheme | Literal["auto"] = "auto"


class NetworkConfig(_Section):
    """The network; null leaves a number to the plan."""

    name: NetworkName = "unet"
    stages: int | None = Field(None, ge=2, le=10)
    first_features: int | None = Field(None, ge=4, le=1024)
    largest_features: int | None = Field(None, ge=4, le=4096)
    features: tuple[Count, ...] | None = Field(None, max_length=MOST_STAGES)
    convolutions: int = Field(2, ge=1, le=8)
    kernels: tuple[tuple[Count, ...], ...] | None = Field(None, max_length=MOST_STAGES)
    strides: tuple[tuple[Count, ...], ...] | None = Field(None, max_length=MOST_STAGES)
    normalisation: Normalisation = "instance"
    activation: Activation = "leaky_relu"
    dropout: float = Field(0.0, ge=0, lt=1)
    residual: bool = False
    deep_supervision: bool = True
    downsample: Downsampling = "maxpool"
    upsample: Upsampling = "transposed"


class AugmentationConfig(_Section):
    """Random changes of training patches; each probability is that of a sample."""

    enabled: bool = True
    mirror_axes: tuple[int, ...] | Literal["auto"] = "auto"
    """Axes of the plan grid (0 left-right, 1 back-front, 2 feet-head) that training may mirror.

    Mirroring where anatomy does not mirror costs accuracy, so "auto" mirrors nothing that has a place in a body, and
    both axes of pictures that have none.
    """
    rotation: Probability = 0.2
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    scale: Probability = 0.2
    scale_range: Range = (0.85, 1.18)
    brightness: Probability = 0.15
    brightness_range: Range = (0.75, 1.25)
    contrast: Probability = 0.15
    contrast_range: Range = (0.75, 1.25)
    gamma: Probability = 0.2
    gamma_range: Range = (0.7, 1.5)
    noise: Probability = 0.1
    noise_sd_range: Range = (0.0, 0.1)
    blur: Probability = 0.1
    blur_sigma_range: Range = (0.5, 1.0)
    low_resolution: Probability = 0.1
    low_resolution_range: Range = (0.5, 1.0)


class TrainingConfig(_Section):
    """The race: how the weights are found."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = Field(None, gt=0, le=10)
    """Peak learning rate; null takes 5e-3 for adamw, 1e-2 for sgd."""
    weight_decay: float = Field(1e-2, ge=0, le=1)
    momentum: float = Field(0.99, ge=0, lt=1)
    warmup: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the steps in which the learning rate rises."""
    schedule: Literal["cosine", "polynomial", "constant"] = "cosine"
    clip_norm: float = Field(12.0, gt=0)
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the moving average of the weights; 0 takes the last weights as they are."""
    foreground: Probability = 0.5
    """Share of the patches that are centred on a labelled voxel."""
    steps_an_epoch: int = Field(50, ge=1, le=1_000_000)
    name: str | None = Field(None, min_length=1, max_length=64)
    """What the model is called, also in DICOM objects; no name of a folder is put there instead."""
    description: str | None = Field(None, min_length=1, max_length=1024)
    """What the model is for, in words."""
    epochs: int | None = Field(None, ge=1, le=1_000_000)
    dice_weight: float = Field(1.0, ge=0)
    cross_entropy_weight: float = Field(1.0, ge=0)
    arithmetic: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    memory_format: Literal["auto", "channels_first", "channels_last"] = "auto"
    validations: int = Field(3, ge=1, le=1000)
    """How often whole volumes are validated, the one at the end included."""
    checkpoint_every_s: float = Field(60.0, gt=0, le=86_400)
    workers: int = Field(0, ge=0, le=64)


class PredictionConfig(_Section):
    """How a model is run over a whole volume."""

    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Least share of a window that neighbouring windows have in common."""


class Config(_Section):
    """Everything a user may decide about a run."""

    data: DataConfig = DataConfig()
    plan: PlanConfig = PlanConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    prediction: PredictionConfig = PredictionConfig()
    seed: int = Field(0, ge=0, lt=2**32)
