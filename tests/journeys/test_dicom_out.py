"""From a DICOM series to what a clinic opens, judged by a validator, an independent reader and a real server."""

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from tests.journeys.conftest import Shell
from tests.oracles.conftest import oracle, orthanc, run, series_called  # noqa: F401  the first two are fixtures
from tests.oracles.test_dciodvfy import errors
from tests.oracles.test_dcmqi import on_grid, segments

pytestmark = pytest.mark.journey

VALUES = {"liver": 1, "spleen": 2, "kidneys": 3}


@pytest.fixture(scope="module", params=["sample", "ct/philips_axial_5mm", "rtstruct/sts/STS_002/CT/image"])
def predicted(request, trained, tmp_path_factory):
    """The series, and the folder that `medseg predict` made of it."""
    folder = series_called(request.param)
    shell = Shell(tmp_path_factory.mktemp("predicted"))
    forms = ("-f", "dicom-seg", "-f", "rtstruct", "-f", "nifti")
    said = shell("predict", folder, "-m", trained, "-o", "out", *forms, "--device", "cpu")
    assert "1 predicted" in said
    return folder, shell.folder / "out"


def masks(out):
    """Our mask, read by nibabel, and its grid."""
    (path,) = out.glob("*.nii.gz")
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    return {name: array == value for name, value in VALUES.items()}, io.read_geometry(path)[0]


def test_something_was_found_on_the_grid_of_the_series(predicted):
    folder, out = predicted
    found, grid = masks(out)
    assert any(mask.any() for mask in found.values())
    assert grid.same_as(io.read_geometry(folder)[0])


def test_the_validator_finds_no_error(predicted, oracle):  # noqa: F811
    for path in predicted[1].glob("*.dcm"):
        assert errors(oracle("dciodvfy"), path)[0] == []


def test_dcmqi_reads_the_masks_of_the_nifti_at_their_place(predicted, oracle, tmp_path):  # noqa: F811
    found, grid = masks(predicted[1])
    (path,) = predicted[1].glob("*_seg.dcm")
    theirs = segments(oracle("segimage2itkimage"), path, tmp_path)
    for number, (name, mask) in enumerate(found.items(), start=1):
        if mask.any():
            np.testing.assert_array_equal(on_grid(theirs[number], grid), mask, err_msg=name)


def test_the_server_stores_and_returns_every_byte(predicted, orthanc):  # noqa: F811
    for path in predicted[1].glob("*.dcm"):
        stored = orthanc.post("/instances", path.read_bytes())
        assert orthanc.get(f"/instances/{stored['ID']}/file") == path.read_bytes()


def test_both_objects_read_back_are_the_masks(predicted):
    folder, out = predicted
    found, grid = masks(out)
    for path in out.glob("*.dcm"):
        back = io.read_labels(path, image=folder)
        assert back.geometry.same_as(grid)
        for name, mask in found.items():
            np.testing.assert_array_equal(back.labels.mask(back.array, name), mask, err_msg=f"{path.name}: {name}")


def test_the_objects_belong_to_the_study_of_the_series(predicted, oracle):  # noqa: F811
    folder, out = predicted
    seen = [run(oracle("dcmdump"), "+P", "StudyInstanceUID", "-s", path).stdout for path in out.glob("*.dcm")]
    first = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    assert {*seen} == {run(oracle("dcmdump"), "+P", "StudyInstanceUID", "-s", first).stdout}
