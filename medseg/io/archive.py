"""Files inside a `.zip`, and files that are gzipped one by one: read in place, never unpacked to the disk.

A member has a path like a file below the archive: `scan.zip/series/0001.dcm`. `opened` opens that or a plain file.
Names in an archive are words here and nothing else: one with `..` or a leading slash leads nowhere. What an archive
declares to hold is judged before a byte is unpacked; more than it declares is never read, and of a gzipped file no more
than an honest one of its size holds. Lengths that a file claims of its parts never make this process ask for more
memory than the file has bytes. The module knows no DICOM.
"""

import os
import struct
import zlib
from functools import lru_cache
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, LargeZipFile, ZipExtFile, ZipFile, ZipInfo
from zlib import error as DeflateError  # noqa: N812  its own name says nothing

from medseg.core.errors import InputError
from medseg.io.listing import is_regular

__all__ = ["archive_of", "first_bytes", "is_archive", "is_gzipped", "members", "opened"]

_LARGEST_RATIO = 100
_ALWAYS_ALLOWED_BYTES = 1 << 30
"""An archive may declare this much, or 100 times its own size: CT compresses 2 to 4 times, masks a few hundred."""

_ALWAYS_ALLOWED_OF_ONE = 1 << 28
"""A gzipped file may hold this much, or 100 times its own size."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
"""zlib's sign for a gzip header."""

_FIRST_PACKED_BYTES = 4096
"""So much of a gzipped file holds its first bytes, a long name in its header included."""

_LARGE_BYTES = 1 << 20
"""From here on a read is compared with what is left of the file: checking each would take time."""

_ENCRYPTED = 0x1
"""The bit of a member's flags that says so."""

_LOCAL_HEADER, _LOCAL_MARK = struct.Struct("<4s22xHH"), b"PK\3\4"
"""What stands before a member: a mark, what the table of contents says too, and the lengths of its name and extras."""

_UNREADABLE = (BadZipFile, LargeZipFile, DeflateError, NotImplementedError, RuntimeError, EOFError, ValueError)
"""What `zipfile` raises on damage, encryption and methods of compression that it does not know."""


def is_archive(path: Path) -> bool:
    """Whether a path is a zip file, by its suffix; one that is none is damaged, which is said when it is read."""
    return path.suffix.lower() == ".zip" and is_regular(path)


def archive_of(path: Path) -> Path | None:
    """The archive that a member's path leads into; None for a plain path."""
    return next((parent for parent in path.parents if parent.suffix.lower() == ".zip" and parent.is_file()), None)


def members(archive: Path) -> tuple[Path, ...]:
    """Paths of all files in an archive, sorted; two members of one name are one path.

    Raises:
        InputError: It is damaged, or declares to hold far more than an archive of its size can.
    """
    return tuple(sorted(_contents(archive)))


def opened(path: Path) -> BinaryIO:
    """A file, or a member of an archive, open for reading from its first byte.

    Members and gzipped files come whole into memory.

    Raises:
        InputError: The file or member is damaged, encrypted, or compressed in a way that is not known here; or it holds
            far more than one of its size can.
        OSError: There is no such file.
    """
    archive = archive_of(path)
    if archive is None:
        return BytesIO(_gunzipped(path, path.read_bytes())) if is_gzipped(path) else _Bounded(path)
    content = _unpacked(archive, path, -1)
    return BytesIO(_gunzipped(path, content) if _is_packed(path, content) else content)


def first_bytes(path: Path, n: int) -> bytes:
    """The first `n` bytes of a file or of a member of an archive, fewer where it is shorter.

    Raises:
        InputError: As `opened`.
        OSError: There is no such file.
    """
    archive = archive_of(path)
    n_packed = n if path.suffix.lower() != ".gz" else max(n, _FIRST_PACKED_BYTES)
    if archive is not None:
        start = _unpacked(archive, path, n_packed)
    else:
        with path.open("rb") as file:
            start = file.read(n_packed)
    if not _is_packed(path, start):
        return start[:n]
    try:
        return zlib.decompressobj(_GZIP).decompress(start, n)
    except DeflateError:
        return b""


def is_gzipped(path: Path) -> bool:
    """Whether a plain file is gzipped, by its suffix and its content."""
    if path.suffix.lower() != ".gz":
        return False
    with path.open("rb") as file:
        return file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC


def _is_packed(path: Path, start: bytes) -> bool:
    return path.suffix.lower() == ".gz" and start.startswith(_GZIP_MAGIC)


def _gunzipped(path: Path, content: bytes) -> bytes:
    most = max(_ALWAYS_ALLOWED_OF_ONE, _LARGEST_RATIO * len(content))
    unpacking = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacking.decompress(content, most)
    except DeflateError as error:
        raise InputError(f"{path} cannot be unpacked: its compressed data are wrong. Copy it again.") from error
    if unpacking.unconsumed_tail:
        raise InputError(
            f"{path} has {len(content)} bytes and holds more than {most}; that is no scan. Unpack it knowingly."
        )
    if not unpacking.eof:
        raise InputError(f"{path} is cut off: its compressed data end too early. Copy it again.")
    return unpacked


class _Bounded(BufferedReader):
    """A plain file of which no read asks for more than is left: memory is taken before the bytes are seen."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self._n_bytes = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _LARGE_BYTES:
            size = min(size, max(0, self._n_bytes - self.tell()))
        return super().read(size)


def _unpacked(archive: Path, path: Path, n: int) -> bytes:
    info = _contents(archive).get(path)
    if info is None:
        raise FileNotFoundError(2, "there is no such file in the archive", str(path))
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{path} is encrypted; unpack {archive.name} with its password and give the folder.")
    try:
        with archive.open("rb") as file, _member(file, info) as member:
            return member.read(n)
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be unpacked: {archive.name} is damaged. Copy it again.") from error


def _member(file: BinaryIO, info: ZipInfo) -> ZipExtFile:
    """A member, found by the table of contents that was read before: reading that anew for each is quadratic."""
    file.seek(info.header_offset)
    start = file.read(_LOCAL_HEADER.size)
    if len(start) < _LOCAL_HEADER.size:
        raise BadZipFile("the archive ends before the member")
    mark, n_name, n_extra = _LOCAL_HEADER.unpack(start)
    if mark != _LOCAL_MARK:
        raise BadZipFile("there is no member where the table says")
    file.seek(n_name + n_extra, 1)
    return ZipExtFile(file, "r", info)


def _contents(archive: Path) -> dict[Path, ZipInfo]:
    status = archive.stat()
    return _listed(archive, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _listed(archive: Path, _modified_ns: int, n_bytes: int) -> dict[Path, ZipInfo]:
    try:
        with ZipFile(archive) as file:
            infos = [info for info in file.infolist() if not info.is_dir()]
    except _UNREADABLE as error:
        raise InputError(f"{archive} is damaged: its table of contents cannot be read. Copy it again.") from error
    declared = sum(info.file_size for info in infos)
    if declared > max(_ALWAYS_ALLOWED_BYTES, _LARGEST_RATIO * n_bytes):
        raise InputError(
            f"{archive} has {n_bytes} bytes and declares to hold {declared}; that is no archive of scans. "
            "Unpack it knowingly and give the folder."
        )
    return {archive.joinpath(*_harmless(info.filename)): info for info in infos}


def _harmless(name: str) -> tuple[str, ...]:
    """The parts of a member's name that name something: no root, no drive, no way up."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", "//", ".", "..")) or ("unnamed",)
