"""The bytes of one frame as they lie in a file: at an offset, or put together from the fragments of a stream.

Only the asked frame is read, however many the file holds. Offset tables are used where they fit the fragments and
ignored where they do not. Nothing is decoded here, and no header is parsed: `find` said where the pixels begin.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.io.archive import archive_of, is_gzipped, opened
from medseg.io.dicom.deflated import inflated

__all__ = ["CutOff", "Misplaced", "PixelElement", "Source", "forget", "frame_stream", "pixel_element"]

_PIXEL_TAGS = {0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData", 0x0010: "PixelData"}
_LONG_FORMS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"UT", b"SV", b"UV")
_UNDEFINED = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_HEAD_BYTES = 12

_IMAGE_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""With what a JPEG or JPEG-LS, and a JPEG 2000 stream begins."""


class CutOff(Exception):  # noqa: N818  a fact, named as the sentence names it
    """Fewer bytes than the header promises; the text completes "the file is cut off: …"."""

    def __init__(self, found: int, expected: int, what: str = "bytes of pixels") -> None:
        super().__init__(found, expected, what)

    def __str__(self) -> str:
        found, expected, what = self.args
        return f"{found} {what}, {expected} expected"


class Misplaced(Exception):  # noqa: N818
    """There is no pixel element, or fragments cannot be told apart; the text completes "the file …"."""


@dataclass(frozen=True)
class Source:
    """Where a file's pixels are.

    Attributes:
        path: The file, or the member of an archive.
        pixels_at: Where the pixel element begins: in the file, or in what is inflated from it.
        syntax: UID of the transfer syntax, "" if the file does not say.
        n_frames: How many images there are.
    """

    path: Path
    pixels_at: int
    syntax: str
    n_frames: int

    @property
    def is_deflated(self) -> bool:
        return self.syntax == DeflatedExplicitVRLittleEndian

    @contextmanager
    def opened(self, n_bytes: int) -> Iterator[BinaryIO]:
        """The file; of a deflated one, what is inflated of it, up to `n_bytes` of pixels."""
        if self.n_frames > 1 and (self.is_deflated or archive_of(self.path) is not None or is_gzipped(self.path)):
            yield BytesIO(_whole(self.stamp(), self, n_bytes))
            return
        with opened(self.path) as file:
            yield BytesIO(self._inflated(file, n_bytes)) if self.is_deflated else file

    def _inflated(self, file: BinaryIO, n_bytes: int) -> bytes:
        return inflated(file, self.pixels_at + _HEAD_BYTES + n_bytes)

    def stamp(self) -> tuple[int, int]:
        """Changes when the file does: what is remembered of it is forgotten then."""
        status = (archive_of(self.path) or self.path).stat()
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class PixelElement:
    """The head of the pixel element: what comes, how it is laid out, and where.

    Attributes:
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        vr: OB or OW; "" where the data set does not name it.
        is_little: Byte order.
        value_at: Where the value begins.
        length: In bytes; None: fragments follow.
    """

    keyword: str
    vr: str
    is_little: bool
    value_at: int
    length: int | None


def pixel_element(file: BinaryIO, source: Source) -> PixelElement:
    """The head of the pixel element.

    Raises:
        Misplaced: There is none.
    """
    file.seek(source.pixels_at)
    head = file.read(_HEAD_BYTES)
    is_little = head[:1] != b"\x7f"
    order = "<" if is_little else ">"
    group, element = struct.unpack(f"{order}HH", head[:4]) if len(head) >= 8 else (0, 0)
    if group != 0x7FE0 or element not in _PIXEL_TAGS:
        raise Misplaced("has no pixels")
    vr = head[4:6]
    if not (vr.isalpha() and vr.isupper()):
        vr, n_head, form, at = b"", 8, "L", 4
    elif vr in _LONG_FORMS:
        n_head, form, at = 12, "L", 8
    else:
        n_head, form, at = 8, "H", 6
    if len(head) < n_head:
        raise Misplaced("has no pixels")
    (length,) = struct.unpack_from(order + form, head, at)
    name = vr.decode("ascii")
    value_at = source.pixels_at + n_head
    return PixelElement(_PIXEL_TAGS[element], name, is_little, value_at, None if length == _UNDEFINED else length)


