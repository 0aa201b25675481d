"""Which DICOM images lie under a path: headers without pixels, everything else set aside by name.

pydicom reads; files without the usual head are taken if they hold a known storage class. Nothing is ordered or placed.
"""

import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medseg.core.errors import InputError
from medseg.io.kinds import looks_like_dicom

__all__ = ["DAMAGE", "Found", "Frame", "find_images", "numbers", "quietly", "text"]

_NO_IMAGES = (
    *("Segmentation", "RT Structure Set", "RT Dose", "RT Plan", "RT Ion Plan", "Raw Data", "Encapsulated"),
    *("Presentation State", "Structured", " SR", "Key Object", "Waveform", "Registration", "Fiducials"),
    *("Media Storage Directory", "Surface", "Parametric Map", "Real World Value"),
)
"""Parts of the names of storage classes that are no image series, some of which have rows and columns."""


DAMAGE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, RuntimeError),
    *(EOFError, BytesLengthException, struct.error, zlib.error),
)
"""What pydicom raises on bytes that are not as the standard has them."""

_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
"""Too young for the dictionary of some pydicom versions."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One 2-D image: a file that holds one, or one frame of a file that holds several.

    Attributes:
        path: The file.
        header: All but the pixels, as a file of a single image has it.
        index: Which frame of the file, counted from 0; None where the file is the image.
        pixels_at: Where the element with the pixels begins, in bytes from the beginning of the file (of a deflated
            file: of the inflated data set); None if nobody looked.
    """

    path: Path
    header: Dataset = field(repr=False)  # holds the patient's name: it must not reach a log
    index: int | None = None
    pixels_at: int | None = None

    @property
    def class_name(self) -> str:
        return _class_name(self.header)


@dataclass(frozen=True)
class Found:
    """Images under a path, and a note for each kind of file that was left aside."""

    images: tuple[Frame, ...]
    notes: tuple[str, ...]


def find_images(path: Path) -> Found:
    """All images in a file or a folder, at any depth.

    Raises:
        InputError: There is none.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    images, others, n_unknown = [], [], 0
    for file in files:
        frame = None if file.name.startswith(".") else _frame(file)
        if frame is None:
            n_unknown += 1
        elif _is_image(frame.header):
            images.append(frame)
        else:
            others.append(frame)
    if not images:
        raise InputError(_nothing(path, len(files), others))
    notes = [f"{n} files were left aside: {name}." for name, n in Counter(o.class_name for o in others).items()]
    if n_unknown:
        notes.append(f"{n_unknown} files that are not DICOM were left aside.")
    return Found(tuple(images), tuple(notes))


def text(header: Dataset, keyword: str) -> str:
    """The text of an element, "" if it is absent, empty or unreadable; several values are joined by a backslash."""
    with quietly():
        try:
            value = header.get(keyword)
        except DAMAGE:
            return ""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def numbers(header: Dataset, keyword: str, n: int = 1) -> tuple[float, ...] | None:
    """The `n` finite numbers of an element, or None if it is absent, empty, unreadable or of another length."""
    try:
        values = tuple(float(part) for part in text(header, keyword).split("\\"))
    except ValueError:
        return None
    return values if len(values) == n and all(abs(value) < float("inf") for value in values) else None


@contextmanager
def quietly() -> Iterator[None]:
    """Pydicom warns of every oddity that it overlooks; what matters here is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _frame(path: Path) -> Frame | None:
    """The header of a DICOM file and where its pixels begin, None if it is none."""
    with quietly():
        try:
            with path.open("rb") as file:
                header = dcmread(file, stop_before_pixels=True)
                # A deflated data set is read from a buffer of its own; where the file stands says nothing then.
                at = (
                    None if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian else file.tell()
                )
            return Frame(path, header, pixels_at=at)
        except InvalidDicomError:
            header_alone = _headless(path)
            return None if header_alone is None else Frame(path, header_alone)
        except DAMAGE:
            return None


def _headless(path: Path) -> Dataset | None:
    """A file whose preamble and meta group were cut off: DICOM if it says which storage class it is of."""
    if not looks_like_dicom(path):
        return None
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        known = UID(text(header, "SOPClassUID")).type == "SOP Class"
    except DAMAGE:
        return None
    return header if known else None


def _is_image(header: Dataset) -> bool:
    if any(part in _class_name(header) for part in _NO_IMAGES):
        return False
    return numbers(header, "Rows") is not None and numbers(header, "Columns") is not None


def _class_name(header: Dataset) -> str:
    uid = text(header, "SOPClassUID") or text(getattr(header, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    if uid == _LABEL_MAP_SEGMENTATION:
        return "Label Map Segmentation"
    with quietly():
        return UID(uid).name.removesuffix(" Storage") if uid else "object of no known class"


def _nothing(path: Path, n_files: int, others: Sequence[Frame]) -> str:
    if path.is_file() and others:
        return f"{path} is a {others[0].class_name}, not an image series; give it as a label or leave it out."
    if path.is_file():
        return f"{path} is not a DICOM file, or is damaged at its beginning."
    listed = ", ".join(f"{n} × {name}" for name, n in Counter(other.class_name for other in others).items())
    return f"No DICOM image was found in {path}: {n_files} files were looked at{f' ({listed})' if listed else ''}."
