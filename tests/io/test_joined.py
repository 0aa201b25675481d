"""Slices that have a series each: one volume where everything but the UID says so, and else a list as before."""

import re

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from medseg.io import ReadOptions
from tests.io.dicom_files import write_series
from tests.io.label_files import write_rtstruct

STORED = np.random.default_rng(0).integers(0, 3000, (8, 5, 6)).astype(np.uint16)


def apart(folder, *keywords, stored=STORED, values=None, **more):
    """A series whose slices have a UID of their own in each of these attributes (and other values)."""

    def change(k, slice_):
        for keyword in ("SeriesInstanceUID", *keywords):
            setattr(slice_, keyword, generate_uid(entropy_srcs=[str(folder), keyword, str(k)]))
        for keyword, value in (values or {}).items():
            setattr(slice_, keyword, value(k))

    return write_series(folder, stored, change=change, **more)


@pytest.mark.parametrize("lost", [(), ("StudyInstanceUID",), ("FrameOfReferenceUID",)])
def test_slices_of_one_study_or_one_space_are_one_volume(tmp_path, lost):
    apart(tmp_path / "s", *lost, SeriesDescription="Axial", reverse=True)
    volume = io.read(tmp_path / "s")
    np.testing.assert_array_equal(volume.array[0].T, STORED.astype(int) - 1024)
    assert volume.meta.warnings == (
        "8 series of one image each are the slices of one volume and were joined (--read join=never keeps them apart).",
    )
    (entry,) = io.catalogue(tmp_path / "s").series
    assert (entry.n_images, entry.problem, len(entry.members)) == (8, None, 8)
    with pytest.raises(InputError, match="holds 8 image series"):
        io.read(tmp_path / "s", ReadOptions(join="never"))


def test_a_missing_slice_is_missing_here_too(tmp_path):
    apart(tmp_path / "s")[3].unlink()
    with pytest.raises(InputError, match="lacks 1 slice"):
        io.read(tmp_path / "s")
    assert io.read(tmp_path / "s", ReadOptions(missing="fill")).geometry.shape == (6, 5, 8)


@pytest.mark.parametrize(
    "more",
    [
        {"values": {"SeriesDescription": lambda k: f"slice {k}"}},
        {"values": {"SeriesNumber": lambda k: k + 1}},
        {"values": {"ProtocolName": lambda k: "ab"[k % 2]}},
        {"keywords": ("StudyInstanceUID", "FrameOfReferenceUID")},
        {"values": {"SOPClassUID": lambda k: f"1.2.840.10008.5.1.4.1.1.{2 if k % 2 else 4}"}},
    ],
)
def test_what_does_not_agree_is_a_list_that_offers_to_join(tmp_path, more):
    apart(tmp_path / "s", *more.get("keywords", ()), values=more.get("values"))
    with pytest.raises(
        InputError, match=r"holds [28] image series .*, or, for slices of one volume, --read join=always\.$"
    ):
        io.read(tmp_path / "s")
    volume = io.read(tmp_path / "s", ReadOptions(join="always"))
    np.testing.assert_array_equal(volume.array[0].T, STORED.astype(int) - 1024)


@pytest.mark.parametrize(
    "values",
    [
        {"PatientID": str},
        {"Modality": lambda k: "MR" if k % 2 else "CT"},
        {"PixelSpacing": lambda k: [0.5 + k / 10] * 2},
        {"ImagePositionPatient": lambda k: [0, 0, 0]},
        {"ImagePositionPatient": lambda k: [k % 3, 0, k * k]},
        {"ImageType": lambda k: ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    ],
)
def test_what_is_no_volume_is_neither_joined_nor_offered(tmp_path, values):
    apart(tmp_path / "s", values=values)
    with pytest.raises(InputError) as refusal:
        io.read(tmp_path / "s")
    assert "join=always" not in str(refusal.value)


def test_two_studies_of_a_patient_stay_two(tmp_path):
    for name in ("before", "after"):
        apart(tmp_path / "s" / name)
    with pytest.raises(InputError, match=r"holds 2 image series \(series 5: 8 CT images"):
        io.read(tmp_path / "s")
    assert len(io.catalogue(tmp_path / "s").series) == 2
    uid = re.search(r"read series=([0-9.]+)", str(_refusal(tmp_path / "s")))[1].rstrip(".")
    assert io.read(tmp_path / "s", ReadOptions(series=uid)).geometry.shape[2] == 8
    cases = find_inputs([tmp_path / "s"]).cases
    assert [io.read(c.images[0], ReadOptions().updated(c.read)).geometry.shape[2] for c in cases] == [8, 8]


def _refusal(path):
    with pytest.raises(InputError) as refusal:
        io.read(path)
    return refusal.value


def test_the_uid_of_one_slice_stands_for_all_and_alone_where_nothing_is_joined(tmp_path):
    paths = apart(tmp_path / "s")
    uid = str(dcmread(paths[4]).SeriesInstanceUID)
    assert io.read(tmp_path / "s", ReadOptions(series=uid)).geometry.shape[2] == 8
    assert io.read(tmp_path / "s", ReadOptions(series=uid, join="never")).geometry.shape[2] == 1


def test_labels_on_joined_slices_are_matched_and_written_with_all_their_series(tmp_path):
    paths = apart(tmp_path / "p1" / "ct", spacing=(1, 1))
    image = io.read(tmp_path / "p1" / "ct")
    drawn = LabelMap((image.array[0] > 800).astype(np.uint8), image.geometry, Labels({"GTV": (1,)}))
    for form in io.DICOM_FORMS:
        path = tmp_path / f"{form}.dcm"
        assert io.write_dicom(drawn, path, form, source=image.meta, producer=io.Producer("x", "sha256:01")) == ()
        dataset = dcmread(path)
        if form == "dicom-seg":
            named = {item.SeriesInstanceUID for item in dataset.ReferencedSeriesSequence}
        else:
            study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
            named = {item.SeriesInstanceUID for item in study.RTReferencedSeriesSequence}
        assert named == {dcmread(file).SeriesInstanceUID for file in paths}
        np.testing.assert_array_equal(io.read_labels(path, image=tmp_path / "p1" / "ct").array, drawn.array)
        path.replace(tmp_path / "p1" / path.name)
        dataset = open_dataset(tmp_path, DataConfig())
        (case,) = dataset.cases
        np.testing.assert_array_equal(io.read_labels(case.label, image=case.images[0]).array, drawn.array)
        np.testing.assert_array_equal(io.read_labels(case.label).array, drawn.array)
        (tmp_path / "p1" / path.name).unlink()
    square = [(0.5, 0.5), (3.5, 0.5), (3.5, 3.5), (0.5, 3.5)]
    contour = [(-10 + x, 20 + y, 35) for x, y in square]
    label = write_rtstruct(tmp_path / "p1" / "rt.dcm", paths[:3], [("GTV", [contour])])
    assert np.count_nonzero(io.read_labels(label).array) == 9
