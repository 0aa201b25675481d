"""NIfTI: geometry by its rules, whole streams, dimensions, and what a writer gives back, in every orientation."""

import contextlib
import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  as everybody calls it
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io import ReadOptions
from tests.strategies import geometries, label_arrays, label_maps

AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def save(path, array=ARRAY, sform=AFFINE, sform_code=1, qform=None, qform_code=0, **fields):
    """A NIfTI file as another program writes it."""
    image = nib.Nifti1Image(array, None)
    image.header.set_sform(sform, sform_code)
    if qform is not None:
        image.header.set_qform(qform, qform_code)
    for key, value in fields.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nifti")


@given(label_maps(values=(0, 1, 7, 300), dtype=np.uint16), st.sampled_from([".nii", ".nii.gz"]))
def test_a_label_map_comes_back_in_every_orientation_and_every_reader_agrees(folder, label_map, suffix):
    # Two names: asked for mask.nii.gz, ITK opens a mask.nii that lies beside it.
    path = folder / f"mask{len(suffix)}{suffix}"
    io.write(label_map, path)
    found = io.read_labels(path)
    np.testing.assert_array_equal(found.array, label_map.array)
    assert found.geometry.distance_mm(label_map.geometry) < 1e-3
    other = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(other.dataobj), label_map.array)
    np.testing.assert_allclose(other.affine, label_map.geometry.affine, atol=1e-4)
    image = sitk.ReadImage(str(path))
    last = [n - 1 for n in label_map.geometry.shape]
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(n) for n in last])
    np.testing.assert_allclose([-x, -y, z], label_map.geometry.to_world(last), atol=5e-3)
    assert image.GetPixel(last) == label_map.array[tuple(last)]


@given(geometries(sheared=True), st.sampled_from([np.uint8, np.int16, np.float32, np.float64]), st.integers(1, 3))
def test_an_image_comes_back_with_its_type_channels_and_even_a_sheared_grid(folder, grid, dtype, n_channels):
    array = np.random.default_rng(0).integers(0, 100, (n_channels, *grid.shape)).astype(dtype)
    io.write(Volume(array, grid), folder / "image.nii")
    found = io.read(folder / "image.nii")
    np.testing.assert_array_equal(found.array, array)
    assert found.array.dtype == dtype
    assert found.geometry.distance_mm(grid) < 1e-3
    assert io.read_geometry(folder / "image.nii") == (found.geometry, n_channels)


@given(
    geometries(),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 63),
    st.sampled_from([2, 10, 0]),
    st.data(),
)
def test_a_prediction_gives_back_shape_affine_codes_and_dim_info(
    folder, grid, sform_code, qform_code, dim_info, units, data
):
    source = save(
        folder / "source.nii.gz",
        np.zeros(grid.shape, np.int16),
        grid.affine,
        sform_code,
        grid.affine if qform_code else None,
        qform_code,
        dim_info=dim_info,
        xyzt_units=units,
        descrip=b"Doe^John",
        intent_name=b"Doe",
        aux_file=b"doe.txt",
        db_name=b"Doe",
        cal_max=99,
    )
    image = io.read(source)
    predicted = data.draw(label_arrays(grid.shape))
    io.write(LabelMap(predicted, image.geometry, meta=image.meta), folder / "prediction.nii.gz")
    before, after = nib.load(source), nib.load(folder / "prediction.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header["sform_code"] == sform_code
    assert after.header["qform_code"] == (qform_code or 1)
    assert after.header["dim_info"] == dim_info
    assert after.header.get_xyzt_units()[0] == "mm"
    assert after.header.get_zooms() == pytest.approx(image.geometry.spacing_mm, rel=1e-6)
    assert after.get_data_dtype() == np.uint8
    assert after.header.get_slope_inter() in ((None, None), (1, 0))
    assert after.header.get_intent()[0] == "label"
    assert b"Doe" not in gzip.decompress((folder / "prediction.nii.gz").read_bytes())
    assert after.header["cal_max"] == 0


def test_the_same_array_gives_the_same_bytes_without_name_or_time(tmp_path):
    label_map = LabelMap(np.ones((3, 4, 5), np.uint8), Geometry.from_spacing((3, 4, 5)))
    io.write(label_map, tmp_path / "a.nii.gz")
    io.write(label_map, tmp_path / "b.nii.gz")
    one, other = (tmp_path / "a.nii.gz").read_bytes(), (tmp_path / "b.nii.gz").read_bytes()
    assert one == other
    assert one[3] == 0  # no file name
    assert one[4:8] == bytes(4)  # no time


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.int32)])
def test_labels_are_written_in_the_smallest_type(tmp_path, largest, dtype):
    array = np.zeros((2, 2, 2), np.int64)
    array[0, 0, 0] = largest
    io.write(LabelMap(array, Geometry.from_spacing((2, 2, 2))), tmp_path / "a.nii")
    assert nib.load(tmp_path / "a.nii").get_data_dtype() == dtype


