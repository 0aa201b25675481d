"""What the descriptions of real sets confess is found without being told; what they do not confess is no alarm."""

import shutil
from functools import cache

import pytest

import medseg
from medseg.inspect import InspectOptions

pytestmark = pytest.mark.data


@cache
def inspected(path):
    return medseg.inspect(path, InspectOptions(jobs=1))


def found(inspection):
    return {(finding.kind, finding.severity) for finding in inspection.findings}


def cases(inspection, kind):
    return [finding.cases for finding in inspection.findings if finding.kind == kind]


def text(inspection, kind):
    return " ".join(finding.text for finding in inspection.findings if finding.kind == kind)


def test_cord_gm(shared_data):
    """One case without labels in its last slices, with a stray voxel, LPS and sform code 0; two persons twice."""
    inspection = inspected(shared_data / "cord_gm")
    for kind in ("unlabelled_slices", "island", "offset"):
        assert cases(inspection, kind) == [("cord_9604",)]
    assert "Slices 14…19 of 0…19" in text(inspection, "unlabelled_slices")
    assert "grey matter: an island of 1 voxel (521 in all) at voxel (132, 134, 17)" in text(inspection, "island")
    assert set(cases(inspection, "placement")) == {("cord_9604",)}
    assert "sform code 0" in text(inspection, "placement")
    assert "LPS" in text(inspection, "placement")
    assert cases(inspection, "types") == [("cord_9418",)]
    assert cases(inspection, "near_duplicate") == [("cord_9709Ses1", "cord_9709Ses2")]
    assert set(cases(inspection, "groups")[0]) == {f"cord_{n}Ses{s}" for n in (10062, 9709) for s in (1, 2)}
    assert inspection.is_clean


def test_mouse_brain(shared_data):
    """Sides are mirrored in all cases, label maps are float32, and three values do not exist."""
    inspection = inspected(shared_data / "mouse_brain")
    assert [len(each) for each in cases(inspection, "mirrored_sides")] == [17]
    assert [len(each) for each in cases(inspection, "label_types")] == [17]
    assert "22, 30, 37 are no label" in text(inspection, "value_gaps")
    assert {finding.kind for finding in inspection.findings if finding.severity != "note"} == {"mirrored_sides"}


def test_hippocampus(shared_data, tmp_path):
    """Scales of intensity differ wildly, images and label maps are of mixed types; of a part, for time's sake."""
    ids = [3, 15, 33, 34, 44, 65, 70, 75, 136, 138, 142, 145, 205, 210, 243, 265, 277, 280, 331, 352]
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for number in ids:
            name = f"hippocampus_{number:03d}.nii.gz"
            if (shared_data / "hippocampus" / folder / name).is_file():
                shutil.copy(shared_data / "hippocampus" / folder / name, tmp_path / folder / name)
    inspection = medseg.inspect(tmp_path)
    assert ("intensity_scales", "warning") in found(inspection)
    assert "uint8" in text(inspection, "types")
    assert cases(inspection, "label_types") == [("hippocampus_003", "hippocampus_243")]
    assert {finding.kind for finding in inspection.findings if finding.severity != "note"} == {"intensity_scales"}


def test_ms_lesions(shared_data):
    """Six cases are empty, and three patients have eight boxes each; lesions come in pieces by nature."""
    inspection = inspected(shared_data / "ms_lesions")
    assert [len(each) for each in cases(inspection, "empty")] == [6]
    assert "come from 3 patients" in text(inspection, "groups")
    assert found(inspection) == {("empty", "note"), ("groups", "note")}


def test_em_membranes(shared_data):
    """Neighbouring sections are told as such, and not as duplicates."""
    inspection = inspected(shared_data / "em_membranes")
    assert found(inspection) == {("neighbours", "warning")}
    assert "block:5" in inspection.findings[0].remedy


def test_sts_petct(shared_data):
    """PET is padded where its crop is smaller than that of CT; nothing else."""
    inspection = inspected(shared_data / "sts_petct")
    assert found(inspection) == {("padding", "note")}
    assert "PET has planes of one value" in text(inspection, "padding")


def test_dicom_that_can_be_read_in_several_ways_is_answered_with_a_table(shared_data):
    inspection = inspected(shared_data / "dicom" / "rtstruct" / "sts")
    (finding,) = inspection.findings
    assert (finding.kind, finding.severity) == ("layout", "error")
    assert "case,image,label" in finding.remedy
    assert str(shared_data) not in finding.text + finding.remedy
