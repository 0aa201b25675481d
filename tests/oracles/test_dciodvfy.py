"""dciodvfy (David Clunie's validator) finds no error in what is written, on series of many kinds."""

import numpy as np
import pytest

from medseg import io
from medseg.core.volume import LabelMap
from tests.oracles.conftest import LABELS, OVERLAPPING, blobs, run, series_called, write

pytestmark = pytest.mark.journey

SERIES = (
    *("sample", "ct/philips_axial_5mm", "ct/philips_tilt_plus16", "ct/oblique_fractional_slope"),
    *("ct/single_slice_oblique", "ct/enhanced_ct_reversed", "ct/legacy_multiframe_ct", "mr/siemens_enh_phase"),
    *("mr/hitachi_double_oblique", "seg/ibsi_legacy_mr/image", "rtstruct/sts/STS_002/PET/image"),
)

YOUNGER_THAN_THE_VALIDATOR = ("SegmentNumber not monotonically increasing", "Information Object Not found")
"""All that the validator of 2022 says against a label map SEG: it does not know the class, nor segment 0."""


def errors(validator, path):
    """What the validator calls an error, and the kind of object that it recognised."""
    found = run(validator, "-new", path)
    lines = (found.stdout + found.stderr).splitlines()
    wrong = [line for line in lines if line.startswith("Error")]
    assert (found.returncode != 0) == bool(wrong), lines
    return wrong, lines


@pytest.mark.parametrize("name", SERIES)
def test_there_is_no_error_in_a_seg_or_an_rtstruct(oracle, tmp_path, name):
    validator = oracle("dciodvfy")
    label_map = blobs(io.read(series_called(name)))
    for form, recognised in (("dicom-seg", "Segmentation"), ("rtstruct", "RTStructureSet")):
        wrong, lines = errors(validator, write(label_map, tmp_path / f"{form}.dcm", form))
        assert wrong == []
        assert recognised in lines


def test_there_is_no_error_where_regions_overlap_or_nothing_was_found(oracle, tmp_path):
    validator, volume = oracle("dciodvfy"), io.read(series_called("sample"))
    nothing = LabelMap(np.zeros(volume.geometry.shape, np.uint8), volume.geometry, LABELS, volume.meta)
    for label_map in (blobs(volume, OVERLAPPING), nothing):
        for form in io.DICOM_FORMS:
            assert errors(validator, write(label_map, tmp_path / f"{form}.dcm", form))[0] == []


def test_of_a_label_map_seg_only_what_is_young_is_not_known(oracle, tmp_path):
    path = write(blobs(io.read(series_called("sample"))), tmp_path / "seg.dcm", "dicom-seg", "labelmap")
    wrong, _ = errors(oracle("dciodvfy"), path)
    assert len(wrong) == len(YOUNGER_THAN_THE_VALIDATOR)
    assert all(any(known in line for known in YOUNGER_THAN_THE_VALIDATOR) for line in wrong)


def test_the_validator_does_find_errors(oracle, tmp_path):
    """An oracle that says yes to everything is none."""
    import pydicom

    path = write(blobs(io.read(series_called("sample"))), tmp_path / "rt.dcm", "rtstruct")
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetLabel
    dataset.save_as(path)
    assert errors(oracle("dciodvfy"), path)[0]