def test_a_sheared_grid_has_no_qform(tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    io.write(LabelMap(np.zeros((2, 3, 4), np.uint8), Geometry((2, 3, 4), affine)), tmp_path / "a.nii")
    header = nib.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)


# Geometry of what others wrote.


def moved(mm):
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


@pytest.mark.parametrize("sform_code", [1, 2, 4])
def test_the_sform_counts_before_the_qform_if_both_are_there(tmp_path, sform_code):
    """SimpleITK takes the qform where the sform's code is above 1; the two are within the tolerance here."""
    path = save(tmp_path / "a.nii", sform_code=sform_code, qform=moved(0.05), qform_code=1)
    image = io.read(path)
    np.testing.assert_allclose(image.geometry.affine, AFFINE, atol=1e-5)
    assert image.meta.warnings == ()


def test_two_geometries_that_differ_a_little_are_told_and_a_lot_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", qform=moved(0.5), qform_code=1)
    assert "differ by 0.5 mm; the sform was used" in io.read(path).meta.warnings[0]
    path = save(tmp_path / "b.nii", qform=moved(5), qform_code=1)
    with pytest.raises(InputError, match=r"b\.nii has two geometries that differ by 5 mm .* --read geometry=sform"):
        io.read_geometry(path)
    for choice, affine in (("sform", AFFINE), ("qform", moved(5))):
        grid, _ = io.read_geometry(path, ReadOptions.parse({"geometry": choice}))
        np.testing.assert_allclose(grid.affine, affine, atol=1e-5)


def test_without_an_sform_the_qform_counts(tmp_path):
    grid, _ = io.read_geometry(save(tmp_path / "a.nii", sform_code=0, qform=moved(7), qform_code=2))
    np.testing.assert_allclose(grid.affine, moved(7), atol=1e-5)
    with pytest.raises(InputError, match="has no sform"):
        io.read_geometry(tmp_path / "a.nii", ReadOptions(geometry="sform"))


def test_an_sform_that_cannot_be_inverted_gives_way_to_the_qform(tmp_path):
    path = save(tmp_path / "a.nii", sform=np.diag([1.0, 1, 0, 1]), qform=moved(7), qform_code=1)
    np.testing.assert_allclose(io.read(path).geometry.affine, moved(7), atol=1e-5)


def test_a_negative_step_in_the_qform_is_taken_for_its_size(tmp_path):
    path = save(tmp_path / "a.nii", sform_code=0, qform=AFFINE, qform_code=1)
    content = bytearray(path.read_bytes())
    content[76 + 12 : 76 + 16] = np.float32(-3).tobytes()  # pixdim[3]
    path.write_bytes(content)
    np.testing.assert_allclose(io.read(path).geometry.affine, AFFINE, atol=1e-5)


