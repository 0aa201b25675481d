"""Which DICOM images lie under a path: headers without pixels, everything else set aside by name.

pydicom reads; files without the usual head are taken if they hold a known storage class. Nothing is ordered or placed.
"""

import logging
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from medseg.core.errors import InputError
from medseg.io.archive import archive_of, first_bytes, is_archive, members, opened
from medseg.io.dicom.deflated import deflated_header, is_deflated
from medseg.io.dicom.words import counted, few, left_aside
from medseg.io.kinds import HEAD_BYTES, begins_as_dicom
from medseg.io.listing import is_regular

__all__ = [
    "DAMAGE",
    "LABEL_CLASSES",
    "Found",
    "Frame",
    "decimal_text",
    "find_images",
    "look",
    "numbers",
    "quietly",
    "silently",
    "text",
]

_NO_IMAGES = (
    *("Segmentation", "RT Structure Set", "RT Dose", "RT Plan", "RT Ion Plan", "Raw Data", "Encapsulated"),
    *("Presentation State", "Structured", " SR", "Key Object", "Waveform", "Registration", "Fiducials"),
    *("Media Storage Directory", "Surface", "Parametric Map", "Real World Value"),
)
"""Parts of the names of storage classes that are no image series, some of which have rows and columns."""

LABEL_CLASSES = frozenset({"Segmentation", "Label Map Segmentation", "RT Structure Set"})
"""Names of the storage classes of labels: whoever looks for labels finds them, and no image lacks them."""

DAMAGE = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, RuntimeError),
    *(EOFError, BytesLengthException, struct.error, zlib.error),
)
"""What pydicom raises on bytes that are not as the standard has them."""

_MARK = b"DICM"
_LOGGER = logging.getLogger("pydicom")

_SHORT_BYTES = 2
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
"""Value representations that hold text of the basic character set alone."""

_STANDARD_ROOT = "1.2.840.10008."
"""How UIDs of the standard begin; pydicom gives those that it knows a name."""

_NO_CLASS = "object of no known class"
_FEW = 5
"""How many names a sentence lists."""

_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
"""Too young for the dictionary of some pydicom versions."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One 2-D image: a file that holds one, or one frame of a file that holds several.

    Attributes:
        path: The file; a member of an archive is named as if the archive were a folder. `io.archive.opened` opens both.
        header: All but the pixels, as a file of a single image has it.
        index: Which frame of the file, counted from 0; None where the file is the image.
        pixels_at: Where the element with the pixels begins, in bytes from the beginning of the file (of a deflated
            file: of the inflated data set); None if there is none.
        tile: If the image is a part of the one picture of the file: its first row and first column there, and the rows
            and columns of that picture. The header has the size of the part.
        n_frames: How many images the file holds, where `index` says which this is and there is no tile.
        joined: UID of the series that this image is a slice of, where its file names a series of its own.
    """

    path: Path
    header: Dataset = field(repr=False)  # holds the patient's name: it must not reach a log
    index: int | None = None
    pixels_at: int | None = None
    tile: tuple[int, int, int, int] | None = None
    n_frames: int = 1
    joined: str = ""

    @property
    def series(self) -> str:
        """UID of the series, "" if there is none."""
        return self.joined or text(self.header, "SeriesInstanceUID")

    @property
    def class_name(self) -> str:
        return _class_name(self.header)


