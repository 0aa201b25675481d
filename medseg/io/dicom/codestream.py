"""What a compressed stream says of itself: matrix, samples and bits, and whether its end is there.

Asked before decoding: decoders are C code that allocates what the stream says, and most fill up what was cut off with
grey and call it an image. JPEG (ISO 10918-1), JPEG-LS (14495-1) and JPEG 2000 (15444-1) have a head; DICOM's RLE
(PS3.5 G) says how many bytes it holds only to those who walk along it.
"""

import struct
from dataclasses import dataclass

__all__ = ["StreamHead", "has_end", "head_of", "length_of_runs"]

_NO_FRAME = (0xC4, 0xC8, 0xCC)
"""Markers among the starts of frame (C0 to CF) that are none: tables, an extension, arithmetic conditioning."""

_JPEG_LS_FRAME = 0xF7
_SIZ = b"\xff\x4f\xff\x51"
_NO_RUN = 128
"""The count of an RLE that means nothing; below come so many and one bytes, above one byte (257 - count) times."""

_PADDING_BYTES = 16
"""How far from the end the last marker may lie, zeros not counted."""


@dataclass(frozen=True)
class StreamHead:
    """Of one image; `rows` is 0 where the stream says it later."""

    rows: int
    columns: int
    samples: int
    bits: int


def head_of(stream: bytes) -> StreamHead | None:
    """What the stream says at its beginning, None if that is not readable."""
    try:
        if stream[:2] == b"\xff\xd8":
            return _jpeg(stream)
        return _jpeg_2000(stream)
    except struct.error:
        return None


def has_end(stream: bytes) -> bool:
    """Whether the end-of-image (or of-codestream) marker is there."""
    return b"\xff\xd9" in stream.rstrip(b"\0")[-_PADDING_BYTES:]


def length_of_runs(stream: bytes) -> tuple[int, int] | None:
    """How many segments run-length encoded data have, and to how many bytes the first is decoded; None: unreadable.

    The first holds the highest bytes, which are long runs: it is walked along in no time, and all are equally long.
    """
    try:
        n_segments, first, second = struct.unpack_from("<3L", stream)
    except struct.error:
        return None
    at, end = first, second if n_segments > 1 else len(stream)
    n_bytes = 0
    while at < min(end, len(stream)):
        count = stream[at]
        if count == _NO_RUN:
            at += 1
        elif count < _NO_RUN:
            n_bytes, at = n_bytes + count + 1, at + count + 2
        else:
            n_bytes, at = n_bytes + 257 - count, at + 2
    return n_segments, n_bytes


def _jpeg(stream: bytes) -> StreamHead | None:
    at = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", stream, at)
        if mark != 0xFF:
            return None
        if kind == 0xFF:  # a fill byte
            at += 1
            continue
        if kind == _JPEG_LS_FRAME or (0xC0 <= kind <= 0xCF and kind not in _NO_FRAME):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 4)
            return StreamHead(rows, columns, samples, bits)
        at += 2 + length


def _jpeg_2000(stream: bytes) -> StreamHead | None:
    at = stream.find(_SIZ)  # at the beginning, or in the boxes of a JP2 file
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", stream, at + 8)
    samples, depth = struct.unpack_from(">HB", stream, at + 40)
    return StreamHead(bottom - top, right - left, samples, (depth & 0x7F) + 1)
