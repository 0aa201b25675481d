"""Pairs of .hdr and .img, NIfTI and Analyze, and what files make an image; nibabel is the oracle."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
import scipy.io
from hypothesis import given

from medseg import io
from medseg.core.errors import InputError
from medseg.io.parts import image_digest, parts
from tests.strategies import geometries

VOXELS = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 10], [0, 0, 0, 1]])


@given(geometries())
def test_a_nifti_pair_is_placed_as_its_single_file_is(tmp_path_factory, grid):
    folder = tmp_path_factory.mktemp("pair")
    array = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
    nib.save(nib.Nifti1Pair(array, grid.affine), folder / "a.img")
    nib.save(nib.Nifti1Image(array, grid.affine), folder / "b.nii")
    pair, single = io.read(folder / "a.hdr"), io.read(folder / "b.nii")
    np.testing.assert_array_equal(pair.array, single.array)
    assert pair.geometry == single.geometry
    assert pair.meta.placed
    assert io.read_geometry(folder / "a.hdr") == (single.geometry, 1)


def test_the_voxels_stand_for_their_header_and_may_be_packed(tmp_path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "a.img")
    first = io.read(tmp_path / "a.img")
    np.testing.assert_array_equal(first.array[0], VOXELS)
    packed = tmp_path / "a.img.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.img").read_bytes()))
    (tmp_path / "a.img").unlink()
    np.testing.assert_array_equal(io.read(packed).array[0], VOXELS)
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.hdr").array, VOXELS)


def test_a_header_without_voxels_and_voxels_without_header_are_named(tmp_path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "a.img")
    content = (tmp_path / "a.img").read_bytes()
    (tmp_path / "a.img").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"a\.img is damaged: the data end after 419 of 420 bytes"):
        io.read(tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    with pytest.raises(InputError, match=r"a\.hdr is the header of a pair, and its \.img is not there"):
        io.read(tmp_path / "a.hdr")
    (tmp_path / "b.img").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.img is the voxels of a pair whose \.hdr is not beside it"):
        io.read(tmp_path / "b.img")


def analyze(path, array=VOXELS, *, zooms=(1.5, 2, 3), origin=None, slope=0.0, mat=None, big=False):
    header = nib.spm2analyze.Spm2AnalyzeHeader(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_zooms(zooms)
    if origin is not None:
        header["origin"][:3] = origin
    header["scl_slope"] = slope
    path.with_suffix(".hdr").write_bytes(header.binaryblock)
    path.with_suffix(".img").write_bytes(array.astype(header.get_data_dtype()).tobytes(order="F"))
    if mat is not None:
        scipy.io.savemat(path.with_suffix(".mat"), mat)
    return path.with_suffix(".hdr")


@pytest.mark.parametrize("big", [False, True])
def test_an_analyze_pair_has_the_voxels_and_spacing_of_its_header_and_no_place(tmp_path, big):
    image = io.read(analyze(tmp_path / "a", big=big))
    np.testing.assert_array_equal(image.array[0], VOXELS)
    np.testing.assert_allclose(image.geometry.spacing_mm, (1.5, 2, 3))
    assert not image.meta.placed
    assert "neither where an image lies nor which side is left" in image.meta.warnings[0]


def test_a_slope_of_spm_is_applied(tmp_path):
    image = io.read(analyze(tmp_path / "a", slope=0.5))
    np.testing.assert_allclose(image.array[0], VOXELS * 0.5)


TO_ONE = np.eye(4)
TO_ONE[:3, 3] = -1


@pytest.mark.parametrize(
    "extra",
    [{"origin": (3, 2, 4)}, {"mat": {"mat": AFFINE @ TO_ONE}}, {"mat": {"M": AFFINE @ TO_ONE}, "origin": (1, 1, 1)}],
)
def test_an_origin_or_a_matrix_of_spm_places_an_analyze_pair_as_nibabel_does(tmp_path, extra):
    path = analyze(tmp_path / "a", **extra)
    image = io.read(path)
    np.testing.assert_allclose(image.geometry.affine, nib.load(path).affine, atol=1e-5)
    assert image.meta.placed


def test_a_matrix_that_is_none_is_refused_by_name(tmp_path):
    path = analyze(tmp_path / "a")
    path.with_suffix(".mat").write_bytes(b"no matrix")
    with pytest.raises(InputError, match=r"a\.mat holds no matrix that says where a\.hdr lies"):
        io.read(path)


def test_a_mask_of_a_pair_is_one_file_at_the_same_place(tmp_path):
    image = io.read(analyze(tmp_path / "a", origin=(3, 2, 4)))
    assert io.suffix_for(image.meta.kind) == ".nii.gz"
    io.write(image, tmp_path / "b.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii.gz").affine, image.geometry.affine, atol=1e-5)


def test_what_makes_an_image_is_all_of_its_files(tmp_path):
    path = analyze(tmp_path / "a", mat={"mat": AFFINE})
    assert [each.name for each in parts(path)] == ["a.hdr", "a.img", "a.mat"]
    assert parts(tmp_path / "a.img") == parts(path)
    (tmp_path / "c.raw").write_bytes(bytes(8))
    (tmp_path / "c.mhd").write_text("NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = c.raw\n")
    assert [each.name for each in parts(tmp_path / "c.mhd")] == ["c.mhd", "c.raw"]
    (tmp_path / "d.nii").write_bytes(b"1")
    assert parts(tmp_path / "d.nii") == (tmp_path / "d.nii",)
    (tmp_path / "e.nhdr").write_bytes(b"NRRD0004\nnonsense")
    assert parts(tmp_path / "e.nhdr") == (tmp_path / "e.nhdr",)


@pytest.mark.parametrize("name", ["a.hdr", "c.mhd", "d.nhdr"])
def test_other_voxels_under_the_same_header_are_another_image(tmp_path, name):
    """The headers of two patients' scans may be equal; their voxels are not."""
    analyze(tmp_path / "a")
    (tmp_path / "v.raw").write_bytes(bytes(8))
    (tmp_path / "c.mhd").write_text("NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = v.raw\n")
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: v.raw\n"
    (tmp_path / "d.nhdr").write_text(header)
    before = image_digest(tmp_path / name)
    assert before == image_digest(tmp_path / name)
    (tmp_path / "a.img").write_bytes(VOXELS[::-1].tobytes(order="F"))
    (tmp_path / "v.raw").write_bytes(bytes(7) + b"1")
    assert image_digest(tmp_path / name) != before


