"""A plain or gzip file as one stream of bytes that is read to its very end, so that damage cannot hide there.

Readers that stop at the last voxel never see that a file lost its last bytes or that its checksum is wrong, and some
return half an image without a word. Here the end of the gzip stream is always looked at (length and CRC).
The module knows nothing of images.
"""

import gzip
import zlib
from pathlib import Path
from types import TracebackType

__all__ = ["ByteStream", "packed_size"]

_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
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
        except (zlib.error, gzip.BadGzipFile) as error:
            self.damage = f"the compressed data are wrong ({error})"
            return b""
        self.position += len(piece)
        return piece


def packed_size(path: Path, start: int) -> tuple[int, str | None]:
    """How many bytes the gzip or zlib data from byte `start` on hold, and what is wrong with them (None: nothing)."""
    inflate = zlib.decompressobj(_EITHER_WBITS)
    n_bytes = 0
    with path.open("rb") as file:
        file.seek(start)
        while not inflate.eof:
            packed = inflate.unconsumed_tail or file.read(_CHUNK_BYTES)
            try:
                n_new = len(inflate.decompress(packed, _CHUNK_BYTES))
            except zlib.error as error:
                return n_bytes, f"the compressed data are wrong ({error})"
            n_bytes += n_new
            if not packed and not n_new:
                return n_bytes, "the compressed data end too early"
    return n_bytes, None
