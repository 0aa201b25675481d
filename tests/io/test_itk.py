"""MetaImage and NRRD: LPS is turned at the door, spaces without a name are refused, damage is seen."""

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  as everybody calls it
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from medseg.io import ReadOptions
from tests.strategies import geometries, label_maps

SUFFIXES = [".mha", ".nrrd"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("itk")


def nrrd(path, *lines, sizes="2 3 4", kind="uint8", data=None):
    """An NRRD file as another program writes it, raw unless `data` is packed."""
    encoding = "raw" if data is None else "gzip"
    data = bytes(range(24)) if data is None else data
    n_dims = len(sizes.split())
    head = ["NRRD0004", f"type: {kind}", f"dimension: {n_dims}", f"sizes: {sizes}", f"encoding: {encoding}", *lines]
    path.write_bytes("\n".join(head).encode() + b"\n\n" + data)
    return path


AXES = ("space directions: (2,0,0) (0,3,0) (0,0,4)", "space origin: (10,20,30)")


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(label_maps(values=(0, 2, 300), dtype=np.uint16))
def test_a_label_map_comes_back_in_every_orientation_and_itk_finds_the_same_point(folder, suffix, label_map):
    path = folder / f"a{suffix}"
    io.write(label_map, path)
    found = io.read_labels(path)
    np.testing.assert_array_equal(found.array, label_map.array)
    assert found.geometry.distance_mm(label_map.geometry) < 1e-4
    assert io.read_geometry(path) == (found.geometry, 1)
    image = sitk.ReadImage(str(path))
    last = [n - 1 for n in label_map.geometry.shape]
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(n) for n in last])
    np.testing.assert_allclose([-x, -y, z], label_map.geometry.to_world(last), atol=1e-3)
    assert image.GetPixel(last) == label_map.array[tuple(last)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(geometries(), st.sampled_from([np.uint8, np.int16, np.float32, np.float64]), st.integers(1, 3))
def test_an_image_comes_back_with_its_type_and_channels(folder, suffix, grid, dtype, n_channels):
    array = np.random.default_rng(0).integers(0, 100, (n_channels, *grid.shape)).astype(dtype)
    io.write(Volume(array, grid), folder / f"b{suffix}")
    found = io.read(folder / f"b{suffix}")
    np.testing.assert_array_equal(found.array, array)
    assert found.array.dtype == dtype
    assert io.read_geometry(folder / f"b{suffix}")[1] == n_channels


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sheared_grid_is_refused_and_leaves_nothing(tmp_path, suffix):
    affine = np.eye(4)
    affine[1, 2] = 0.2
    with pytest.raises(InputError, match=r"is sheared \(gantry tilt\).*write NIfTI"):
        io.write(LabelMap(np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2), affine)), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_pairs_of_files_are_not_written(tmp_path):
    with pytest.raises(UsageError, match=r"no suffix that medseg writes; use one of \.nii\.gz"):
        io.write(LabelMap(np.zeros((2, 2, 2), np.uint8), Geometry.from_spacing((2, 2, 2))), tmp_path / "a.mhd")


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("RAS", (1, 1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_named_spaces_of_nrrd_are_turned_to_ras(tmp_path, space, signs):
    image = io.read(nrrd(tmp_path / "a.nrrd", f"space: {space}", *AXES))
    expected = np.diag([*signs, 1]) @ [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.geometry.affine, expected)
    np.testing.assert_array_equal(image.array[0].ravel("F"), range(24))
    assert image.meta.placed


@pytest.mark.parametrize("space", ["space: scanner-xyz", "space: 3D-right-handed", "space dimension: 3"])
def test_a_space_without_patient_axes_is_refused_until_somebody_says_which(tmp_path, space):
    path = nrrd(tmp_path / "a.nrrd", space, *AXES)
    with pytest.raises(InputError, match="does not say which patient axes .* --read space=lps"):
        io.read(path)
    lps, _ = io.read_geometry(path, ReadOptions(space="lps"))
    ras, _ = io.read_geometry(path, ReadOptions(space="ras"))
    np.testing.assert_allclose(lps.to_world([0, 0, 0]), [-10, -20, 30])
    np.testing.assert_allclose(ras.to_world([0, 0, 0]), [10, 20, 30])


def test_an_nrrd_without_any_space_has_no_place(tmp_path):
    image = io.read(nrrd(tmp_path / "a.nrrd", "spacings: 2 3 4"))
    assert not image.meta.placed
    assert "no place in space" in image.meta.warnings[0]
    assert image.geometry.spacing_mm == (2, 3, 4)


def mhd(folder, data_file="a.raw", extra="", data=bytes(range(24))):
    header = f"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementSpacing = 2 3 4\n{extra}"
    (folder / "a.raw").write_bytes(data)
    (folder / "a.mhd").write_text(f"{header}ElementDataFile = {data_file}\n")
    return folder / "a.mhd"


def test_a_metaimage_without_axes_is_read_with_a_warning(tmp_path):
    image = io.read(mhd(tmp_path))
    assert "does not say how its axes lie" in image.meta.warnings[0]
    assert not image.meta.placed
    assert image.geometry.spacing_mm == (2, 3, 4)
    np.testing.assert_array_equal(image.array[0].ravel("F"), range(24))
    placed = io.read(mhd(tmp_path, extra="TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\n"))
    assert placed.meta.placed
    np.testing.assert_allclose(placed.geometry.to_world([0, 0, 0]), [-10, -20, 30])


def test_voxels_are_taken_from_the_folder_of_the_header_only(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(24))
    with pytest.raises(InputError, match=r"from outside of its folder .*\(\.\./secret\.raw\)"):
        io.read(mhd(inside, "../secret.raw"))
    with pytest.raises(InputError, match="outside of its folder"):
        io.read(mhd(inside, str(tmp_path / "secret.raw")))
    with pytest.raises(InputError, match=r"from b\.raw, which is not there"):
        io.read(mhd(inside, "b.raw"))
    header = nrrd(inside / "a.nhdr", "space: RAS", *AXES, "data file: ../secret.raw")
    with pytest.raises(InputError, match="outside of its folder"):
        io.read(header)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n_cut", [1, 4, 9, 200])
def test_a_cut_compressed_file_is_refused_with_both_numbers(tmp_path, suffix, n_cut):
    """SimpleITK reads an NRRD that lost its last bytes without a word."""
    array = np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    io.write(LabelMap(array, Geometry.from_spacing((9, 9, 9))), path)
    path.write_bytes(path.read_bytes()[:-n_cut])
    for read in (io.read, io.read_labels):
        with pytest.raises(InputError, match=r"is damaged: the compressed data end after \d+ of 729 bytes"):
            read(path)


def test_cut_and_altered_raw_data_are_refused(tmp_path):
    with pytest.raises(InputError, match="the data end after 20 of 24 bytes"):
        io.read(mhd(tmp_path, data=bytes(20)))
    packed = bytearray(gzip.compress(bytes(range(24))))
    packed[-6] ^= 1
    with pytest.raises(InputError, match="the compressed data are wrong"):
        io.read(nrrd(tmp_path / "a.nrrd", "space: RAS", *AXES, data=bytes(packed)))
    with pytest.raises(InputError, match="the compressed data end after 12 of 24"):
        io.read(nrrd(tmp_path / "a.nrrd", "space: RAS", *AXES, data=gzip.compress(bytes(12))))
    extra = "CompressedData = True\n"
    with pytest.raises(InputError, match="the compressed data end after 12 of 24"):
        io.read(mhd(tmp_path, extra=extra, data=zlib.compress(bytes(12))))


@pytest.mark.parametrize(
    "content", [b"NRRD0004\n", b"no header", b"NRRD0004\nnonsense\n\n", b"DimSize = 2 x\nElementDataFile = LOCAL\n"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_neither_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\{suffix} (is|has|cannot)"):
        io.read(path)


def test_labels_follow_the_same_rules_as_in_nifti(tmp_path):
    grid = Geometry.from_spacing((2, 3, 4))
    blurred = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    io.write(Volume(blurred, grid), tmp_path / "a.nrrd")
    with pytest.raises(InputError, match="it looks resampled"):
        io.read_labels(tmp_path / "a.nrrd")
    io.write(Volume(np.zeros((2, 2, 3, 4), np.uint8), grid), tmp_path / "b.mha")
    with pytest.raises(InputError, match="holds 2 layers or channels"):
        io.read_labels(tmp_path / "b.mha")


def test_volumes_of_a_4d_file_follow_the_same_rules_as_in_nifti(tmp_path):
    array = np.arange(48, dtype=np.int16).reshape(2, 4, 3, 2)
    image = sitk.JoinSeries([sitk.GetImageFromArray(volume) for volume in array])
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="--read channels=last"):
        io.read_geometry(tmp_path / "a.nrrd", ReadOptions(space="lps"))
    options = ReadOptions(space="lps", channels="last")
    np.testing.assert_array_equal(io.read(tmp_path / "a.nrrd", options).array, array.transpose(0, 3, 2, 1))
    second = io.read(tmp_path / "a.nrrd", ReadOptions(space="lps", volume=1))
    np.testing.assert_array_equal(second.array[0], array[1].transpose(2, 1, 0))


def test_a_plane_comes_back_as_a_plane(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(3, 2)
    for suffix in SUFFIXES:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
        image = io.read(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(image.array[0, ..., 0], array.T)
        io.write(LabelMap(image.array[0], image.geometry, meta=image.meta), tmp_path / f"b{suffix}")
        again = sitk.ReadImage(str(tmp_path / f"b{suffix}"))
        assert again.GetDimension() == 2
        np.testing.assert_array_equal(sitk.GetArrayFromImage(again), array)


def test_no_text_of_the_source_leaks(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8))
    image.SetMetaData("PatientName", "Doe^John")
    for suffix in SUFFIXES:
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        assert b"Doe" in (tmp_path / f"a{suffix}").read_bytes()
        source = io.read(tmp_path / f"a{suffix}")
        io.write(LabelMap(source.array[0], source.geometry, meta=source.meta), tmp_path / f"b{suffix}")
        assert b"Doe" not in (tmp_path / f"b{suffix}").read_bytes()
