"""What prediction leaves behind: masks that were read back and compared, and a record of each case.

A record tells what went in (digest), by which model and options, what came out, and what the files were like when they
were written, so that a later call knows its own. It holds nothing of a patient: a series is known by a digest.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from medseg import io
from medseg._version import __version__
from medseg.core.errors import InputError, MachineError
from medseg.core.geometry import Voxels
from medseg.core.volume import LabelMap, Volume
from medseg.data.dataset import Case
from medseg.io.compare import difference
from medseg.io.files import digest
from medseg.io.kinds import PICTURES
from medseg.io.names import unique_names
from medseg.io.parts import image_digest

__all__ = [
    "FORMATS",
    "PREDICTIONS_SCHEMA",
    "FileFacts",
    "Record",
    "default_format",
    "expected_format",
    "facts_of",
    "input_digest",
    "scan_digest",
    "write_checked",
]

PREDICTIONS_SCHEMA = "medseg/predictions/1"

FORMATS = ("nifti", "nrrd", "seg.nrrd", "mha", "png", "dicom-seg", "rtstruct")
"""What masks can be written as."""


class FileFacts(TypedDict):
    """What a file was like when it was written; its time in nanoseconds."""

    bytes: int
    modified_ns: int
    sha256: str


def default_format(kind: str, shape: Voxels) -> str:
    """The format of the masks of an image: its own kind; PNG for pictures, NIfTI for DICOM and stacks of pictures."""
    if kind in PICTURES:
        return "png" if shape[2] == 1 else "nifti"
    return kind if kind in FORMATS else "nifti"


def expected_format(case: Case, read: io.ReadOptions) -> str:
    """The format that `default_format` will choose, from names and headers alone."""
    kind = io.kind_of(case.images[0]) or ""
    if kind not in PICTURES:
        return default_format(kind, (1, 1, 1))
    try:
        return default_format(kind, io.read_geometry(case.images[0], read)[0].shape)
    except InputError:  # it will fail as a case of its own
        return "png"


def facts_of(path: Path) -> FileFacts:
    """What a file that was just written is like.

    Raises:
        InputError: It cannot be read.
    """
    stat = path.stat()
    return {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": digest(path)}


def scan_digest(volume: Volume) -> str:
    """What makes a scan the same scan though the bytes of its files have changed, as a digest.

    That is the UIDs of a DICOM series, for one acquisition has them and no other. Other files have nothing of the kind
    (patients share names, places and the grids of templates), so it is their voxels: saved again, or with another
    header, a scan is the same; with other voxels it may be anybody's.
    """
    frames = [frame for frame in volume.meta.header.get("frames", ()) if frame is not None]
    uids = sorted({str(frame.header.get("SeriesInstanceUID", "")) for frame in frames} - {""})
    if uids:
        return f"sha256:{sha256(' '.join(uids).encode()).hexdigest()}"
    found = sha256(f"{volume.array.shape} {np.round(volume.geometry.affine, 3) + 0.0}".encode())
    for k in range(volume.array.shape[-1]):
        # As float32 whatever the file has: another type of the same numbers is the same scan.
        found.update(np.ascontiguousarray(volume.array[..., k], np.float32).tobytes())
    return f"sha256:{found.hexdigest()}"


def write_checked(label_map: LabelMap, path: Path) -> None:
    """Write a label map, read it back and compare: what lies on the disk is what was predicted.

    Raises:
        InputError: The format cannot hold the map.
        MachineError: The disk is full, or gives back something else; then the file is removed.
    """
    io.write(label_map, path)
    back = io.read_labels(path)
    # A picture's file has no place for a grid in space.
    placed = io.kind_of(path) not in PICTURES
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
    each = [image_digest(path) for path in case.images]
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
    scan: str | None = None
    """`scan_digest`: by it the same scan is known again if its files have changed."""
    files: Mapping[str, FileFacts] | None = None
    """What medseg has written of this case and is still there, by name; None in records of medseg 0.1.0."""
    time: str = ""
    """When it was recorded, UTC, ISO 8601."""
    medseg: str = ""
    """The version that recorded it."""

    def stamped(self) -> "Record":
        """The record with the time and this version."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return replace(self, time=moment, medseg=__version__)

    def to_json(self) -> dict[str, Any]:
        facts = {**asdict(self), "seconds": round(self.seconds, 3), "volumes_ml": dict(self.volumes_ml)}
        optional = ("reason", "scan", "files")
        return {name: value for name, value in facts.items() if not (name in optional and value is None)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Record":
        known = {name: facts[name] for name in cls.__dataclass_fields__ if name in facts}
        lists = {name: tuple(known.get(name, ())) for name in ("outputs", "warnings")}
        return cls(**{**known, **lists})
