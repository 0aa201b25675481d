"""Voxels in a stream of bytes behind a header: exactly as many as it promises, or a sentence that has both numbers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.memory import free_bytes, in_words
from medseg.io.streams import ByteStream

__all__ = ["empty_bytes", "refuse_more_than_free", "voxels_behind"]

_ASKED_FROM = 2**26
"""So many bytes are always there; asking the system takes longer than reading a small file."""


def voxels_behind(stream: ByteStream, start: int, n_bytes: int, path: Path) -> tuple[NDArray[np.uint8], int]:
    """The `n_bytes` from byte `start` on, and how many bytes follow them; the stream is read to its end.

    Raises:
        InputError: It ends too early, is damaged, or promises more than this machine can hold.
    """
    stream.read(max(0, start - stream.position))
    voxels = empty_bytes(n_bytes, path)
    if stream.readinto(voxels.data) < n_bytes:
        raise InputError(_cut_off(path, stream, start + n_bytes))
    n_behind = stream.drain()
    if stream.damage is not None:
        raise InputError(f"{path} is damaged: {stream.damage}, behind {stream.position} of {start + n_bytes} bytes.")
    return voxels, n_behind


def empty_bytes(n_bytes: int, path: Path) -> NDArray[np.uint8]:
    """Room for so many bytes.

    Raises:
        InputError: This machine has not so much.
    """
    refuse_more_than_free(n_bytes, path)
    try:
        return np.empty(n_bytes, np.uint8)
    except (MemoryError, ValueError) as error:
        raise InputError(f"{path} promises {in_words(n_bytes)} of voxels, more than this machine can hold.") from error


def refuse_more_than_free(n_bytes: int, path: Path) -> None:
    """Refuse voxels that would not fit, by what a header says: Linux grants any request and kills who fills it.

    Raises:
        InputError: Less memory is free.
    """
    free = free_bytes() if n_bytes >= _ASKED_FROM else None
    if free is not None and n_bytes > free:
        raise InputError(
            f"{path} promises {in_words(n_bytes)} of voxels, more than this machine can hold: {in_words(free)} are "
            "free. Where the file itself is small, its header is wrong."
        )


def _cut_off(path: Path, stream: ByteStream, expected: int) -> str:
    if stream.damage is not None and "wrong" in stream.damage:
        return f"{path} is damaged: {stream.damage} behind {stream.position} of {expected} bytes."
    data = "compressed data" if stream.is_gzip else "data"
    return f"{path} is damaged: the {data} end after {stream.position} of {expected} bytes. Copy it again."
