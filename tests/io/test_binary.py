"""Room for voxels is asked for by what headers promise, and refused by name where the machine has not so much."""

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.io.binary import empty_bytes, refuse_more_than_free


def nifti(path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((30_000, 30_000, 2_000))
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(1000))


def mgz(path):
    nib.save(nib.MGHImage(np.zeros((2, 2, 2), np.uint8), np.eye(4)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[4:16] = np.array((30_000, 30_000, 2_000), ">i4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def nrrd(path):
    text = "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 30000 30000 2000\n"
    text += "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: gzip\n\n"
    path.write_bytes(text.encode() + gzip.compress(bytes(1000)))


def mha(path):
    text = "ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 2000\nElementType = MET_UCHAR\nCompressedData = True\n"
    path.write_bytes(text.encode() + b"ElementDataFile = LOCAL\n" + zlib.compress(bytes(1000)))


TOO_MUCH = r"promises 1\.64 TiB of voxels, more than this machine can hold"
TOO_LITTLE = "the compressed data end after 1000 of 1800000000000 bytes"
"""Text headers: what lies there is counted before anything is taken."""


@pytest.mark.parametrize(
    ("put", "name", "sentence"),
    [
        (nifti, "a.nii.gz", TOO_MUCH),
        (mgz, "a.mgz", TOO_MUCH),
        (nrrd, "a.nrrd", TOO_LITTLE),
        (mha, "a.mha", TOO_LITTLE),
    ],
    ids=["nifti", "mgz", "nrrd", "mha"],
)
@pytest.mark.parametrize("read", [io.read, io.read_labels])
def test_a_header_that_promises_more_than_there_is_is_refused_before_anything_is_taken(
    put, name, sentence, read, tmp_path
):
    put(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} .*{sentence}"):
        read(tmp_path / name)


def test_what_fits_is_no_matter(tmp_path):
    assert empty_bytes(10, tmp_path).size == 10
    refuse_more_than_free(2**26, tmp_path)
    with pytest.raises(InputError, match=r"promises 2 TiB of voxels.* are free\. Where the file itself is small"):
        refuse_more_than_free(2**41, tmp_path)
