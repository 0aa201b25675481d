"""Byte streams: the end of a gzip file is looked at."""

import bz2
import gzip
import zlib

import numpy as np
import pytest

from medseg.io.streams import ByteStream, Unpacking

CONTENT = np.random.default_rng(0).integers(0, 4, 300_000, dtype=np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, 1)


def unpacked_size(path, start, method="gzip"):
    stream = Unpacking(path, start, method)
    return sum(map(len, stream)), stream.damage


def whole(path):
    with ByteStream(path) as stream:
        content = stream.read(len(CONTENT) + 10)
        stream.drain()
        return content, stream.position, stream.damage


@pytest.mark.parametrize("stored", [CONTENT, PACKED], ids=["plain", "gzip"])
def test_a_whole_file_is_its_content(tmp_path, stored):
    path = tmp_path / "a"
    path.write_bytes(stored)
    assert whole(path) == (CONTENT, len(CONTENT), None)


@pytest.mark.parametrize("cut", [1, 4, 8, 1000, 40_000])
def test_a_cut_gzip_file_is_damaged_even_in_its_last_byte(tmp_path, cut):
    path = tmp_path / "a"
    path.write_bytes(PACKED[:-cut])
    content, position, damage = whole(path)
    assert damage == "the compressed data end too early"
    assert CONTENT.startswith(content)
    assert position == len(content)


@pytest.mark.parametrize("where", [-1, -6, 5000])
def test_an_altered_byte_is_seen(tmp_path, where):
    packed = bytearray(PACKED)
    packed[where] ^= 0x40
    path = tmp_path / "a"
    path.write_bytes(packed)
    assert "wrong" in whole(path)[2]


def test_reading_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(PACKED)
    with ByteStream(path) as stream:
        assert stream.is_gzip
        assert stream.read(348) == CONTENT[:348]
        assert stream.read(0) == b""
        assert stream.read(200_000) == CONTENT[348:200_348]
        assert stream.drain() == len(CONTENT) - 200_348


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_the_size_of_packed_data_behind_a_header(tmp_path, pack):
    path = tmp_path / "a"
    packed = pack(CONTENT)
    path.write_bytes(b"header" + packed)
    assert unpacked_size(path, 6) == (len(CONTENT), None)
    path.write_bytes(b"header" + packed[:-1])
    assert unpacked_size(path, 6) == (len(CONTENT), "the compressed data end too early")
    path.write_bytes(b"header" + packed[:-1] + bytes([packed[-1] ^ 1]))
    assert "wrong" in unpacked_size(path, 6)[1]


def test_streams_that_follow_one_another_are_one_and_padding_is_none(tmp_path):
    """Parallel packers write a gzip stream a block; block devices pad with zeros."""
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]) + bytes(100))
    assert b"".join(Unpacking(path, 0, "gzip")) == CONTENT
    path.write_bytes(bz2.compress(CONTENT[:1000]) + bz2.compress(CONTENT[1000:]))
    assert b"".join(Unpacking(path, 0, "bzip2")) == CONTENT
    path.write_bytes(bz2.compress(CONTENT)[:-1])
    assert unpacked_size(path, 0, "bzip2")[1] == "the compressed data end too early"


def test_a_stream_unpacks_piece_by_piece(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(bytes(50_000_000), 9))
    assert max(map(len, Unpacking(path, 0, "gzip"))) <= 1 << 20
