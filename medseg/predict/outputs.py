"""What prediction leaves behind: masks that were read back and compared, and the record of all cases.

`predictions.json` tells of every case in OUT: what went in (digest), by which model and options, what came out. It is
rewritten whole as cases are done, so it is valid at any moment, and by it a second call knows what is still to do.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg import io
from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Voxels
from medseg.core.volume import LabelMap
from medseg.data.dataset import Case
from medseg.io.compare import difference
from medseg.io.files import digest, read_json, write_json
from medseg.io.names import unique_names

__all__ = ["FORMATS", "PREDICTIONS_SCHEMA", "Ledger", "Record", "default_format", "input_digest", "write_checked"]

PREDICTIONS_SCHEMA = "medseg/predictions/1"

FORMATS = ("nifti", "nrrd", "seg.nrrd", "mha", "png", "dicom-seg", "rtstruct")
"""What masks can be written as."""

_PICTURES = ("png", "jpeg", "tiff", "bmp")

_SAVE_EVERY_S = 2.0
"""A record of thousands of small cases is not rewritten after each of them."""


def default_format(kind: str, shape: Voxels) -> str:
    """The format of the masks of an image: its own kind; PNG for pictures, NIfTI for DICOM and stacks of pictures."""
    if kind in _PICTURES:
        return "png" if shape[2] == 1 else "nifti"
    return kind if kind in FORMATS else "nifti"


def write_checked(label_map: LabelMap, path: Path) -> None:
    """Write a label map, read it back and compare: what lies on the disk is what was predicted.

    Raises:
        InputError: The format cannot hold the map.
        MachineError: The disk is full, or gives back something else; then the file is removed.
    """
    io.write(label_map, path)
    back = io.read_labels(path)
    # A picture's file has no place for a grid in space.
    placed = io.kind_of(path) not in _PICTURES
    if _says_the_same(label_map, back) and (not placed or back.geometry.same_as(label_map.geometry)):
        return
    path.unlink(missing_ok=True)
    raise MachineError(f"{path} did not read back as it was written and was removed. Check the disk, then run again.")


def _says_the_same(label_map: LabelMap, back: LabelMap) -> bool:
    """Whether the values are the same, or, where the file has names and values of its own, the names."""
    if np.array_equal(back.array, label_map.array):
        return True
    if back.labels is None or label_map.labels is None or back.array.shape != label_map.array.shape:
        return False
    called = unique_names(label_map.labels.names)
    return difference(label_map.array, label_map.labels, back.array, back.labels, called) is None


def input_digest(case: Case) -> str:
    """The digest ("sha256:…") of all files of a case, in channel order.

    Raises:
        InputError: A file cannot be read.
    """
    each = [digest(path) for path in case.images]
    return each[0] if len(each) == 1 else f"sha256:{sha256(' '.join(each).encode()).hexdigest()}"


@dataclass(frozen=True)
class Record:
    """One case in `predictions.json`; `outputs` are relative to its folder, `seconds` reach from reading to writing."""

    case: str
    status: Literal["predicted", "failed"]
    input: str | None
    model: str
    options: Mapping[str, Any]
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    """Why it failed: a sentence."""

    def to_json(self) -> dict[str, Any]:
        facts = {**asdict(self), "seconds": round(self.seconds, 3), "volumes_ml": dict(self.volumes_ml)}
        return {name: value for name, value in facts.items() if not (name == "reason" and value is None)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Record":
        known = {name: facts[name] for name in cls.__dataclass_fields__ if name in facts}
        lists = {name: tuple(known.get(name, ())) for name in ("outputs", "warnings")}
        return cls(**{**known, **lists})


class Ledger:
    """The records of a folder of predictions, by case."""

    def __init__(self, folder: Path, model: str) -> None:
        """The ledger of `folder`, with what it tells of earlier calls.

        Raises:
            InputError: There is a `predictions.json` that is damaged or not medseg's.
        """
        self.path = folder / "predictions.json"
        self._model = model
        self._saved_at = 0.0
        self._records = {record.case: record for record in _stored(self.path)}

    def current(self, case: str, input_digest: str, options: Mapping[str, Any]) -> Record | None:
        """The record of a case that needs no work: same input, model and options, and its outputs are there."""
        record = self._records.get(case)
        if record is None or record.status != "predicted":
            return None
        same = (record.input, record.model, record.options) == (input_digest, self._model, options)
        return record if same and all((self.path.parent / name).is_file() for name in record.outputs) else None

    def add(self, record: Record) -> None:
        """Keep a record, and write all of them unless that was done moments ago (`save` has the last word)."""
        self._records[record.case] = record
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        records: Sequence[Record] = sorted(self._records.values(), key=lambda record: record.case)
        write_json(
            self.path,
            {"schema": PREDICTIONS_SCHEMA, "model": self._model, "cases": [record.to_json() for record in records]},
        )
        self._saved_at = time.monotonic()


def _stored(path: Path) -> list[Record]:
    if not path.is_file():
        return []
    content = read_json(path, "the record of earlier predictions")
    try:
        if content["schema"] == PREDICTIONS_SCHEMA:
            return [Record.from_json(facts) for facts in content["cases"]]
    except (KeyError, TypeError):
        pass
    raise InputError(
        f"{path} is no record of medseg predict ('{PREDICTIONS_SCHEMA}'). Move it away, or write elsewhere."
    )