@given(geometries())
def test_an_mgh_file_is_placed_as_nibabel_does(tmp_path_factory, grid):
    if not grid.is_orthogonal:
        return  # MGH has cosines and sizes, and no shear
    path = tmp_path_factory.mktemp("mgh") / "a.mgz"
    array = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nib.save(nib.MGHImage(array, grid.affine), path)
    image = io.read(path)
    np.testing.assert_array_equal(image.array[0], array)
    np.testing.assert_allclose(image.geometry.affine, nib.load(path).affine, atol=1e-3)
    assert image.meta.placed
    assert io.read_geometry(path) == (image.geometry, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("suffix", [".mgh", ".mgz", ".MGZ"])
def test_labels_and_images_of_an_mgh_file_keep_their_numbers(tmp_path, dtype, suffix):
    path = tmp_path / f"a{suffix}"
    nib.save(nib.MGHImage((VOXELS % 200).astype(dtype), AFFINE), tmp_path / f"a{suffix.lower()}")
    (tmp_path / f"a{suffix.lower()}").rename(path)
    np.testing.assert_array_equal(io.read_labels(path).array, VOXELS % 200)
    image = io.read(path)
    assert image.array.dtype == dtype
    np.testing.assert_allclose(image.geometry.affine, AFFINE, atol=1e-5)


def test_frames_of_an_mgh_file_ask_what_they_are(tmp_path):
    array = np.arange(2 * 210, dtype=np.int16).reshape(5, 6, 7, 2)
    nib.save(nib.MGHImage(array, AFFINE), tmp_path / "a.mgz")
    with pytest.raises(InputError, match="has 2 volumes; say --read channels=last"):
        io.read_geometry(tmp_path / "a.mgz")
    with pytest.raises(InputError, match="has 2 volumes; say --read channels=last"):
        io.read(tmp_path / "a.mgz")
    both = io.read(tmp_path / "a.mgz", io.ReadOptions(channels="last"))
    np.testing.assert_array_equal(both.array, np.moveaxis(array, -1, 0))
    second = io.read(tmp_path / "a.mgz", io.ReadOptions(volume=1))
    np.testing.assert_array_equal(second.array[0], array[..., 1])


@pytest.mark.parametrize("n_kept", [0, 100, 284, 300, 703])
def test_a_cut_mgh_file_is_refused(tmp_path, n_kept):
    nib.save(nib.MGHImage(VOXELS, AFFINE), tmp_path / "a.mgh")
    content = (tmp_path / "a.mgh").read_bytes()
    for name, cut in (("b.mgh", content[:n_kept]), ("b.mgz", gzip.compress(content)[: n_kept // 2])):
        (tmp_path / name).write_bytes(cut)
        with pytest.raises(InputError, match=rf"{name.replace('.', '.')} is (damaged|empty)"):
            io.read(tmp_path / name)


def test_what_is_no_mgh_file_is_refused(tmp_path):
    (tmp_path / "a.mgh").write_bytes(bytes(400))
    with pytest.raises(InputError, match="is not an MGH file"):
        io.read(tmp_path / "a.mgh")
