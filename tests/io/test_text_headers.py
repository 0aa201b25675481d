"""Headers as people write them by hand, voxels in several places, and sizes that must be exact in both directions."""

import bz2
import gzip
from contextlib import suppress

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError

VOXELS = np.arange(5 * 6 * 7, dtype="<i2")
FIRST = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
SECOND = (
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 1 2 3\nDimSize = 5 6 7\n"
    "ElementType = MET_SHORT\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 7\nendian: little\nspace: right-anterior-superior\n"
    "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)\n"
)


@pytest.fixture
def data(tmp_path):
    """A folder for headers with its voxels in a file, in slices, and in a folder beside it."""
    home = tmp_path / "set" / "headers"
    home.mkdir(parents=True)
    (tmp_path / "set" / "voxels").mkdir()
    for where in (home, home.parent / "voxels"):
        (where / "a.raw").write_bytes(VOXELS.tobytes())
    for k in range(7):
        (home / f"s{k:02d}.raw").write_bytes(VOXELS[30 * k : 30 * (k + 1)].tobytes())
    return home


def read(path, text, behind=b""):
    path.write_bytes(text.encode() + behind)
    return io.read(path)


SLICES = "".join(f"s{k:02d}.raw\n" for k in range(7))


@pytest.mark.parametrize(
    "text",
    [
        FIRST + SECOND + "ElementDataFile = a.raw",
        "# by hand\n" + FIRST + "\n\n" + SECOND + "ElementDataFile = a.raw\n",
        (FIRST + SECOND + "ElementDataFile = a.raw\n").replace(" =", ":"),
        (FIRST + SECOND + "ElementDataFile = a.raw\n").replace("\n", "\r\n"),
        FIRST + SECOND + "ElementDataFile = ../voxels/a.raw\n",
        FIRST + SECOND + "ElementDataFile = LIST\n" + SLICES,
        FIRST + SECOND + "ElementDataFile = LIST 2D\n" + SLICES.rstrip("\n"),
        FIRST + SECOND + "ElementDataFile = s%02d.raw 0 6 1\n",
        FIRST + "HeaderSize = -1\n" + SECOND + "ElementDataFile = a.raw\n",
    ],
)
def test_a_metaimage_header_is_read_as_itk_reads_it(data, text):
    image = read(data / "a.mhd", text)
    np.testing.assert_array_equal(image.array[0].ravel("F"), VOXELS)
    np.testing.assert_allclose(image.geometry.affine, np.diag([-1, -2, 3, 1]) + _moved(-1, -2, 3))
    assert io.read_geometry(data / "a.mhd") == (image.geometry, 1)


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        (NRRD + "encoding: raw\ndata file: a.raw", b""),
        (NRRD + "# by hand\nencoding: raw\ndatafile: ../voxels/a.raw\n", b""),
        (NRRD + "encoding: raw\ndata file: LIST\n" + SLICES, b""),
        (NRRD + "encoding: raw\ndata file: LIST 2\n" + SLICES.rstrip("\n"), b""),
        (NRRD + "encoding: raw\ndata file: s%02d.raw 0 6 1\n", b""),
        (NRRD + "encoding: raw\ndata file: s%02d.raw 0 6\n", b""),
        (NRRD + "encoding: raw\nbyte skip: -1\ndata file: a.raw\n", b""),
        ((NRRD + "encoding: raw\n\n").replace("\n", "\r\n"), VOXELS.tobytes()),
        (NRRD + "encoding: bzip2\n\n", bz2.compress(VOXELS.tobytes())),
        (NRRD + "encoding: gz\n\n", gzip.compress(VOXELS[:99].tobytes()) + gzip.compress(VOXELS[99:].tobytes())),
        (NRRD + "encoding: gzip\nbyte skip: 3\n\n", gzip.compress(b"xyz" + VOXELS.tobytes())),
        (NRRD + "encoding: raw\nline skip: 2\nbyte skip: 1\n\n", b"one\ntwo\nx" + VOXELS.tobytes()),
        (NRRD + "encoding: ascii\n\n", " ".join(map(str, VOXELS)).encode() + b"\n"),
        (NRRD + "encoding: hex\n\n", VOXELS.tobytes().hex().encode() + b"\n"),
        (NRRD.replace("little", "big") + "encoding: raw\n\n", VOXELS.astype(">i2").tobytes()),
    ],
)
def test_an_nrrd_header_is_read_by_the_definition_of_its_format(data, text, behind):
    image = read(data / "a.nhdr", text, behind)
    np.testing.assert_array_equal(image.array[0].ravel("F"), VOXELS)
    np.testing.assert_allclose(image.geometry.affine, np.diag([1, 2, 3, 1]) + _moved(1, 2, 3))
    assert image.array.dtype == np.int16
    assert io.read_geometry(data / "a.nhdr") == (image.geometry, 1)


def _moved(*by):
    affine = np.zeros((4, 4))
    affine[:3, 3] = by
    return affine