def frame_stream(file: BinaryIO, source: Source, element: PixelElement, index: int, extended: Sequence[int]) -> bytes:
    """The compressed stream of one frame.

    Args:
        file: The opened source.
        source: Where it came from.
        element: Its pixel element, with fragments.
        index: The frame, counted from 0.
        extended: Offsets of the Extended Offset Table; empty if there is none.

    Raises:
        CutOff: The file ends before the frame does.
        Misplaced: Nothing tells which fragments belong to which frame.
    """
    fragments, ends = _fragments(file, source, element.value_at, tuple(extended))
    n_file = file.seek(0, os.SEEK_END)
    parts = []
    for at, length in fragments[ends[index - 1] if index else 0 : ends[index]]:
        if at + length > n_file:
            raise CutOff(max(0, n_file - at), length)
        file.seek(at)
        parts.append(file.read(length))
    return b"".join(parts)


def forget() -> None:
    """Give back what was kept in memory between the frames of one file."""
    _whole.cache_clear()
    _remembered.cache_clear()


_Fragments = tuple[tuple[int, int], ...]
"""Where each fragment begins in the file, and its length."""


@lru_cache(maxsize=1)
def _whole(stamp: tuple[int, int], source: Source, n_bytes: int) -> bytes:  # noqa: ARG001  the key
    """What cannot be read in part, for all frames at once."""
    with opened(source.path) as file:
        return source._inflated(file, n_bytes) if source.is_deflated else file.read()


def _fragments(
    file: BinaryIO, source: Source, value_at: int, extended: tuple[int, ...]
) -> tuple[_Fragments, Sequence[int]]:
    """The fragments, and for each frame the number of the one after its last; remembered where frames are many."""
    if source.is_deflated:
        raise Misplaced("holds a compressed stream in a deflated data set")
    if source.n_frames == 1:
        return _found(file, value_at, 1, extended)
    return _remembered(source.stamp(), source, value_at, extended)


@lru_cache(maxsize=2)
def _remembered(
    stamp: tuple[int, int],  # noqa: ARG001  the key
    source: Source,
    value_at: int,
    extended: tuple[int, ...],
) -> tuple[_Fragments, Sequence[int]]:
    with source.opened(0) as file:
        return _found(file, value_at, source.n_frames, extended)


def _found(file: BinaryIO, value_at: int, n_frames: int, extended: tuple[int, ...]) -> tuple[_Fragments, Sequence[int]]:
    table, fragments = _walked(file, value_at)
    if not fragments:
        raise CutOff(0, n_frames, "compressed frames")
    return fragments, _frame_ends(file, extended or table, fragments, n_frames)


def _walked(file: BinaryIO, value_at: int) -> tuple[tuple[int, ...], _Fragments]:
    """The basic offset table and the fragments; what is beyond the end of the file is noticed when it is read."""
    file.seek(value_at)
    items: list[tuple[int, int]] = []
    while len(head := file.read(8)) == 8 and head[:4] == _ITEM:
        (length,) = struct.unpack("<L", head[4:])
        items.append((file.tell(), length))
        file.seek(length, os.SEEK_CUR)
    if len(head) == 8 and head[:4] != _SEQUENCE_END:
        raise Misplaced("has a compressed stream that is not made of items")
    if not items:
        return (), ()
    at, length = items[0]
    file.seek(at)
    table = file.read(min(length, 4 * len(items)))
    return struct.unpack_from(f"<{len(table) // 4}L", table), tuple(items[1:])


def _frame_ends(file: BinaryIO, table: Sequence[int], fragments: _Fragments, n_frames: int) -> Sequence[int]:
    """For each frame, the number of the fragment after its last.

    Raises:
        CutOff: There are fewer fragments than frames.
        Misplaced: Nothing tells which belong together.
    """
    if n_frames == 1:
        return (len(fragments),)
    if len(fragments) < n_frames:
        raise CutOff(len(fragments), n_frames, "compressed frames")
    if len(fragments) == n_frames:
        return range(1, n_frames + 1)
    offsets, origin = set(table), fragments[0][0]
    starts = [n for n, (at, _) in enumerate(fragments) if at - origin in offsets]
    if len(offsets) != n_frames or len(starts) != n_frames or starts[0] != 0:
        starts = [n for n, fragment in enumerate(fragments) if _begins_an_image(file, fragment)]
    if len(starts) != n_frames or starts[0] != 0:
        raise Misplaced(f"holds {len(fragments)} compressed fragments for {n_frames} frames and does not say whose")
    return (*starts[1:], len(fragments))


def _begins_an_image(file: BinaryIO, fragment: tuple[int, int]) -> bool:
    file.seek(fragment[0])
    return file.read(4).startswith(_IMAGE_STARTS)
