"""The door: paths that are not there, files that are none, formats that change hands, and what an import costs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medseg.io
from medseg import io
from medseg.core.errors import InputError, MachineError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from tests.io.dicom_files import write_series
from tests.strategies import label_maps

GRID = Geometry.from_spacing((6, 5, 4), (1, 2, 3), (7, 8, 9))
READERS = (io.read, io.read_labels, io.read_geometry)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("door")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd", "a.png", "a.tif", "a.dcm", "folder", "a.txt"])
def test_a_path_that_does_not_exist_is_wrong_use(tmp_path, name):
    for read in READERS:
        with pytest.raises(UsageError, match=rf"{name} does not exist"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.png", "a.tif", "a.jpg", "a.bmp", "a.dcm"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for read in READERS:
        with pytest.raises(InputError, match=rf"{name} is empty \(0 bytes\)"):
            read(tmp_path / name)


def test_what_is_no_image_is_refused_with_what_can_be_read(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(InputError, match=r"notes\.txt is no scan that medseg reads \(\.nii\.gz, .* and DICOM\)"):
        io.read(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="is a folder without a DICOM image"):
        io.read(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.dcm", "a.jpg", "a.mhd"])
def test_a_suffix_that_is_not_written_is_wrong_use_and_leaves_nothing(tmp_path, name):
    with pytest.raises(UsageError, match="no suffix that medseg writes"):
        io.write(LabelMap(np.zeros(GRID.shape, np.uint8), GRID), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@given(label_maps(values=(0, 1, 300), dtype=np.uint16), st.permutations([".nii.gz", ".mha", ".nrrd", ".nii"]))
def test_a_label_map_goes_through_all_formats_and_stays_where_it_was(folder, label_map, suffixes):
    here = label_map
    for suffix in suffixes:
        io.write(here, folder / f"through{len(suffix)}{suffix}")
        here = io.read_labels(folder / f"through{len(suffix)}{suffix}")
    np.testing.assert_array_equal(here.array, label_map.array)
    assert here.geometry.distance_mm(label_map.geometry) < 2e-3


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_a_mask_of_a_dicom_series_lies_on_it_in_every_format(tmp_path, suffix):
    write_series(tmp_path / "s", np.zeros((4, 3, 5), np.uint16), axes=((0, 1, 0), (0, 0, -1)), step=(2.0, 0, 0))
    scan = io.read(tmp_path / "s")
    mask = LabelMap((scan.array[0] < 0).astype(np.uint8), scan.geometry, meta=scan.meta)
    io.write(mask, tmp_path / f"mask{suffix}")
    assert io.read_labels(tmp_path / f"mask{suffix}").geometry.same_as(scan.geometry)


def test_like_says_whose_conventions_are_given_back(tmp_path):
    import nibabel as nib

    like = Meta("nifti", header={"sform_code": 4, "qform_code": 2, "dim_info": 48})
    io.write(LabelMap(np.zeros(GRID.shape, np.uint8), GRID), tmp_path / "a.nii", like=like)
    header = nib.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"], header["dim_info"]) == (4, 2, 48)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".seg.nrrd", ".tif", ".png"])
@pytest.mark.parametrize("limit", [0, 100, 2_000, -1])
def test_a_full_disk_leaves_the_old_file_and_no_trace(tmp_path, suffix, limit):
    """The limit on the size of files stands for the disk; SimpleITK and Pillow meet it in C, each in its own words."""
    shape = (64, 64, 1) if suffix == ".png" else (64, 64, 8)
    noise = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    grid = Geometry.from_spacing(shape)
    path = tmp_path / f"mask{suffix}"
    io.write(LabelMap(np.zeros(shape, np.uint8), grid), path)
    before = path.read_bytes()
    io.write(LabelMap(noise, grid), tmp_path / f"whole{suffix}")
    if limit < 0:  # the last byte has no room
        limit = (tmp_path / f"whole{suffix}").stat().st_size - 1
    (tmp_path / f"whole{suffix}").unlink()
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(MachineError, match=rf"mask\{suffix} could not be written") as caught:
            io.write(LabelMap(noise, grid), path)
        assert isinstance(caught.value.__cause__, OSError), "a batch ends for the disk, not for a case"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_be_read_is_a_sentence(tmp_path):
    path = tmp_path / "a.nii"
    io.write(Volume(np.zeros((1, *GRID.shape), np.int16), GRID), path)
    path.chmod(0)
    try:
        with path.open("rb"):
            pytest.skip("this user may read everything")
    except PermissionError:
        with pytest.raises(InputError, match=r"a\.nii cannot be read: Permission denied"):
            io.read(path)


def test_importing_the_door_loads_no_format():
    heavy = ("nibabel", "SimpleITK", "pydicom", "PIL", "tifffile", "scipy", "torch", "monai")
    code = f"import sys, medseg.io; print(*[name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_what_is_public_is_there():
    assert all(hasattr(medseg.io, name) for name in medseg.io.__all__)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".seg.nrrd", ".tif", ".png"])
def test_names_that_are_not_utf8_are_written_and_read_in_every_format(tmp_path, suffix):
    shape = (6, 5, 1) if suffix == ".png" else (6, 5, 4)
    label_map = LabelMap(np.ones(shape, np.uint8), Geometry.from_spacing(shape), Labels({"M\udcfcller": (1,)}))
    path = tmp_path / "o\udcfct" / f"M\udcfcller{suffix}"
    io.write(label_map, path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert (io.read_labels(path).array == 1).all()
