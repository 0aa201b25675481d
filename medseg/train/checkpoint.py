"""A training run frozen between two steps: everything that is needed to go on as if nothing had happened.

Random numbers need no place in it: they follow from the seed and the step (`batches`). `last.pt` holds tensors, numbers
and strings only and is read with `weights_only=True`, so a checkpoint from elsewhere cannot run code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from medseg.core.errors import ModelError
from medseg.io.files import replacing

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

SCHEMA = "medseg/checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps.

    Attributes:
        step: Steps done.
        elapsed_s: Seconds of the budget that are used.
        training_s: Seconds of it that went into steps.
        network: State dict of the weights in training.
        ema: State dict of their moving average, which becomes the model.
        optimizer: State dict of the optimiser.
        scaler: State dict of the gradient's scaler (empty but for float16).
        corrections: (at, steps) of each announced change of the number of steps.
    """

    step: int
    elapsed_s: float
    training_s: float
    network: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    corrections: tuple[tuple[int, int], ...] = ()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, and wait until it is on the disk."""
    content = {"schema": SCHEMA, **{name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}}
    content["corrections"] = [list(pair) for pair in checkpoint.corrections]
    with replacing(path, fsync=True) as temporary, temporary.open("wb") as file:
        _save(content, file)


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    """Through a file of ours, or torch would hide what the system says; of what it hides even so, the system's word.

    Raises:
        OSError: The file cannot be written.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # Closing its archive, torch complains of what is missing in it; why it is missing came before.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors come to the CPU.

    Raises:
        ModelError: The file is damaged, or no checkpoint of this kind.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch names a dozen kinds of damage by a dozen exceptions; all mean the same to the user.
        raise ModelError(
            f"{path.name} is no readable checkpoint ({type(error).__name__}); start again in a new folder."
        ) from error
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ModelError(f"{path.name} is not a checkpoint of this version of medseg; start again in a new folder.")
    try:
        return _Content.model_validate(content).checkpoint
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ModelError(
            f"{path.name} is not the checkpoint of a training: {'.'.join(map(str, first['loc']))}: {first['msg']}. "
            "Start again in a new folder."
        ) from error


class _Content(BaseModel):
    """What the file holds, with what numbers may be."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True, allow_inf_nan=False)

    step: int = Field(ge=0)
    elapsed_s: float = Field(ge=0)
    training_s: float = Field(ge=0)
    network: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    corrections: list[list[int]]

    @property
    def checkpoint(self) -> Checkpoint:
        corrections = tuple((at, steps) for at, steps in self.corrections)
        return Checkpoint(**{**dict(self), "corrections": corrections})

    @field_validator("corrections")
    @classmethod
    def _pairs(cls, given: list[list[int]]) -> list[list[int]]:
        if any(len(pair) != 2 or not 0 <= pair[0] < pair[1] for pair in given):
            raise ValueError("a correction is a step and a later number of steps")
        return given
