"""The pixels of a segmentation's frames as they are stored: bits, bytes or words, (rows, columns).

One bit a pixel is packed from the lowest bit on and across the borders of frames, which then begin inside a byte; only
the bytes of the frame at hand are read. Compressed frames hold packed bits where the method knows no single bits (RLE,
deflate) and pixels where it does (JPEG 2000). What the values mean is not known here.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID, RLELossless

from medseg.core.errors import InputError
from medseg.io.dicom.decode import Coded, DecodeError, decoded, is_decodable
from medseg.io.dicom.encoded import CutOff, Misplaced, PixelElement, Source, frame_stream, pixel_element
from medseg.io.dicom.find import Frame, numbers

__all__ = ["stored_frames"]

_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

_LARGEST_FRAME = 1 << 28
"""Pixels of a frame; no honest one has more, and its memory is asked for before it is read."""


@dataclass(frozen=True)
class _Layout:
    """How a frame is stored."""

    rows: int
    columns: int
    bits: int

    @property
    def n_pixels(self) -> int:
        return self.rows * self.columns

    @property
    def n_packed(self) -> int:
        """Bytes of a frame that begins with a byte of its own."""
        return (self.n_pixels * self.bits + 7) // 8


def stored_frames(file: Frame, n_frames: int) -> Iterator[NDArray[Any]]:
    """The frames of a file, one after the other, in its order; uint8 or uint16 (rows, columns).

    Raises:
        InputError: The file is cut off, or compressed in a way that cannot be decoded here.
    """
    layout = _layout(file)
    syntax = str(getattr(file.header, "file_meta", {}).get("TransferSyntaxUID", ""))
    if file.pixels_at is None:
        raise InputError(f"{file.path} is cut off or damaged: it has no pixels. Copy it again.")
    source = Source(file.path, file.pixels_at, syntax, n_frames)
    try:
        with source.opened((n_frames * layout.n_pixels * layout.bits + 7) // 8) as stream:
            element = pixel_element(stream, source)
            if element.length is not None:
                yield from _native(stream, element, layout, n_frames)
                return
            for index in range(n_frames):
                coded = frame_stream(stream, source, element, index, _extended(file))
                yield _decoded(coded, syntax, layout)
    except CutOff as error:
        raise InputError(f"{file.path} is cut off: {error}. Copy it again.") from error
    except Misplaced as error:
        raise InputError(f"{file.path} {error}. Copy it again.") from error
    except (DecodeError, zlib.error) as error:
        raise InputError(_undecoded(file, syntax)) from error


def _layout(file: Frame) -> _Layout:
    rows, columns, bits = (numbers(file.header, key) for key in ("Rows", "Columns", "BitsAllocated"))
    if rows is None or columns is None or bits is None or bits[0] not in (1, 8, 16) or min(*rows, *columns) < 1:
        raise InputError(f"{file.path} does not say how its pixels are stored (Rows, Columns, BitsAllocated).")
    if rows[0] * columns[0] > _LARGEST_FRAME:
        raise InputError(f"{file.path} declares frames of {columns[0]:.0f} × {rows[0]:.0f} pixels; it may be damaged.")
    return _Layout(int(rows[0]), int(columns[0]), int(bits[0]))


def _native(stream: BinaryIO, element: PixelElement, layout: _Layout, n_frames: int) -> Iterator[NDArray[Any]]:
    """Frames that are not compressed, each read from the byte that it begins in."""
    n_bits = layout.n_pixels * layout.bits
    expected = (n_frames * n_bits + 7) // 8
    # Big endian files hold words of two bytes the other way round: read from an even byte on, and turned.
    is_turned = not element.is_little and (layout.bits == 16 or (layout.bits == 1 and element.vr == "OW"))
    for index in range(n_frames):
        first, end = index * n_bits // 8, ((index + 1) * n_bits + 7) // 8
        if is_turned:
            first, end = first - first % 2, end + end % 2
        stream.seek(element.value_at + first)
        content = stream.read(end - first)
        if first + len(content) < min(end, expected) or (element.length or 0) < min(end, expected):
            raise CutOff(min(first + len(content), element.length or 0), expected)
        raw = np.frombuffer(content, np.uint8)
        if is_turned:
            raw = np.pad(raw, (0, raw.size % 2)).view(">u2").astype("<u2").view(np.uint8)
        yield _unpacked(raw, index * n_bits - first * 8, layout)


def _unpacked(raw: NDArray[np.uint8], first_bit: int, layout: _Layout) -> NDArray[Any]:
    """The pixels of a frame that begins at a bit of `raw` (little endian)."""
    shape = (layout.rows, layout.columns)
    if layout.bits == 1:
        return np.unpackbits(raw, bitorder="little", count=first_bit + layout.n_pixels)[first_bit:].reshape(shape)
    dtype = np.dtype(np.uint8) if layout.bits == 8 else np.dtype("<u2")
    return np.frombuffer(raw.tobytes(), dtype, layout.n_pixels).reshape(shape)


def _decoded(stream: bytes, syntax: str, layout: _Layout) -> NDArray[Any]:
    """A compressed frame."""
    if syntax == _DEFLATED_FRAMES:
        raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, layout.n_packed)
        if len(raw) < layout.n_packed:
            raise CutOff(len(raw), layout.n_packed)
        return _unpacked(np.frombuffer(raw, np.uint8), 0, layout)
    if not is_decodable(syntax):
        raise DecodeError("failed")
    if syntax == RLELossless and layout.bits == 1:
        packed = decoded(_coded(syntax, _Layout(1, layout.n_packed, 8)), stream)
        return _unpacked(packed.ravel().astype(np.uint8), 0, layout)
    return decoded(_coded(syntax, layout), stream)


def _coded(syntax: str, layout: _Layout) -> Coded:
    return Coded(
        syntax,
        layout.rows,
        layout.columns,
        samples=1,
        bits_allocated=max(8, layout.bits),
        bits_stored=layout.bits,
        is_signed=False,
        photometric="MONOCHROME2",
    )


def _extended(file: Frame) -> tuple[int, ...]:
    table = file.header.get("ExtendedOffsetTable")
    if not isinstance(table, bytes):
        return ()
    return struct.unpack_from(f"<{len(table) // 8}Q", table)


def _undecoded(file: Frame, syntax: str) -> str:
    name = UID(syntax).name
    return f"{file.path} is compressed with {name} and cannot be decoded here: decompress it first; or it is damaged."