@pytest.mark.parametrize("n_extra", [1, 2, 352])
@pytest.mark.parametrize(
    ("name", "text", "pack", "word"),
    [
        ("a.mhd", FIRST + SECOND + "ElementDataFile = b.raw\n", bytes, "HeaderSize"),
        (
            "a.mhd",
            FIRST + "CompressedData = True\n" + SECOND + "ElementDataFile = b.raw\n",
            gzip.compress,
            "HeaderSize",
        ),
        ("a.nhdr", NRRD + "encoding: raw\ndata file: b.raw\n", bytes, "byte skip"),
        ("a.nhdr", NRRD + "encoding: gzip\ndata file: b.raw\n", gzip.compress, "byte skip"),
        ("a.nhdr", NRRD + "encoding: bzip2\ndata file: b.raw\n", bz2.compress, "byte skip"),
        ("a.nhdr", NRRD + "encoding: hex\ndata file: b.raw\n", lambda voxels: voxels.hex().encode(), "byte skip"),
    ],
)
def test_more_bytes_than_the_header_says_are_as_wrong_as_fewer(data, name, text, pack, word, n_extra):
    (data / "b.raw").write_bytes(pack(bytes(n_extra) + VOXELS.tobytes()))
    with pytest.raises(InputError, match=rf"are {n_extra} bytes longer than the 420 of its header.*'{word}' missing"):
        read(data / name, text)
    (data / "b.raw").write_bytes(pack(VOXELS.tobytes()[n_extra:]))
    with pytest.raises(InputError, match=rf"end after {420 - n_extra} of 420 bytes"):
        read(data / name, text)


def test_a_skip_that_is_said_is_honoured(data):
    (data / "b.raw").write_bytes(bytes(352) + VOXELS.tobytes())
    first = read(data / "a.mhd", FIRST + "HeaderSize = 352\n" + SECOND + "ElementDataFile = b.raw\n")
    second = read(data / "a.nhdr", NRRD + "encoding: raw\nbyte skip: 352\ndata file: b.raw\n")
    np.testing.assert_array_equal(first.array[0].ravel("F"), VOXELS)
    np.testing.assert_array_equal(second.array[0].ravel("F"), VOXELS)


@pytest.mark.parametrize("n", [209, 211])
def test_numbers_in_text_are_counted(data, n):
    words = " ".join(map(str, range(n))).encode()
    with pytest.raises(InputError, match=f"holds {n} numbers, and its header says 210"):
        read(data / "a.nrrd", NRRD + "encoding: ascii\n\n", words)
    text = FIRST.replace("BinaryData = True", "BinaryData = False") + SECOND + "ElementDataFile = LOCAL\n"
    with pytest.raises(InputError, match=f"holds {n} numbers, and its header says 210"):
        read(data / "a.mha", text, words)


@pytest.mark.parametrize("name", ["../secret.raw", "../../set.raw", "../voxels/passwd", "../voxels/../../set.raw"])
def test_a_header_leads_to_data_beside_it_and_nowhere_else(data, name):
    (data.parent / "secret.raw").write_bytes(VOXELS.tobytes())
    (data.parent.parent / "set.raw").write_bytes(VOXELS.tobytes())
    (data.parent / "voxels" / "passwd").write_bytes(VOXELS.tobytes())
    for kind, text in (
        ("mhd", FIRST + SECOND + f"ElementDataFile = {name}\n"),
        ("mhd", FIRST + SECOND + f"ElementDataFile = LIST\n{name}\n"),
        ("nhdr", NRRD + f"encoding: raw\ndata file: {name}\n"),
        ("nhdr", NRRD + f"encoding: raw\ndata file: LIST\n{name}\n"),
    ):
        with pytest.raises(InputError, match="from outside of its folder and of the folders beside it"):
            read(data / f"a.{kind}", text)


@pytest.mark.parametrize(
    "pattern", ["s%s.raw 0 6 1", "s%02d.raw", "s%02d.raw 0 6 0", "s%02d.raw 0 999999999 1", "LIST"]
)
def test_a_pattern_that_names_no_files_is_refused(data, pattern):
    for name, text in (
        ("a.mhd", FIRST + SECOND + f"ElementDataFile = {pattern}\n"),
        ("a.nhdr", NRRD + f"encoding: raw\ndata file: {pattern}\n"),
    ):
        with pytest.raises(InputError, match="has a damaged header"):
            read(data / name, text)


def test_names_of_fields_may_be_in_any_case(data):
    text = (FIRST + SECOND).lower() + "elementdatafile = a.raw\n"
    np.testing.assert_array_equal(read(data / "a.mhd", text).array[0].ravel("F"), VOXELS)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("NDims = 3", "NDims = 4", "NDims is 4, and DimSize has 3 lengths"),
        ("Offset = 1 2 3", "Offset = 1 2", "'offset' is '1 2', not 3 numbers"),
        ("ElementSpacing = 1 2 3", "ElementSpacing = 1 nan 3", "not 3 numbers"),
        ("ElementSpacing = 1 2 3", "ElementSpacing = 1 0 3", "do not span a space"),
        ("1 0 0 0 1 0 0 0 1", "2 0 0 0 1 0 0 0 1", "rows of transformmatrix are no directions"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 1 0 0 0 0 1", "do not span a space"),
        ("MET_SHORT", "MET_OTHER", "unknown type"),
        ("DimSize = 5 6 7", "DimSize = 5 6 99999999999999999", "end after 420 of"),
    ],
)
def test_a_damaged_metaimage_header_is_refused_by_field_and_prints_nothing(data, capfd, old, new, reason):
    text = FIRST + SECOND + "ElementDataFile = a.raw\n"
    assert old in text
    with pytest.raises(InputError, match=reason):
        read(data / "a.mhd", text.replace(old, new))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_no_damaged_byte_of_a_header_ends_in_anything_but_a_sentence(tmp_path, kind):
    """ITK's own parser of MetaImage ended the process ("corrupted size vs. prev_size") in this test."""
    text = (FIRST + SECOND + "ElementDataFile = LOCAL\n") if kind == "mha" else NRRD + "encoding: raw\n\n"
    content, rng = text.encode() + VOXELS.tobytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(0, len(text), rng.integers(1, 5)):
            damaged[place] = rng.choice(list(b"0123456789 -.,()\n:=e#%\0\xff"))
        (tmp_path / f"a.{kind}").write_bytes(damaged)
        with suppress(InputError):
            io.read(tmp_path / f"a.{kind}")
