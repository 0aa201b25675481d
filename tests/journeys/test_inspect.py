"""A data set is looked at, mended as it says, and looked at again; a patient's name goes nowhere."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from tests.journeys.conftest import SAMPLE

pytestmark = pytest.mark.journey

CANARY = "Canaria^Kanarie"


def test_damage_is_found_and_after_mending_all_is_well(shell):
    data = shutil.copytree(SAMPLE, shell.folder / "data")
    cut, other, *_ = sorted((data / "imagesTr").glob("*.nii.gz"))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:5000])
    label = data / "labelsTr" / other.name
    image = nib.load(label)
    array = np.asarray(image.dataobj).copy()
    array[0, 0, 0] = 9
    nib.save(nib.Nifti1Image(array, image.affine, image.header), label)

    said = shell("inspect", "data", "-o", "page.html", "-o", "all.json", "--jobs", "2", code=3)
    assert f"imagesTr/{cut.name} is damaged" in said
    assert "9 (1 voxels)" in said
    found = json.loads((shell.folder / "all.json").read_text())
    assert found["n_errors"] == 2
    page = (shell.folder / "page.html").read_text()
    assert "<svg" in page
    assert str(shell.folder) not in page + said + json.dumps(found)

    cut.write_bytes(whole)
    shutil.copy(SAMPLE / "labelsTr" / other.name, label)
    assert "Nothing found in 18 cases." in shell("inspect", "data")


def test_names_in_headers_and_folders_above_go_nowhere(shell):
    above = shell.folder / CANARY
    data = shutil.copytree(SAMPLE, above / "data")
    (path, *_) = sorted((data / "imagesTr").glob("*.nii.gz"))
    image = nib.load(path)
    image.header["descrip"] = CANARY.encode()
    image.header["db_name"] = CANARY.encode()
    nib.save(image, path)
    (_, cut, *_) = sorted((data / "imagesTr").glob("*.nii.gz"))
    cut.write_bytes(cut.read_bytes()[:5000])
    said = shell("inspect", data, "-o", "page.html", "-o", "all.json", "--jobs", "1", "--json", code=3)
    assert CANARY not in said
    assert CANARY not in (shell.folder / "page.html").read_text() + (shell.folder / "all.json").read_text()
