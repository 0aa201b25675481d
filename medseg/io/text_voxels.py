"""The voxels of MetaImage and NRRD files: unpacked, and of the very length that their header says.

Too many bytes are as wrong as too few: a forgotten `byte skip` or `HeaderSize`, or a wrong type, moves every voxel.
Packed streams are read to their end, checksum included. ITK's own
reader leaves the last file of a list empty without a word where the list lacks a last line break. The module knows no
world and no meaning of axes.
"""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.io.binary import empty_bytes
from medseg.io.streams import Unpacking
from medseg.io.text_headers import TextHeader

__all__ = ["check_voxels", "voxels"]

_LARGEST_GZIP_RATIO = 1100
"""Deflate makes at most 1032 bytes of one."""


def check_voxels(header: TextHeader, path: Path) -> None:
    """Look at the voxels' bytes to the end of the stream, keeping none.

    Raises:
        InputError: There are fewer or more than the header promises, or the compressed stream is damaged.
    """
    if header.packing == "text":
        _check_words(header, len(_words(header)), path)
        return
    expected = header.n_bytes
    if expected is None or header.packing == "hex":
        return
    if header.packing == "raw":
        _check_count(header, _raw_size(header), path)
        return
    found, damage = 0, None
    for stream in _streams(header):
        for piece in stream:
            found += len(piece)
        damage = damage or stream.damage
    _check_count(header, found - header.bytes_skipped * len(header.data_paths), path, damage)


def voxels(header: TextHeader, dtype: np.dtype[Any], shape: Sequence[int], path: Path) -> NDArray[Any]:
    """The array as it is stored, its first axis the fastest, in this machine's order of bytes.

    Args:
        header: Whose voxels they are.
        dtype: Of a number, with the file's order of bytes.
        shape: Of the array, channels included.
        path: For sentences.

    Raises:
        InputError: As `check_voxels`; also if there are more than this machine can hold.
    """
    native = dtype.newbyteorder("=")
    if header.packing == "text":
        words = _words(header)
        _check_words(header, len(words), path)
        try:
            flat = np.array(words, np.float64 if dtype.kind == "f" else np.int64).astype(native)
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path} is damaged: one of its {len(words)} voxels is no number.") from error
    else:
        flat = _bytes(header, path).view(dtype).astype(native, copy=False)
    return flat.reshape(tuple(shape), order="F")


def _bytes(header: TextHeader, path: Path) -> NDArray[np.uint8]:
    """The unpacked bytes of the voxels, as many as the header promises."""
    expected = header.n_bytes
    if expected is None:
        raise InputError(f"{path} holds numbers of an unknown type ({header.fields.get('type', 'none')}).")
    if header.packing == "raw":
        _check_count(header, _raw_size(header), path)
    elif expected > _LARGEST_GZIP_RATIO * _packed_size(header):
        check_voxels(header, path)  # so many bytes do not come of so few: say which is wrong, and take no memory
    if header.packing == "hex":
        return _of_hex(header, path)
    found = empty_bytes(expected, path)
    filled, damage, excess = 0, None, 0
    for stream in _streams(header):
        skip = 0 if header.packing == "raw" else header.bytes_skipped
        for piece in stream:
            rest = memoryview(piece)[min(skip, len(piece)) :]
            skip -= min(skip, len(piece))
            kept = rest[: expected - filled]
            found[filled : filled + len(kept)] = np.frombuffer(kept, np.uint8)
            filled += len(kept)
            excess += len(rest) - len(kept)
        damage = damage or stream.damage
    _check_count(header, filled + excess, path, damage)
    return found


def _words(header: TextHeader) -> list[bytes]:
    content = b" ".join(b"".join(stream) for stream in _streams(header))
    return content[header.bytes_skipped :].replace(b",", b" ").split()


def _check_words(header: TextHeader, found: int, path: Path) -> None:
    expected = prod(header.sizes) * int(header.fields.get("elementnumberofchannels", 1))
    if found != expected:
        raise InputError(f"{path} is damaged: it holds {found} numbers, and its header says {expected}.")


def _of_hex(header: TextHeader, path: Path) -> NDArray[np.uint8]:
    content = b"".join(b"".join(stream) for stream in _streams(header))
    try:
        found = np.frombuffer(bytes.fromhex("".join(content.decode("ascii").split())), np.uint8)
    except ValueError as error:
        raise InputError(f"{path} is damaged: its voxels are no hexadecimal digits. Copy it again.") from error
    _check_count(header, found.size, path)
    return found


def _streams(header: TextHeader) -> Iterator[Unpacking]:
    """The bytes of each data file, from where its voxels begin (but for `bytes_skipped` of packed ones)."""
    method = {"gzip": "gzip", "bzip2": "bzip2"}.get(header.packing, "raw")
    for data_path in header.data_paths:
        yield Unpacking(data_path, _begin(header, data_path), method)


def _begin(header: TextHeader, data_path: Path) -> int:
    """Where the voxels of a data file begin; where its packed stream does, if it is packed."""
    if header.data_start is None:
        return max(0, data_path.stat().st_size - (header.n_bytes or 0))
    start = header.data_start
    if header.lines_skipped:
        with data_path.open("rb") as file:
            file.seek(start)
            for _ in range(header.lines_skipped):
                file.readline()
            start = file.tell()
    return start + (header.bytes_skipped if header.packing == "raw" else 0)


def _raw_size(header: TextHeader) -> int:
    """How many bytes of voxels raw files hold."""
    return sum(max(0, path.stat().st_size - _begin(header, path)) for path in header.data_paths)


def _packed_size(header: TextHeader) -> int:
    return sum(path.stat().st_size for path in header.data_paths)


def _check_count(header: TextHeader, found: int, path: Path, damage: str | None = None) -> None:
    """Refuse voxels that are not as many bytes as the header says.

    Raises:
        InputError: They are fewer or more, or the stream is damaged.
    """
    expected = header.n_bytes or 0
    data = "data" if header.packing in ("raw", "hex") else "compressed data"
    if damage is not None and "wrong" in damage:
        raise InputError(f"{path} is damaged: {damage} behind {found} of {expected} bytes. Copy it again.")
    if damage is not None or found < expected:
        raise InputError(f"{path} is damaged: the {data} end after {max(0, found)} of {expected} bytes. Copy it again.")
    if found > expected:
        skip = "HeaderSize" if header.is_meta_image else "byte skip"
        raise InputError(
            f"{path}: the {data} are {found - expected} bytes longer than the {expected} of its header, so every voxel "
            f"may be in the wrong place. Is '{skip}' missing, or a size or the type of the numbers wrong?"
        )
