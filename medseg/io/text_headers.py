"""Headers of MetaImage and NRRD files as text: their fields, and where the voxels lie.

A header may be written by hand: comments, empty lines, either of `=` and `:`, and no line break at its end are all
read, as ITK reads them. Voxels lie behind the header, in a file of their own, or in several. The module knows no world
and no arrays; `text_voxels` reads the bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal

from medseg.core.errors import InputError
from medseg.core.frozen import FrozenMapping

__all__ = ["Packing", "TextHeader", "read_text_header"]

Packing = Literal["raw", "gzip", "bzip2", "text", "hex"]
"""How the bytes of voxels are stored."""

_LONGEST_HEADER_BYTES = 1 << 20
_MOST_DATA_FILES = 100_000

_BYTES_PER_NUMBER: Mapping[str, int] = {
    **dict.fromkeys(("met_char", "met_uchar", "char", "signed char", "int8", "int8_t"), 1),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("met_short", "met_ushort", "short", "short int", "signed short", "signed short int"), 2),
    **dict.fromkeys(("int16", "int16_t", "ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("met_int", "met_uint", "met_long", "met_ulong", "met_float", "int", "signed int", "int32"), 4),
    **dict.fromkeys(("int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("met_long_long", "met_ulong_long", "met_double", "longlong", "long long", "long long int"), 8),
    **dict.fromkeys(("signed long long", "int64", "int64_t", "ulonglong", "unsigned long long", "uint64"), 8),
    **dict.fromkeys(("uint64_t", "double"), 8),
}
"""Size of an element by its name in either format, in lower case."""

_NRRD_ALIASES: Mapping[str, str] = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "oldmin": "old min",
    "oldmax": "old max",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centerings": "centers",
    "blocksize": "block size",
}
"""Second names of NRRD's fields."""

_NRRD_PACKINGS: Mapping[str, Packing] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "ascii": "text",
    "text": "text",
    "txt": "text",
    "hex": "hex",
}

_DATA_SUFFIXES = frozenset({".raw", ".zraw", ".img", ".dat", ".bin", ".data", ".gz", ".bz2", ".vol", ".ima", ".txt"})
"""What a file of voxels in a neighbouring folder may be called: a header must not lead just anywhere."""


@dataclass(frozen=True)
class TextHeader:
    """Keys in lower case with their values, and where the voxels are.

    Attributes:
        fields: What the header says.
        sizes: Length of each axis, fastest first.
        data_paths: The files that hold the voxels, in order; the header's own, or others.
        data_start: The byte at which they begin in each of these; None: they are the last bytes of the one file.
        lines_skipped: Lines to pass over before `data_start` (NRRD's `line skip`).
        bytes_skipped: Bytes to pass over behind these lines, once unpacked (NRRD's `byte skip`).
        n_bytes: How many bytes the voxels are when unpacked; None if the header does not tell.
        packing: How they are stored.
        texts: The `key:=value` pairs of NRRD, as they are written: free text, or what a program keeps there.
    """

    fields: Mapping[str, str]
    sizes: tuple[int, ...]
    data_paths: tuple[Path, ...]
    data_start: int | None
    n_bytes: int | None
    packing: Packing
    lines_skipped: int = 0
    bytes_skipped: int = 0
    texts: Mapping[str, str] = field(default_factory=FrozenMapping)

    @property
    def is_meta_image(self) -> bool:
        return "elementdatafile" in self.fields


def read_text_header(path: Path) -> TextHeader:
    """The header of a MetaImage or NRRD file.

    Raises:
        InputError: It is neither, its header is cut, or its voxels lie in a place that a header must not name.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        return _nrrd(file, path) if start == b"NRRD" else _meta_image(file, path)


def _meta_image(file: BinaryIO, path: Path) -> TextHeader:
    fields = _meta_image_fields(file, path)
    sizes = _sizes(fields.get("dimsize"), path)
    n_channels = _number(fields, "elementnumberofchannels", 1, path)
    n_bytes = _expected(fields.get("elementtype", ""), sizes, n_channels)
    name = fields["elementdatafile"]
    is_local = name.upper() == "LOCAL"
    start = file.tell() if is_local else _number(fields, "headersize", 0, path)
    data_paths = (path,) if is_local else _data_files(path, name, _rest(file))
    is_text = fields.get("binarydata", "true").lower() == "false"
    is_packed = fields.get("compresseddata", "false").lower() == "true"
    packing: Packing = "text" if is_text else "gzip" if is_packed else "raw"
    return TextHeader(fields, sizes, data_paths, None if start < 0 else start, n_bytes, packing)


def _meta_image_fields(file: BinaryIO, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:
        line, has_ended = _line(file)
        if line and not line.startswith("#"):
            key, mark, value = _at_first_mark(line)
            if not mark or not key.strip():
                raise InputError(f"{path} is not a MetaImage file: a line of its header lacks '='.")
            fields[key.strip().lower()] = value.strip()
        if has_ended and "elementdatafile" not in fields:
            raise InputError(f"{path} is damaged: it ends inside its header, after {file.tell()} bytes.")
    return fields


def _at_first_mark(line: str) -> tuple[str, str, str]:
    """A line cut at its first `=` or `:`; before and behind it, and the mark ("" if there is none)."""
    found = re.search("[=:]", line)
    return (line, "", "") if found is None else (line[: found.start()], found[0], line[found.end() :])


def _nrrd(file: BinaryIO, path: Path) -> TextHeader:
    fields, texts = _nrrd_fields(file, path)
    sizes = _sizes(fields.get("sizes"), path)
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_PACKINGS:
        raise InputError(f"{path} has the encoding '{encoding}'; medseg reads raw, gzip, bzip2, ascii and hex.")
    packing = _NRRD_PACKINGS[encoding]
    is_local = "data file" not in fields
    data_paths = (path,) if is_local else _data_files(path, fields["data file"], _rest(file))
    lines, skipped = _number(fields, "line skip", 0, path), _number(fields, "byte skip", 0, path)
    if lines < 0 or skipped < -1 or (skipped < 0 and (packing != "raw" or len(data_paths) > 1)):
        raise InputError(f"{path} has a damaged header: it skips {lines} lines and {skipped} bytes of its data.")
    start: int | None = file.tell() if is_local else 0
    if skipped < 0:
        start, skipped = None, 0
    n_bytes = _expected(fields.get("type", ""), sizes, 1)
    return TextHeader(fields, sizes, data_paths, start, n_bytes, packing, lines, skipped, texts)


def _nrrd_fields(file: BinaryIO, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The fields, by their first names, and the `key:=value` pairs."""
    fields: dict[str, str] = {}
    texts: dict[str, str] = {}
    _line(file)  # NRRD000x
    while True:
        line, has_ended = _line(file)
        if line and not line.startswith("#"):
            key, mark, value = line.partition(":")
            if not mark:
                raise InputError(f"{path} is not an NRRD file: a line of its header lacks ':'.")
            if value.startswith("="):
                texts[key] = value[1:]
            else:
                key = key.strip().lower()
                fields[_NRRD_ALIASES.get(key, key)] = value.strip()
        if has_ended and "data file" not in fields:
            raise InputError(f"{path} is damaged: it ends inside its header, after {file.tell()} bytes.")
        if not line or has_ended or fields.get("data file", "").upper().startswith("LIST"):
            # A list of files is the last field: the lines behind it are names.
            return fields, texts