def test_codes_of_zero_mean_no_place_and_are_written_back(tmp_path):
    path = save(tmp_path / "a.nii", sform_code=0)
    content = bytearray(path.read_bytes())
    content[76 + 4 : 76 + 16] = np.array([2, 3, 4], np.float32).tobytes()
    path.write_bytes(content)
    image = io.read(path)
    assert not image.meta.placed
    assert "no place in space" in image.meta.warnings[0]
    assert image.geometry.spacing_mm == (2, 3, 4)
    io.write(LabelMap(np.zeros(ARRAY.shape, np.uint8), image.geometry, meta=image.meta), tmp_path / "b.nii")
    before, after = nib.load(path), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(before.affine, after.affine)
    assert (after.header["sform_code"], after.header["qform_code"]) == (0, 0)


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_metres_and_microns_become_millimetres(tmp_path, code, factor):
    affine = np.diag([*(np.array([2, 3, 4]) / factor), 1])
    affine[:3, 3] = np.array([5, 6, 7]) / factor
    grid, _ = io.read_geometry(save(tmp_path / "a.nii", sform=affine, xyzt_units=code))
    assert grid.spacing_mm == pytest.approx((2, 3, 4), rel=1e-6)
    np.testing.assert_allclose(grid.to_world([0, 0, 0]), [5, 6, 7], rtol=1e-6)


@pytest.mark.parametrize("spacing", [0.0005, 150.0])
def test_an_implausible_spacing_is_refused(tmp_path, spacing):
    path = save(tmp_path / "a.nii", sform=np.diag([1, 1, spacing, 1]))
    with pytest.raises(InputError, match=r"voxel spacing of 1 × 1 × .* mm, outside 0\.001…100 mm"):
        io.read_geometry(path)


# Dimensions.


def test_trailing_ones_are_dropped_and_a_plane_stays_a_plane(tmp_path):
    assert io.read(save(tmp_path / "a.nii", ARRAY[..., None, None])).array.shape == (1, 3, 4, 5)
    plane = io.read(save(tmp_path / "b.nii", ARRAY[..., 0]))
    assert plane.array.shape == (1, 3, 4, 1)
    io.write(LabelMap(np.zeros((3, 4, 1), np.uint8), plane.geometry, meta=plane.meta), tmp_path / "c.nii")
    assert nib.load(tmp_path / "c.nii").shape == (3, 4)


def test_a_vector_image_has_its_vectors_as_channels(tmp_path):
    array = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 1, 2)
    image = io.read(save(tmp_path / "a.nii", array))
    np.testing.assert_array_equal(image.array, np.moveaxis(array[:, :, :, 0], -1, 0))


def test_volumes_are_channels_only_if_somebody_says_so(tmp_path):
    array = np.arange(48, dtype=np.int16).reshape(2, 3, 4, 2)
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(InputError, match="has 2 volumes; say --read channels=last"):
        io.read(path)
    as_channels = io.read(path, ReadOptions(channels="last"))
    np.testing.assert_array_equal(as_channels.array, np.moveaxis(array, -1, 0))
    assert io.read_geometry(path, ReadOptions(channels="last"))[1] == 2
    second = io.read(path, ReadOptions(volume=1))
    np.testing.assert_array_equal(second.array[0], array[..., 1])
    with pytest.raises(InputError, match="there is no volume 2"):
        io.read(path, ReadOptions(volume=2))
    with pytest.raises(InputError, match="not a label map: it holds 2 channels"):
        io.read_labels(path, ReadOptions(channels="last"))
    io.write(as_channels, tmp_path / "b.nii.gz")
    assert nib.load(tmp_path / "b.nii.gz").shape == array.shape


# Values.


