"""The stored values of one image: read or decoded, cut to the stored bits, signs extended; (rows, columns).

Uncompressed frames are read by numpy from where they lie, one at a time however many the file holds; compressed ones
are decoded in the child process of `decode`. What the header says of matrix and bits is checked against what is there:
too few bytes, far too many, a stream of another size, values that need more bits are refused. Nothing is rescaled.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from medseg.core.errors import InputError, MachineError
from medseg.io.dicom.codestream import has_end, head_of, length_of_runs
from medseg.io.dicom.decode import Coded, DecodeError, decoded, is_decodable
from medseg.io.dicom.encoded import CutOff, Misplaced, PixelElement, Source, forget, frame_stream, pixel_element
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text

__all__ = ["Layout", "layout_of", "n_zeros_after", "stored_frames", "stored_values"]

_NATIVE = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
"""Transfer syntaxes with uncompressed pixels; "" is a file whose head was cut off."""

_DEFLATED_FRAMES, _RLE = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.5"
_NAMES = {_DEFLATED_FRAMES: "Deflated Image Frame Compression"}
"""What pydicom's dictionary lacks."""

_DCT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""JPEG with loss, whose number of bits is that of the stream."""

_NEUTRAL = 128
"""Of the two colour channels of YBR in 8 bits: no colour."""

_SIDES = range(1, 65_536)
_ALLOCATIONS = (1, 8, 16, 32)
_MOST_PIXELS = 1 << 28
"""Of one compressed frame: what is more is damage or malice (16,384 × 16,384 is allowed)."""


@dataclass(frozen=True)
class Layout:
    """How an image is stored, by its header; of a tile: how the picture that it lies in is."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    planar: int

    @property
    def n_values(self) -> int:
        return self.rows * self.columns * self.samples

    @property
    def n_bits(self) -> int:
        """Of one uncompressed frame."""
        if self.photometric == "YBR_FULL_422" and self.samples == 3:
            return self.rows * self.columns * 2 * self.bits_allocated  # two pixels share their colours
        return self.n_values * self.bits_allocated

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{'i' if self.is_signed else 'u'}{max(8, self.bits_allocated) // 8}")


def layout_of(file: Frame) -> Layout:
    """How a header says that the image is stored.

    Raises:
        InputError: It says it incompletely or contradicts itself.
    """
    rows, columns = (_whole(file, key) for key in ("Rows", "Columns"))
    if file.tile is not None:
        rows, columns = file.tile[2:]
    if rows not in _SIDES or columns not in _SIDES:
        raise InputError(f"{file.path} says that it has {columns} columns and {rows} rows; that is no image.")
    allocated, stored = (_whole(file, key) for key in ("BitsAllocated", "BitsStored"))
    if allocated not in _ALLOCATIONS or not 1 <= stored <= allocated:
        raise InputError(
            f"{file.path} stores {stored} bits in {allocated} (BitsStored, BitsAllocated); medseg reads up to 32 bits "
            "in 8, 16 or 32, and 1 in 1."
        )
    high = numbers(file.header, "HighBit")
    if high is not None and high[0] != stored - 1:
        raise InputError(f"{file.path} stores bits in an unusual place (HighBit {high[0]:.0f}, BitsStored {stored}).")
    samples = int((numbers(file.header, "SamplesPerPixel") or (1.0,))[0])
    signed, planar = (
        int((numbers(file.header, k) or (0.0,))[0]) for k in ("PixelRepresentation", "PlanarConfiguration")
    )
    if samples not in (1, 3) or signed not in (0, 1) or planar not in (0, 1):
        raise InputError(
            f"{file.path} has SamplesPerPixel {samples}, PixelRepresentation {signed}, PlanarConfiguration {planar}; "
            "medseg reads images of 1 or 3 samples a pixel."
        )
    photometric = text(file.header, "PhotometricInterpretation")
    return Layout(rows, columns, samples, allocated, stored, signed == 1, photometric, planar)


def stored_values(file: Frame) -> NDArray[Any]:
    """The integers of one image, (rows, columns), in the smallest type that the header allots.

    Raises:
        InputError: It is cut off, damaged, in colour, or compressed in a way that cannot be decoded.
        MachineError: The process that decodes cannot be started.
    """
    if file.tile is None:
        return _picture(file)
    row, column, *_ = file.tile
    n_rows, n_columns = (_whole(file, key) for key in ("Rows", "Columns"))
    return _pictures.of(file)[row : row + n_rows, column : column + n_columns]


def n_zeros_after(file: Frame) -> int:
    """How many bytes, zeros all, follow uncompressed pixels without belonging to one; an even number's last is none.

    Raises:
        InputError: The file has no pixels.
    """
    layout, source = layout_of(file), _source(file)
    with _in_words(file), source.opened(0) as opened:
        length = pixel_element(opened, source).length
    expected = -(-layout.n_bits * source.n_frames // 8)
    return 0 if length is None else max(0, length - expected - expected % 2)


def stored_frames(file: Frame, n_frames: int) -> Iterator[NDArray[Any]]:
    """The images in a file as `find` gives it, one after the other in its order; uint8 where they are bits.

    Raises:
        InputError: As `stored_values`.
    """
    layout, source = layout_of(file), replace(_source(file), n_frames=n_frames)
    with ExitStack() as stack:
        stack.callback(forget)
        with _in_words(file):
            opened = stack.enter_context(source.opened(_most_bytes(layout, source)))
            element = pixel_element(opened, source)
        for index in range(n_frames):
            with _in_words(file):
                raw = _raw(file, layout, opened, source, element, index)
            yield _one_channel(file, layout, raw)


class _Pictures:
    """Pictures that tiles are cut from: the last one is kept, since its tiles come one after the other."""

    def __init__(self) -> None:
        self._last: tuple[object, NDArray[Any]] | None = None

    def of(self, file: Frame) -> NDArray[Any]:
        source = _source(file)
        key = source, source.stamp()
        if self._last is None or self._last[0] != key:
            self._last = key, _picture(file)
        return self._last[1]


_pictures = _Pictures()


def _whole(file: Frame, keyword: str) -> int:
    value = numbers(file.header, keyword)
    if value is None or not value[0].is_integer():
        raise InputError(f"{file.path} does not say how its pixels are stored ({keyword}).")
    return int(value[0])


def _picture(file: Frame) -> NDArray[Any]:
    layout, source = layout_of(file), _source(file)
    index = (file.index or 0) if file.tile is None else 0
    with _in_words(file), source.opened(_most_bytes(layout, source)) as opened:
        raw = _raw(file, layout, opened, source, pixel_element(opened, source), index)
    return _one_channel(file, layout, raw)


@contextmanager
def _in_words(file: Frame) -> Iterator[None]:
    """What goes wrong while pixels are read, as sentences about the file."""
    try:
        with quietly():
            yield
    except CutOff as error:
        raise InputError(f"{file.path} is cut off: {error}. Copy it again.") from error
    except Misplaced as error:
        raise InputError(f"{file.path} {error}. It is cut off or damaged; copy it again.") from error
    except DAMAGE as error:
        raise InputError(f"{file.path} is cut off or damaged. Copy it again.") from error


def _most_bytes(layout: Layout, source: Source) -> int:
    return layout.n_bits * source.n_frames // 8 + 2


def _source(file: Frame) -> Source:
    if file.pixels_at is None:
        raise InputError(f"{file.path} has no pixels. It is cut off or damaged; copy it again.")
    meta = getattr(file.header, "file_meta", None)
    syntax = "" if meta is None else text(meta, "TransferSyntaxUID")
    n_frames = 1 if file.tile is not None else file.n_frames
    if file.index is None and file.tile is None:
        n_frames = max(1, int((numbers(file.header, "NumberOfFrames") or (1.0,))[0]))
    return Source(file.path, file.pixels_at, syntax, n_frames)


def _raw(
    file: Frame, layout: Layout, opened: BinaryIO, source: Source, element: PixelElement, index: int
) -> NDArray[Any]:
    """Stored values by the header's bits: (rows, columns), with colours (rows, columns, 3)."""
    if element.keyword != "PixelData":
        raise InputError(
            f"{file.path} holds floating-point pixels ({element.keyword}), a parametric map; it is no image."
        )
    if source.syntax in _NATIVE:
        if element.length is None:
            raise Misplaced("says that its pixels are not compressed, and holds fragments of a compressed stream")
        return _kept_bits(_native(layout, opened, source, element, index), layout)
    name = _name(source.syntax)
    if source.syntax != _DEFLATED_FRAMES and not is_decodable(source.syntax):
        raise InputError(f"{file.path} is compressed with {name}, which medseg cannot decode. Export it uncompressed.")
    if element.length is not None:
        raise Misplaced(f"says that it is compressed with {name}, and its pixels are not")
    stream = frame_stream(opened, source, element, index, _extended_offsets(file))
    if source.syntax == _DEFLATED_FRAMES:
        return _kept_bits(_inflated(layout, stream), layout)
    if layout.bits_allocated == 1 and source.syntax == _RLE:
        return _unpacked(_run_lengths_of_bits(file, layout, stream), 0, layout)
    return _checked(file, layout, _decoded(file, layout, source.syntax, stream))


# Uncompressed.


def _native(layout: Layout, file: BinaryIO, source: Source, element: PixelElement, index: int) -> NDArray[Any]:
    _check_length(layout, file, source, element)
    _check_rest(layout, file, source, element)
    if layout.bits_allocated == 1:
        first = index * layout.n_values
        start = first // 16 * 2  # bytes in big-endian words come in pairs
        packed = _bytes_of(file, element, start, -(-(first + layout.n_values) // 16) * 2 - start)
        return _unpacked(packed, first - 8 * start, layout)
    n_bytes = layout.n_bits // 8
    start = index * n_bytes
    if layout.bits_allocated == 8:
        even = start // 2 * 2
        values = _bytes_of(file, element, even, n_bytes + start - even)[start - even :]
        return _shaped(values[:n_bytes].view(layout.dtype), layout)
    values = np.empty(n_bytes * 8 // layout.bits_allocated, layout.dtype)
    file.seek(element.value_at + start)
    if cast("BufferedReader", file).readinto(values.view(np.uint8).data) != n_bytes:
        raise CutOff(0, n_bytes)
    if element.is_little != (np.little_endian):
        values.byteswap(inplace=True)
    return _shaped(values, layout)


def _check_length(layout: Layout, file: BinaryIO, source: Source, element: PixelElement) -> None:
    expected = -(-layout.n_bits * source.n_frames // 8)
    there = file.seek(0, os.SEEK_END) - element.value_at
    found = min(element.length or 0, there)
    if found < expected:
        raise CutOff(found, expected)


def _check_rest(layout: Layout, file: BinaryIO, source: Source, element: PixelElement) -> None:
    """After the pixels zeros may come and nothing else: otherwise the header tells the wrong size."""
    expected = -(-layout.n_bits * source.n_frames // 8)
    n_rest = (element.length or 0) - expected
    if n_rest <= 1:
        return
    file.seek(element.value_at + expected)
    if n_rest >= expected or any(file.read(n_rest)):
        raise Misplaced(
            f"holds {element.length} bytes of pixels where {expected} were expected: its Rows, Columns, BitsAllocated "
            "or NumberOfFrames is wrong"
        )


def _bytes_of(file: BinaryIO, element: PixelElement, start: int, n_bytes: int) -> NDArray[np.uint8]:
    """Bytes from an even place on; in big-endian words they come in pairs the other way round."""
    is_swapped = not element.is_little and element.vr == "OW"
    file.seek(element.value_at + start)
    content = np.frombuffer(file.read(n_bytes + n_bytes % 2 if is_swapped else n_bytes), np.uint8)
    if not is_swapped:
        return content.copy()
    even = content[: content.size // 2 * 2]
    return np.concatenate([even.reshape(-1, 2)[:, ::-1].reshape(-1), content[even.size :]])


def _unpacked(packed: NDArray[np.uint8], first: int, layout: Layout) -> NDArray[Any]:
    """Bits, the lowest of a byte first, from bit `first` on."""
    bits = np.unpackbits(packed, bitorder="little")[first : first + layout.n_values]
    return bits.reshape(layout.rows, layout.columns)


def _shaped(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    rows, columns = layout.rows, layout.columns
    if layout.samples == 1:
        return values.reshape(rows, columns)
    if layout.photometric == "YBR_FULL_422":
        # Y1 Y2 Cb Cr: no grey unless both colours are neutral; the pixels themselves need no conversion then.
        pairs = values.reshape(-1, 4)
        return np.stack([pairs[:, :2], pairs[:, 2:3].repeat(2, 1), pairs[:, 3:].repeat(2, 1)], -1).reshape(
            rows, columns, 3
        )
    if layout.planar == 1:
        return np.moveaxis(values.reshape(3, rows, columns), 0, -1)
    return values.reshape(rows, columns, 3)


def _kept_bits(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Only the stored bits, in place; the highest is the sign if there is one."""
    unused = layout.bits_allocated - layout.bits_stored
    if unused and layout.is_signed:
        np.left_shift(values, unused, out=values)
        np.right_shift(values, unused, out=values)
    elif unused:
        np.bitwise_and(values, values.dtype.type((1 << layout.bits_stored) - 1), out=values)
    return values


# Compressed.


def _extended_offsets(file: Frame) -> tuple[int, ...]:
    table = file.header.get("ExtendedOffsetTable")
    if not isinstance(table, bytes):
        return ()
    return tuple(np.frombuffer(table[: len(table) // 8 * 8], "<u8").tolist())


def _inflated(layout: Layout, stream: bytes) -> NDArray[Any]:
    """One deflated frame, in bounds: this one needs no other process."""
    expected = -(-layout.n_bits // 8)
    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, expected + 2)
    if len(content) < expected:
        raise CutOff(len(content), expected)
    if len(content) > expected + expected % 2:
        raise Misplaced(f"holds a deflated frame of more than the {expected} bytes that were expected")
    content = content[:expected]
    if layout.bits_allocated == 1:
        return _unpacked(np.frombuffer(content, np.uint8), 0, layout)
    values = np.frombuffer(content, layout.dtype.newbyteorder("<")).astype(layout.dtype)
    return _shaped(values, layout)


def _run_lengths_of_bits(file: Frame, layout: Layout, stream: bytes) -> NDArray[np.uint8]:
    """Packed bits whose bytes are run-length encoded, as one row of bytes."""
    row = replace(layout, rows=1, columns=-(-layout.n_values // 8), bits_allocated=8, bits_stored=8, is_signed=False)
    values: NDArray[np.uint8] = _decoded(file, row, _RLE, stream).astype(np.uint8)[0]
    return values


def _decoded(file: Frame, layout: Layout, syntax: str, stream: bytes) -> NDArray[Any]:
    bits = _check_stream(file, layout, syntax, stream)
    coded = Coded(
        syntax,
        layout.rows,
        layout.columns,
        layout.samples,
        max(layout.bits_allocated, 8 if bits <= 8 else 16),
        bits,
        layout.is_signed,
        layout.photometric or "MONOCHROME2",
        layout.planar,
    )
    try:
        return decoded(coded, stream)
    except DecodeError as error:
        if error.reason == "start":
            why = f" ({error.detail})" if error.detail else ""
            raise MachineError(
                f"{file.path} is compressed, and the process that decodes cannot be started{why}."
            ) from error
        raise InputError(_undecoded(file, coded, len(stream), error)) from error


def _check_stream(file: Frame, layout: Layout, syntax: str, stream: bytes) -> int:
    """Refuse what contradicts the header before a decoder sees it; returns the number of bits of a sample."""
    if layout.rows * layout.columns > _MOST_PIXELS:
        raise InputError(
            f"{file.path} says that it has {layout.columns} × {layout.rows} pixels in a compressed frame; "
            f"medseg decodes up to {_MOST_PIXELS}."
        )
    if syntax == _RLE:
        _check_runs(file, layout, stream)
        return layout.bits_stored
    head = head_of(stream)
    if head is None:
        raise InputError(f"{file.path} is damaged: it holds no stream of {_name(syntax)}. Copy it again.")
    if (head.rows or layout.rows, head.columns, head.samples) != (layout.rows, layout.columns, layout.samples):
        raise InputError(
            f"{file.path} is damaged: its header says {layout.columns} × {layout.rows} pixels of {layout.samples} "
            f"samples, its compressed stream {head.columns} × {head.rows} of {head.samples}. Copy it again."
        )
    if not has_end(stream):
        raise InputError(f"{file.path} is cut off: its compressed stream ({_name(syntax)}) has no end. Copy it again.")
    return head.bits if syntax in _DCT else layout.bits_stored


def _check_runs(file: Frame, layout: Layout, stream: bytes) -> None:
    runs = length_of_runs(stream)
    n_segments, n_bytes = layout.samples * layout.bits_allocated // 8, layout.rows * layout.columns
    if runs is None or runs[0] != n_segments or not n_bytes <= runs[1] <= n_bytes + 1:
        found = "nothing" if runs is None else f"{runs[0]} segments, the first of {runs[1]} bytes"
        raise InputError(
            f"{file.path} is damaged or cut off: its run-length encoded pixels are {found}; {n_segments} of {n_bytes} "
            "bytes were expected. Copy it again."
        )


def _undecoded(file: Frame, coded: Coded, n_stream: int, error: DecodeError) -> str:
    name, bounds = _name(coded.syntax), coded.bounds(n_stream)
    what = {
        "failed": f"is damaged: its pixels ({name}) cannot be decoded",
        "crashed": f"made the decoder of {name} crash ({error.detail or 'it ended'}); it is damaged",
        "time": f"kept the decoder of {name} busy for more than {bounds.time_s:.0f} s; it is damaged",
        "memory": f"made the decoder of {name} ask for more than {bounds.memory_bytes >> 20} MiB; it is damaged",
        "answer": f"is damaged: its pixels ({name}) decode to {error.detail} for {coded.rows} × {coded.columns}",
    }
    return f"{file.path} {what[error.reason]}. Copy it again."


def _checked(file: Frame, layout: Layout, values: NDArray[Any]) -> NDArray[Any]:
    """In the header's type, if the stored bits hold them: uncompressed pixels may have other things in the rest."""
    info = np.iinfo(np.dtype(f"{'i' if layout.is_signed else 'u'}8"))
    low, high = int(values.min()), int(values.max())
    unused = 64 - layout.bits_stored
    if layout.is_signed and low >= 0 and high >> layout.bits_stored == 0:
        # Signed values that the decoder took for unsigned ones.
        wide = values.astype(np.int64) << unused >> unused
        return wide.astype(layout.dtype)
    if low < info.min >> unused or high > info.max >> unused:
        raise InputError(
            f"{file.path} says that it stores {layout.bits_stored} bits, and its compressed pixels have values from "
            f"{low} to {high}. Copy or export it again."
        )
    return values.astype(layout.dtype)


def _one_channel(file: Frame, layout: Layout, values: NDArray[Any]) -> NDArray[Any]:
    """Grey pixels; of a picture in colour that holds greys only, one of three equal channels."""
    if layout.samples == 1:
        return values
    first, second, third = np.moveaxis(values, -1, 0)
    if layout.photometric.startswith("YBR_FULL") and _is_uncompressed(file):
        is_grey = bool(np.all(second == _NEUTRAL) and np.all(third == _NEUTRAL))
    else:
        is_grey = np.array_equal(first, second) and np.array_equal(first, third)
    if not is_grey:
        raise InputError(f"{file.path} is in colour ({layout.photometric}); medseg reads grey images from DICOM.")
    return np.ascontiguousarray(first)


def _is_uncompressed(file: Frame) -> bool:
    meta = getattr(file.header, "file_meta", None)
    return meta is None or text(meta, "TransferSyntaxUID") in (*_NATIVE, _DEFLATED_FRAMES)


def _name(syntax: str) -> str:
    return _NAMES.get(syntax) or UID(syntax).name