@dataclass(frozen=True)
class Found:
    """What lies under a path.

    Attributes:
        images: Images, in the order of their files' names.
        objects: DICOM objects that are no images (segmentations, structure sets, reports, plans).
        damaged: Files that begin as DICOM does and whose header breaks off.
        n_unknown: How many files are no DICOM at all, hidden ones included.
    """

    images: tuple[Frame, ...]
    objects: tuple[Frame, ...] = ()
    damaged: tuple[Path, ...] = ()
    n_unknown: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of file that is no image and no label: of labels, who uses them speaks."""
        kinds = Counter(other.class_name for other in self.objects if other.class_name not in LABEL_CLASSES)
        notes = [left_aside(n, "file", f" of class {name}") for name, n in kinds.items()]
        if self.n_unknown:
            notes.append(left_aside(self.n_unknown, "file", " without DICOM in it"))
        if self.damaged:
            names = few([path.name for path in self.damaged], _FEW)
            notes.append(left_aside(len(self.damaged), "file", f" with a damaged header ({names})"))
        return tuple(notes)


def find_images(path: Path) -> Found:
    """All images in a file, a folder at any depth, or a zip archive.

    Raises:
        InputError: There is none.
    """
    found = look(path)
    if not found.images:
        raise InputError(_nothing(path, found))
    return found


def look(path: Path) -> Found:
    """All DICOM files in a file, a folder at any depth, or a zip archive; there may be none."""
    images: list[Frame] = []
    others: list[Frame] = []
    damaged: list[Path] = []
    n_unknown = 0
    for file in _files_under(path):
        start = b"" if file.name.startswith(".") else _start(file)
        if not begins_as_dicom(start):
            n_unknown += 1
            continue
        has_mark = start.endswith(_MARK)
        try:
            frame = _frame(file)
        except InputError:
            if file == path or archive_of(file) is not None:
                raise
            frame = None  # a gzipped file that is cut off: those beside it can be read
        if not has_mark and (frame is None or not _has_known_class(frame)):
            n_unknown += 1  # two bytes in another file that look like a first element
        elif frame is None:
            damaged.append(file)
        elif _is_image(frame):
            images.append(frame)
        elif _breaks_off(frame):
            damaged.append(file)
        else:
            others.append(frame)
    return Found(tuple(images), tuple(others), tuple(damaged), n_unknown)


def text(header: Dataset, keyword: str) -> str:
    """The text of an element, "" if it is absent, empty or unreadable; several values are joined by a backslash."""
    tag = _tag(keyword)
    try:
        raw = header.get_item(tag)
    except DAMAGE:
        return ""
    if raw is None:
        return ""
    # pydicom converts and checks each value when first asked for it: a third of the time that a series takes.
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        kind = _kind_of_value(tag, raw.VR)
        if kind in _ASCII:
            return "\\".join(part.strip(" \0") for part in raw.value.decode("latin-1").split("\\"))
        if kind == "US" and len(raw.value) == _SHORT_BYTES:
            return str(int.from_bytes(raw.value, "little" if raw.is_little_endian else "big"))
    return _converted_text(header, keyword)


def _converted_text(header: Dataset, keyword: str) -> str:
    try:
        with quietly():
            value = header.get(keyword)
    except DAMAGE:
        return ""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@cache
def _kind_of_value(tag: BaseTag, kind: str | None) -> str:
    """The value representation, of the dictionary where the file does not say it."""
    try:
        return dictionary_VR(tag) if kind in (None, "UN") else str(kind)
    except KeyError:
        return "UN"


def decimal_text(header: Dataset, keyword: str) -> str:
    """The text of an element of numbers, with points where a program of some countries wrote decimal commas."""
    return text(header, keyword).replace(",", ".")


def numbers(header: Dataset, keyword: str, n: int = 1) -> tuple[float, ...] | None:
    """The `n` finite numbers of an element, or None if it is absent, empty, unreadable or of another length."""
    try:
        values = tuple(float(part) for part in decimal_text(header, keyword).split("\\"))
    except ValueError:
        return None
    return values if len(values) == n and all(abs(value) < float("inf") for value in values) else None


@contextmanager
def silently() -> Iterator[None]:
    """Pydicom warns of every oddity that it overlooks, and logs its value; what matters here is checked here."""
    was_disabled, _LOGGER.disabled = _LOGGER.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _LOGGER.disabled = was_disabled


@contextmanager
def quietly() -> Iterator[None]:
    """`silently`, and with damage as `DAMAGE`.

    Where a sequence breaks off pydicom raises an OSError of its own, without a number of the system's.
    """
    with silently():
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise EOFError(*error.args) from error
            raise


def _files_under(path: Path) -> Sequence[Path]:
    if is_archive(path):
        return members(path)
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if is_regular(file))
    return [path]


def _start(path: Path) -> bytes:
    try:
        return first_bytes(path, HEAD_BYTES)
    except FileNotFoundError:  # a link that leads nowhere
        return b""


def _frame(path: Path) -> Frame | None:
    """The header of a DICOM file and where its pixels begin; None if it cannot be read."""
    try:
        with quietly(), opened(path) as file:
            if is_deflated(file):
                header, pixels_at = deflated_header(file)
                return Frame(path, header, pixels_at=pixels_at)
            header = dcmread(file, stop_before_pixels=True, force=True)
            return Frame(path, header, pixels_at=file.tell())
    except (*DAMAGE, MemoryError):  # one file that asks for too much must not stop those beside it
        return None


def _has_known_class(frame: Frame) -> bool:
    with quietly():
        return UID(text(frame.header, "SOPClassUID")).type == "SOP Class"


def _is_image(frame: Frame) -> bool:
    name = frame.class_name
    if any(part in name for part in _NO_IMAGES):
        return False
    return numbers(frame.header, "Rows") is not None and numbers(frame.header, "Columns") is not None


def _breaks_off(frame: Frame) -> bool:
    """Whether a file that holds no image should: its class is one of images, or was cut off itself.

    Classes of vendors' own are whole UIDs that do not begin as the standard's do.
    """
    name = frame.class_name
    return "Image" in name or name == _NO_CLASS or name.startswith(_STANDARD_ROOT) or _STANDARD_ROOT.startswith(name)


def _class_name(header: Dataset) -> str:
    return _name_of_class(
        text(header, "SOPClassUID") or text(getattr(header, "file_meta", Dataset()), "MediaStorageSOPClassUID")
    )


@cache
def _name_of_class(uid: str) -> str:
    if uid == _LABEL_MAP_SEGMENTATION:
        return "Label Map Segmentation"
    with quietly():
        return UID(uid).name.removesuffix(" Storage") if uid else _NO_CLASS


def _nothing(path: Path, found: Found) -> str:
    is_one = path.is_file() and not is_archive(path)
    if is_one and found.objects:
        return f"{path} is a {found.objects[0].class_name}, not an image series; give it as a label or leave it out."
    if is_one:
        return f"{path} is not a DICOM file, or is damaged at its beginning."
    kinds = Counter(other.class_name for other in found.objects)
    kinds.update({"damaged": len(found.damaged)} if found.damaged else {})
    listed = ", ".join(f"{n} × {name}" for name, n in kinds.items())
    n_files = len(found.objects) + len(found.damaged) + found.n_unknown
    looked_at = f"{counted(n_files, 'file')} {'was' if n_files == 1 else 'were'} looked at"
    return f"No DICOM image was found in {path}: {looked_at}{f' ({listed})' if listed else ''}."
