"""What kind of image a path is: by its name, and for DICOM (whose files often have no suffix) by looking at its bytes.

A kind is the short name of a format: "nifti", "mgh", "mha", "nrrd", "png", "tiff", "jpeg", "bmp", "gif", "dicom".
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg.core.errors import InputError, UsageError, is_shortage
from medseg.io.archive import archive_of, first_bytes, members
from medseg.io.listing import is_folder, is_regular, kind_of_special

__all__ = [
    "HEAD_BYTES",
    "PICTURES",
    "READABLE",
    "WRITABLE",
    "begins_as_dicom",
    "kind_of",
    "looks_like_dicom",
    "stem",
    "suffix_for",
    "suffix_of",
]

_SUFFIXES: Mapping[str, str] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".hdr": "nifti",
    ".mgz": "mgh",
    ".mgh": "mgh",
    ".mha": "mha",
    ".mhd": "mha",
    ".seg.nrrd": "nrrd",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".png": "png",
    ".tiff": "tiff",
    ".tif": "tiff",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".bmp": "bmp",
    ".gif": "gif",
    ".dcm.gz": "dicom",
    ".dcm": "dicom",
}
"""Suffix → kind, in lower case; the first suffix of a kind is not always the one we write (`suffix_for`)."""

_WRITTEN: Mapping[str, str] = {
    "nifti": ".nii.gz",
    "mgh": ".nii.gz",
    "mha": ".mha",
    "nrrd": ".nrrd",
    "png": ".png",
    "tiff": ".tif",
    "jpeg": ".png",
    "bmp": ".png",
    "gif": ".png",
    "dicom": ".nii.gz",
    "seg.nrrd": ".seg.nrrd",
    "dicom-seg": "_seg.dcm",
    "rtstruct": "_rtstruct.dcm",
}
"""Kind of the input → suffix of what is written for it: JPEG cannot hold labels, a DICOM series is no single file.

The last three are no kinds of input but forms of label maps; two of them are told apart before the suffix.
"""

READABLE = ", ".join(suffix for suffix, kind in _SUFFIXES.items() if kind != "dicom") + " and DICOM"
"""For sentences: what can be read."""

PICTURES = frozenset({"png", "jpeg", "tiff", "bmp", "gif"})
"""Kinds that are pictures: they have colours or none, and no place in space."""

WRITABLE: Mapping[str, str] = {s: kind for s, kind in _SUFFIXES.items() if s in {*_WRITTEN.values(), ".nii", ".tiff"}}
"""Suffix → kind of what can be written; pairs of a header and a data file are not, they cannot be replaced as one."""

_PREAMBLE_BYTES = 128

HEAD_BYTES = _PREAMBLE_BYTES + 4
"""How much of a file tells whether it is DICOM."""


def kind_of(path: Path | str) -> str | None:
    """The kind of image that a file or folder is, or None if it is none that medseg reads.

    The file need not exist if its name tells; a folder or a zip archive is "dicom" if it holds a DICOM file, at any
    depth; so is an archive that cannot be looked into (damaged, encrypted, a bomb), for who reads it says why. A member
    of an archive, `scan.zip/0001.dcm`, is what it would be as a file. A pipe or a device is no image, whatever it is
    called.
    """
    path = Path(path)
    if is_folder(path):
        return "dicom" if any(looks_like_dicom(file) for file in _candidates(path.rglob("*"))) else None
    if kind_of_special(path) is not None:
        return None
    if path.suffix.lower() == ".zip" and is_regular(path):
        return "dicom" if _may_hold_dicom(path) else None
    suffix = suffix_of(path)
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    return "dicom" if looks_like_dicom(path) else None


def stem(path: Path | str) -> str:
    """The name of a file without its (double) suffix.

    >>> stem("scans/a.b.nii.gz"), stem("a.seg.nrrd"), stem("a.png"), stem("a.b")
    ('a.b', 'a', 'a', 'a.b')
    """
    path = Path(path)
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix in _SUFFIXES else path.name


def suffix_for(kind: str) -> str:
    """The suffix of the file that medseg writes for an input of a kind: its own, or what stands in for it.

    >>> suffix_for("nifti"), suffix_for("jpeg")
    ('.nii.gz', '.png')
    """
    try:
        return _WRITTEN[kind]
    except KeyError:
        raise UsageError(f"'{kind}' is no kind of image; known are {', '.join(_WRITTEN)}.") from None


def suffix_of(path: Path) -> str:
    """The (double) suffix of a name in lower case, "" if there is none."""
    name = path.name.lower()
    double = next((suffix for suffix in (".nii.gz", ".seg.nrrd", ".dcm.gz") if name.endswith(suffix)), None)
    return double or path.suffix.lower()


def looks_like_dicom(path: Path) -> bool:
    """Whether a file, or a member of an archive, begins as DICOM does; what is no regular file is not opened."""
    if not is_regular(path) and archive_of(path) is None:
        return False
    try:
        return begins_as_dicom(first_bytes(path, HEAD_BYTES))
    except InputError:
        return False
    except OSError as error:
        if is_shortage(error):
            raise
        return False


def begins_as_dicom(start: bytes) -> bool:
    """Whether `HEAD_BYTES` are DICOM's: "DICM" behind 128 bytes, or (head cut off) a group 2 or 8 element."""
    return start[_PREAMBLE_BYTES:] == b"DICM" or _begins_with_element(start)


def _begins_with_element(start: bytes) -> bool:
    """A first element of group 0002 or 0008 with a known value representation, or a short even length."""
    if len(start) < 8 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3] != 0:
        return False
    explicit = start[4:6] in (b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO")
    length = int.from_bytes(start[4:8], "little")
    return explicit or (length <= 64 and length % 2 == 0)


def _may_hold_dicom(archive: Path) -> bool:
    """Whether an archive holds a DICOM file, or cannot be looked into."""
    try:
        return any(begins_as_dicom(first_bytes(file, HEAD_BYTES)) for file in _candidates(members(archive)))
    except InputError:
        return True


def _candidates(files: Iterable[Path]) -> list[Path]:
    """Visible files in a folder or an archive that may be DICOM: those that are not named as another kind."""
    visible = (file for file in sorted(files) if not file.name.startswith("."))
    return [file for file in visible if _SUFFIXES.get(suffix_of(file), "dicom") == "dicom"]
