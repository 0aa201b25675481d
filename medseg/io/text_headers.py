"""Headers of MetaImage and NRRD files as text: what SimpleITK does not tell, and whether the voxels are all there.

SimpleITK takes a space without a name for LPS, reads data files from anywhere, and overlooks a cut gzip stream. So the
header is read here too: its keys, where its data lie, how many bytes they should be. No world, no arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from medseg.core.errors import InputError
from medseg.io.streams import packed_size

__all__ = ["TextHeader", "check_voxels", "read_text_header"]

_LONGEST_HEADER_BYTES = 1 << 20
_BYTES_PER_NUMBER: Mapping[str, int] = {
    **dict.fromkeys(("met_char", "met_uchar", "char", "signed char", "int8", "int8_t"), 1),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("met_short", "met_ushort", "short", "short int", "signed short", "signed short int"), 2),
    **dict.fromkeys(("int16", "int16_t", "ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("met_int", "met_uint", "met_float", "int", "signed int", "int32", "int32_t", "uint"), 4),
    **dict.fromkeys(("unsigned int", "uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("met_long_long", "met_ulong_long", "met_double", "longlong", "long long", "long long int"), 8),
    **dict.fromkeys(("signed long long", "int64", "int64_t", "ulonglong", "unsigned long long", "uint64"), 8),
    **dict.fromkeys(("uint64_t", "double"), 8),
}
"""Size of an element by its name in either format, in lower case."""


@dataclass(frozen=True)
class TextHeader:
    """Keys in lower case with their values, and where the voxels are.

    Attributes:
        fields: What the header says.
        sizes: Length of each axis, fastest first.
        data_path: The file that holds the voxels (the header's own, or one beside it).
        data_start: The byte at which they begin there.
        n_bytes: How many bytes they are when unpacked; None if the header does not tell.
        packed: Whether they are gzip or zlib; None for encodings that are left to SimpleITK (text, bzip2).
        texts: The `key:=value` pairs of NRRD, as they are written: free text, or what a program keeps there.
    """

    fields: Mapping[str, str]
    sizes: tuple[int, ...]
    data_path: Path
    data_start: int
    n_bytes: int | None
    packed: bool | None
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def read_text_header(path: Path) -> TextHeader:
    """The header of a MetaImage or NRRD file.

    Raises:
        InputError: It is neither, its header is cut, or its voxels lie in several files or outside of its folder.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        return _nrrd(file, path) if start == b"NRRD" else _meta_image(file, path)


def check_voxels(header: TextHeader, path: Path) -> None:
    """Look at the voxels' bytes to the end of the stream.

    Raises:
        InputError: There are fewer than the header promises, or the compressed stream is damaged.
    """
    expected = header.n_bytes
    if header.packed is None or expected is None:
        return
    if not header.packed:
        found = header.data_path.stat().st_size - header.data_start
        if found < expected:
            raise InputError(
                f"{path} is damaged: the data end after {max(0, found)} of {expected} bytes. Copy it again."
            )
        return
    found, damage = packed_size(header.data_path, header.data_start)
    if damage is not None and "wrong" in damage:
        raise InputError(f"{path} is damaged: {damage} behind {found} of {expected} bytes. Copy it again.")
    if damage is not None or found < expected:
        raise InputError(
            f"{path} is damaged: the compressed data end after {found} of {expected} bytes. Copy it again."
        )


def _meta_image(file: BinaryIO, path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:
        line = _line(file, path)
        key, mark, value = line.partition("=")
        if not mark:
            raise InputError(f"{path} is not a MetaImage file: a line of its header lacks '='.")
        fields[key.strip().lower()] = value.strip()
    sizes = _sizes(fields.get("dimsize"), path)
    n_channels = _number(fields, "elementnumberofchannels", 1, path)
    n_bytes = _expected(fields.get("elementtype", ""), sizes, n_channels)
    name = fields["elementdatafile"]
    is_local = name.upper() == "LOCAL"
    data_path = path if is_local else _beside(path, name)
    data_start = file.tell() if is_local else _number(fields, "headersize", 0, path)
    if data_start < 0:  # -1: the voxels are the last bytes of the file
        data_start = max(0, data_path.stat().st_size - (n_bytes or 0))
    is_text = fields.get("binarydata", "true").lower() == "false"
    packed = None if is_text else fields.get("compresseddata", "false").lower() == "true"
    return TextHeader(fields, sizes, data_path, data_start, n_bytes, packed)


def _nrrd(file: BinaryIO, path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    texts: dict[str, str] = {}
    _line(file, path)  # NRRD000x
    while (line := _line(file, path, may_end="data file" in fields)) != "":
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":")
        if not mark:
            raise InputError(f"{path} is not an NRRD file: a line of its header lacks ':'.")
        if value.startswith("="):
            texts[key] = value[1:]
            continue
        key = key.strip().lower()
        fields["data file" if key == "datafile" else key] = value.strip()
    sizes = _sizes(fields.get("sizes"), path)
    data_path = _beside(path, fields["data file"]) if "data file" in fields else path
    data_start = file.tell() if data_path == path else 0
    packed = {"raw": False, "gzip": True, "gz": True}.get(fields.get("encoding", "").lower())
    if any(_number(fields, skip, 0, path) for skip in ("line skip", "lineskip", "byte skip", "byteskip")):
        packed = None
    return TextHeader(fields, sizes, data_path, data_start, _expected(fields.get("type", ""), sizes, 1), packed, texts)


def _line(file: BinaryIO, path: Path, *, may_end: bool = False) -> str:
    line = file.readline(_LONGEST_HEADER_BYTES)
    if not line.endswith(b"\n") and not may_end:
        raise InputError(f"{path} is damaged: it ends inside its header, after {file.tell()} bytes.")
    return line.decode("utf-8", "replace").strip()


def _sizes(text: str | None, path: Path) -> tuple[int, ...]:
    try:
        sizes = tuple(int(n) for n in (text or "").split())
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise InputError(f"{path} has a damaged header: the lengths of its axes are '{text or ''}'.")
    return sizes


def _number(fields: Mapping[str, str], key: str, default: int, path: Path) -> int:
    try:
        return int(fields.get(key, default))
    except ValueError:
        raise InputError(f"{path} has a damaged header: '{key}' is '{fields[key]}', not a whole number.") from None


def _expected(element: str, sizes: tuple[int, ...], n_channels: int) -> int | None:
    size = _BYTES_PER_NUMBER.get(element.lower())
    return None if size is None else size * prod(sizes) * n_channels


def _beside(path: Path, name: str) -> Path:
    """The data file that a header names: one file, in the header's folder or below it."""
    if "\0" in name:
        raise InputError(f"{path} has a damaged header: the name of its data file holds a null byte.")
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path} keeps its voxels in several files; convert it to a single .mha or .nrrd file.")
    folder = path.parent.resolve()
    data_path = (folder / name).resolve()
    if not data_path.is_relative_to(folder):
        raise InputError(f"{path} takes its voxels from outside of its folder ({name}); put the two side by side.")
    if not data_path.is_file():
        raise InputError(f"{path} takes its voxels from {name}, which is not there. Copy both files.")
    return data_path
