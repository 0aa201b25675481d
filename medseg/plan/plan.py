"""The decision: everything that training and prediction do with a data set, as one frozen value.

A `Plan` follows from a fingerprint by `plan.rules`, is written to `plan.json`, travels in the model and says all that
is needed to repeat it. Axes: `slice_axis`, `mirror_axes` and `preprocessing` speak of the plan grid (canonical RAS
i, j, k); `patch` and the network's kernels and strides have one number for each axis that the network sees, which for
a 2-D plan leaves the slice axis out.
"""

from math import prod
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medseg.config.network import MOST_LABELS, Count, NetworkSpec
from medseg.core.labels import Labels
from medseg.transforms.preprocessing import Preprocessing

MOST_VOXELS = 2**31
"""Of a patch: its float32 would take 8 GiB for each channel and feature."""

__all__ = ["MOST_VOXELS", "PLAN_SCHEMA", "Correction", "Plan", "Schedule"]

PLAN_SCHEMA: Final = "medseg/plan/1"


class Correction(BaseModel):
    """From step `at` on a run has `steps` steps in all: the machine turned out slower (or faster) than measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at: int = Field(ge=0)
    steps: int = Field(ge=1)


class Schedule(BaseModel):
    """What a budget was turned into on the machine at hand; from here on training depends on the step alone.

    `arithmetic` and `memory_format` were chosen by timing real steps; a model trained in one runs in the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1)
    corrections: tuple[Correction, ...] = ()
    seed: int = 0
    arithmetic: Literal["float32", "bfloat16", "float16"]
    memory_format: Literal["channels_first", "channels_last"]
    device: str
    seconds_per_step: float = Field(gt=0)
    seconds_a_case: float = Field(0.0, ge=0)
    """What it took to read, predict and judge a held-out case; 0 where none is held out."""
    step_gflop: float = Field(ge=0)
    fold: str = "0"
    """The fold that it was made for; other folds of the run do the same number of steps, whatever time that takes."""

    @property
    def final_steps(self) -> int:
        return self.corrections[-1].steps if self.corrections else self.steps


class Plan(BaseModel):
    """How one data set is learnt and predicted. Frozen, comparable; equal inputs make equal plans."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    schema_: Literal["medseg/plan/1"] = Field(PLAN_SCHEMA, alias="schema")
    channels: tuple[str, ...] = Field(min_length=1, max_length=4096)
    labels: dict[str, int | list[int]] = Field(max_length=MOST_LABELS)
    ignore: int | None = None
    dimensions: Literal[2, 3]
    slice_axis: Literal[0, 1, 2] | None = None
    """The plan-grid axis that a 2-D plan slices along; None in 3-D."""
    preprocessing: Preprocessing
    network: NetworkSpec
    patch: tuple[Count, ...]
    batch: Count
    mirror_axes: tuple[Literal[0, 1, 2], ...] = Field((), max_length=3)
    """Plan-grid axes that training mirrors, so that prediction may too."""
    overlap: float = Field(0.5, ge=0, lt=1)
    """Least share of a window that neighbouring windows have in common."""
    budget_s: float | None = None
    """The wall-clock seconds that the user gave; None where epochs were given instead."""
    reasons: dict[str, str] = {}
    """Why each decision was taken, in words, for `--dry-run` and the model card."""
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _axes_agree(self) -> "Plan":
        if len(self.patch) != self.dimensions or self.network.dimensions != self.dimensions:
            raise ValueError("patch and network must have as many axes as the plan has dimensions")
        if (self.slice_axis is None) != (self.dimensions == 3):
            raise ValueError("a 2-D plan has a slice axis, a 3-D plan has none")
        if len(self.preprocessing.normalisation) != len(self.channels):
            raise ValueError("each channel needs its normalisation")
        if self.network.in_channels != len(self.channels):
            raise ValueError(f"the network takes {self.network.in_channels} channels, not {len(self.channels)}")
        if self.network.n_classes != len(self.label_names.classes):
            raise ValueError(f"the network has {self.network.n_classes} classes, and labels are {len(self.labels)}")
        if prod(self.patch) > MOST_VOXELS:
            raise ValueError(f"a patch of {' × '.join(map(str, self.patch))} voxels is larger than any machine")
        return self

    @property
    def label_names(self) -> Labels:
        """The labels with their values as the user's files have them."""
        return Labels.from_json(self.labels, self.ignore)

    @property
    def network_axes(self) -> tuple[int, ...]:
        """The plan-grid axes that the network sees, in array order: (0, 1, 2), or two of them."""
        return tuple(axis for axis in range(3) if axis != self.slice_axis)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