def test_a_scaled_image_is_read_scaled_and_big_endian_bytes_are_turned(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE, nib.Nifti1Header(endianness=">"))
    image.header.set_slope_inter(0.01, 3)
    image.to_filename(tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    expected = stored.get_fdata()
    found = io.read(tmp_path / "a.nii.gz")
    assert found.array.dtype == np.dtype("=f4")
    np.testing.assert_allclose(found.array[0], expected, rtol=1e-6)


def test_float_labels_in_a_scaled_file_come_back_whole(tmp_path):
    labels = np.arange(60, dtype=np.float64).reshape(3, 4, 5)
    image = nib.Nifti1Image(labels, AFFINE)
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "a.nii.gz")
    assert (nib.load(tmp_path / "a.nii.gz").get_fdata().astype(int) != labels).any()
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.nii.gz").array, labels)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (ARRAY.astype(np.complex64), "complex"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
    ],
)
def test_numbers_that_are_no_grey_values_are_refused(tmp_path, array, sentence):
    path = save(tmp_path / "a.nii", array)
    for read in (io.read, io.read_labels):
        with pytest.raises(InputError, match=sentence):
            read(path)


# Damage.


@pytest.mark.parametrize("n_left", [0, 3, 200, 350, 352, 400, -1])
def test_a_cut_plain_file_is_refused(tmp_path, n_left):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:n_left])
    with pytest.raises(InputError, match=r"a\.nii is (damaged|empty|not a NIfTI)"):
        io.read(path)


@pytest.mark.parametrize("n_cut", [1, 5, 9, 100])
def test_a_cut_gzip_file_is_refused_with_both_numbers(tmp_path, n_cut):
    array = np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype(np.uint8)
    path = save(tmp_path / "a.nii.gz", array)
    path.write_bytes(path.read_bytes()[:-n_cut])
    for read in (io.read, io.read_labels):
        with pytest.raises(InputError, match=r"the compressed data end .* \d+ of 1081 bytes"):
            read(path)


def test_an_altered_byte_in_a_gzip_file_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype(np.uint8)
    path = save(tmp_path / "a.nii.gz", array)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="the compressed data are wrong"):
        io.read(path)


def test_bytes_behind_the_voxels_are_told(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + b"1234567")
    assert "7 bytes behind the voxels" in io.read(path).meta.warnings[0]


@pytest.mark.parametrize("content", [b"<html>not found</html>" * 40, b"\x1f\x8b not gzip at all", bytes(1000)])
def test_what_is_no_nifti_is_refused(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nii\.gz is (not a NIfTI file|damaged)"):
        io.read(path)


@given(st.integers(0, 347), st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused_but_never_a_defect(folder, position, value):
    path = folder / "damaged.nii"
    save(path)
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        io.read(path)


def test_nifti_2_is_read_and_given_back(tmp_path):
    nib.save(nib.Nifti2Image(ARRAY, AFFINE), tmp_path / "a.nii.gz")
    image = io.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.array[0], ARRAY)
    io.write(image, tmp_path / "b.nii.gz")
    again = nib.load(tmp_path / "b.nii.gz")
    assert isinstance(again, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asanyarray(again.dataobj), ARRAY)
    np.testing.assert_array_equal(again.affine, AFFINE)


def test_conventions_of_another_format_do_not_leak(tmp_path):
    meta = Meta("nrrd", header={"n_dims": 2})
    io.write(LabelMap(np.zeros((2, 3, 1), np.uint8), Geometry.from_spacing((2, 3, 1)), meta=meta), tmp_path / "a.nii")
    assert nib.load(tmp_path / "a.nii").shape == (2, 3, 1)


@pytest.mark.parametrize("side_mm", [4e-6, 5e-5, 9e-4])
def test_a_voxel_of_less_than_a_micron_is_refused_for_its_size_and_not_called_unplaced(tmp_path, side_mm):
    """Its determinant is tiny; that is no reason to say that the codes of its geometries are 0."""
    affine = np.diag([side_mm, side_mm, side_mm, 1])
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), affine), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"has a voxel spacing of .* mm, outside 0\.001…100 mm"):
        io.read(tmp_path / "a.nii")