def _line(file: BinaryIO) -> tuple[str, bool]:
    """The next line without its end, and whether the file ends with it."""
    line = file.readline(_LONGEST_HEADER_BYTES)
    return line.decode("utf-8", "replace").strip(), not line.endswith(b"\n")


def _rest(file: BinaryIO) -> tuple[str, ...]:
    """The lines that are left of a header whose voxels lie elsewhere: names of data files, if it lists them."""
    text = file.read(_LONGEST_HEADER_BYTES).decode("utf-8", "replace")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _sizes(text: str | None, path: Path) -> tuple[int, ...]:
    try:
        sizes = tuple(int(n) for n in (text or "").split())
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise InputError(f"{path} has a damaged header: the lengths of its axes are '{(text or '')[:80]}'.")
    return sizes


def _number(fields: Mapping[str, str], key: str, default: int, path: Path) -> int:
    try:
        return int(fields.get(key, default))
    except ValueError:
        raise InputError(f"{path} has a damaged header: '{key}' is '{fields[key][:80]}', not a whole number.") from None


def _expected(element: str, sizes: tuple[int, ...], n_channels: int) -> int | None:
    size = _BYTES_PER_NUMBER.get(element.lower().removesuffix("_array"))
    return None if size is None else size * prod(sizes) * n_channels


def _data_files(path: Path, name: str, further: Sequence[str]) -> tuple[Path, ...]:
    """The data files that a header names: one, a list of them (in `further` lines), or a numbered pattern.

    `LIST` and `NAME%03d.raw FIRST LAST STEP` are of both formats.
    """
    words = name.split()
    if words and words[0].upper() == "LIST":
        if not further:
            raise InputError(f"{path} has a damaged header: it lists the files of its voxels, and none is named.")
        return tuple(_beside(path, each) for each in further)
    if "%" in name:
        return tuple(_beside(path, each) for each in _numbered(path, words))
    return (_beside(path, name),)


def _numbered(path: Path, words: Sequence[str]) -> list[str]:
    """The names of a pattern with its first and last number, and the step from one to the next (1 by default)."""
    pattern, numbers = words[0], words[1:4]
    is_plain = re.fullmatch(r"[^%]*%0?\d{0,2}[du][^%]*", pattern) is not None
    if not is_plain or len(numbers) < 2 or not all(re.fullmatch(r"[-+]?\d{1,9}", word) for word in numbers):
        raise InputError(f"{path} has a damaged header: '{' '.join(words)[:80]}' names no files of voxels.")
    first, last, step = (*map(int, numbers), 1)[:3]
    if step == 0 or not 0 <= (last - first) / step < _MOST_DATA_FILES:
        raise InputError(f"{path} has a damaged header: '{' '.join(words)[:80]}' counts to no end.")
    return [pattern % number for number in range(first, last + (1 if step > 0 else -1), step)]


def _beside(path: Path, name: str) -> Path:
    """A data file that a header names: in the header's folder, below it, or in a folder beside it.

    Nothing else: a header from a stranger must not make anybody's files into an image.
    """
    if "\0" in name:
        raise InputError(f"{path} has a damaged header: the name of its data file holds a null byte.")
    folder = path.parent.resolve()
    data_path = (folder / name).resolve()
    if not data_path.is_relative_to(folder) and not _is_neighbour(folder, name, data_path):
        raise InputError(
            f"{path} takes its voxels from outside of its folder and of the folders beside it ({name}). Put the two "
            "side by side, and the bare name of the data file into the header."
        )
    if not data_path.is_file():
        raise InputError(f"{path} takes its voxels from {name}, which is not there. Copy both files.")
    return data_path


def _is_neighbour(folder: Path, name: str, data_path: Path) -> bool:
    """Whether a relative name leads into a folder beside `folder`, to what is called like data."""
    parent = folder.parent
    is_deeper = data_path.is_relative_to(parent) and data_path.parent != parent
    is_root = parent == parent.parent
    return is_deeper and not is_root and not Path(name).is_absolute() and data_path.suffix.lower() in _DATA_SUFFIXES
