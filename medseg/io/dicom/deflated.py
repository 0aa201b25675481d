"""Files whose whole data set is deflated: the header and a bounded part of the pixels, never more than is asked for.

A few kilobytes can inflate to gigabytes, so nothing here inflates a file to its end on trust.
"""

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

__all__ = ["deflated_header", "inflated", "is_deflated"]

_FIRST_GROUP_AT, _FIRST_GROUP_BYTES = 132, 1024
"""Where the first group begins, and what it takes at most up to the transfer syntax."""

_HEADER_SIZES = (1 << 20, 1 << 26)
"""How much is inflated in search of the pixels: what usually suffices, and what no honest header exceeds."""

_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def is_deflated(file: BinaryIO) -> bool:
    """Whether an opened file says so in its first group; it stands at its beginning before and after."""
    start = file.read(_FIRST_GROUP_BYTES)
    file.seek(0)
    return DeflatedExplicitVRLittleEndian.encode() in start


def deflated_header(file: BinaryIO) -> tuple[Dataset, int | None]:
    """The header, and where in the inflated data set the pixel element begins (None: it has none).

    Raises:
        ValueError: It is no deflated file, or too large for a header.
        zlib.error: The deflated data are damaged at their beginning.
    """
    start, content = _parts(file)
    meta = dcmread(BytesIO(start), force=True).file_meta
    for n_bytes in _HEADER_SIZES:
        data = _inflated(content, n_bytes)
        buffer = BytesIO(data)
        dataset = read_dataset(buffer, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixels)
        at = buffer.tell()
        has_pixels = data[at : at + 2] == b"\xe0\x7f"
        if has_pixels or len(data) < n_bytes:
            header = FileDataset(BytesIO(), dataset, file_meta=meta, is_implicit_VR=False, is_little_endian=True)
            return header, at if has_pixels else None
    raise ValueError(f"more than {_HEADER_SIZES[-1]} bytes before the pixels")


def inflated(file: BinaryIO, n_bytes: int) -> bytes:
    """The first `n_bytes` of the inflated data set; fewer where it ends before.

    Raises:
        ValueError: The file does not say where its data set begins.
        zlib.error: The deflated data are damaged.
    """
    return _inflated(_parts(file)[1], n_bytes)


def _inflated(content: bytes, n_bytes: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, n_bytes)


def _parts(file: BinaryIO) -> tuple[bytes, bytes]:
    """Everything up to the end of the first group, which is not deflated, and what comes after it."""
    content = file.read()
    tag, vr, _, n_meta = struct.unpack_from("<L2sHL", content, _FIRST_GROUP_AT)
    if tag != 0x00000002 or vr != b"UL":
        raise ValueError("the first group does not say how long it is")
    end = _FIRST_GROUP_AT + 12 + n_meta
    return content[:end], content[end:]


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in _PIXEL_TAGS
