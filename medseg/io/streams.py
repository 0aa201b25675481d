"""A plain or gzip file as one stream of bytes that is read to its very end, so that damage cannot hide there.

Readers that stop at the last voxel never see that a file lost its last bytes or that its checksum is wrong, and some
return half an image without a word. Here the end of the gzip stream is always looked at (length and CRC).
The module knows nothing of images.
"""

import bz2
import gzip
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

__all__ = ["ByteStream", "Unpacking"]

_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC, _BZIP2_MAGIC = b"\x1f\x8b", b"BZh"
_EITHER_WBITS = 47
"""zlib's sign for a gzip or zlib header, told apart by itself; it then checks length and checksum."""


class ByteStream:
    """The bytes of a file in order, inflated if they are gzip (by their first bytes, whatever the name).

    Attributes:
        position: How many bytes have come out so far.
        damage: Why no more bytes come, if the stream is broken; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        self.position = 0
        self.damage: str | None = None
        with path.open("rb") as file:
            self.is_gzip = file.read(2) == _GZIP_MAGIC
        self._file = gzip.GzipFile(path, "rb") if self.is_gzip else path.open("rb")

    def __enter__(self) -> "ByteStream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def read(self, n_bytes: int) -> bytes:
        """The next `n_bytes`; fewer only at the end of the stream or where it is damaged."""
        into = bytearray(n_bytes)
        return bytes(into[: self.readinto(memoryview(into))])

    def readinto(self, into: memoryview) -> int:
        """Fill `into` (a flat view of bytes); returns how many bytes there were."""
        filled = 0
        while filled < len(into) and (piece := self._next(min(_CHUNK_BYTES, len(into) - filled))):
            into[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def drain(self) -> int:
        """Read on to the end of the stream, checks included; returns how many bytes were still there."""
        before = self.position
        while self._next(_CHUNK_BYTES):
            pass
        return self.position - before

    def _next(self, most: int) -> bytes:
        """1…`most` bytes, or none at the end and behind damage."""
        if self.damage is not None:
            return b""
        try:
            piece = self._file.read1(most)
        except EOFError:
            self.damage = "the compressed data end too early"
            return b""
        except (zlib.error, gzip.BadGzipFile):
            self.damage = "the compressed data are wrong"
            return b""
        self.position += len(piece)
        return piece


class Unpacking:
    """The bytes of a file from a place on, unpacked piece by piece as they are iterated over, to the very end.

    Attributes:
        damage: Why no more bytes come, if the stream is broken; None while all is well.
    """

    def __init__(self, path: Path, start: int, method: str) -> None:
        """Open nothing yet; `method` is "raw", "gzip" (or zlib, told apart by itself) or "bzip2"."""
        self.damage: str | None = None
        self._path, self._start, self._method = path, start, method

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._start)
            if self._method == "raw":
                yield from iter(lambda: file.read(_CHUNK_BYTES), b"")
                return
            packed = file.read(_CHUNK_BYTES)
            while True:
                packed = yield from self._member(file, packed)
                # A stream may be followed by another one, as parallel packers write them; padding is none.
                packed = (packed + file.read(_CHUNK_BYTES)) if len(packed) < len(_BZIP2_MAGIC) else packed
                if self.damage is not None or not packed.startswith((_GZIP_MAGIC, _BZIP2_MAGIC)):
                    return

    def _member(self, file: BinaryIO, packed: bytes) -> Generator[bytes, None, bytes]:
        """Unpack one stream that begins with `packed`; returns what was read of what follows it."""
        inflate = bz2.BZ2Decompressor() if self._method == "bzip2" else _Inflate()
        while not inflate.eof:
            if inflate.needs_input and not packed:
                packed = file.read(_CHUNK_BYTES)
                if not packed:
                    self.damage = "the compressed data end too early"
                    return b""
            try:
                piece = inflate.decompress(packed, _CHUNK_BYTES)
            except (zlib.error, OSError):
                self.damage = "the compressed data are wrong"
                return b""
            packed = b""
            if piece:
                yield piece
        return inflate.unused_data


class _Inflate:
    """zlib's decompressor with the manners of bz2's: it keeps what it has not unpacked yet."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_EITHER_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, packed: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + packed, most)
