"""A real server takes what is written and gives it back: byte for byte over REST, equal elements after C-STORE."""

import json

import pydicom
import pytest

from medseg import io
from tests.oracles.conftest import blobs, run, series_called, write

pytestmark = pytest.mark.journey

SERIES = ("sample", "mr/siemens_enh_phase")
FORMS = (("dicom-seg", "binary"), ("dicom-seg", "labelmap"), ("rtstruct", "binary"))


@pytest.fixture(params=SERIES)
def label_map(request):
    return blobs(io.read(series_called(request.param)))


@pytest.mark.parametrize(("form", "seg_type"), FORMS)
def test_what_is_uploaded_comes_back_byte_for_byte(orthanc, label_map, tmp_path, form, seg_type):
    content = write(label_map, tmp_path / "made.dcm", form, seg_type).read_bytes()
    stored = orthanc.post("/instances", content)
    assert stored["Status"] in ("Success", "AlreadyStored")
    assert orthanc.get(f"/instances/{stored['ID']}/file") == content


@pytest.mark.parametrize(("form", "seg_type"), [FORMS[0], FORMS[2]])
def test_what_is_sent_by_c_store_comes_back_equal_in_every_element(
    orthanc, oracle, label_map, tmp_path, form, seg_type
):
    path = write(label_map, tmp_path / "made.dcm", form, seg_type)
    made = pydicom.dcmread(path)
    proposed = "-xi" if made.file_meta.TransferSyntaxUID.is_implicit_VR else "-xe"
    sent = run(oracle("storescu"), proposed, "-R", "-aec", "ORTHANC", "127.0.0.1", orthanc.dicom_port, path)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (instance,) = orthanc.post("/tools/lookup", made.SOPInstanceUID.encode())
    (tmp_path / "back.dcm").write_bytes(orthanc.get(f"{instance['Path']}/file"))
    back = pydicom.dcmread(tmp_path / "back.dcm")
    assert list(back.keys()) == list(made.keys())
    for element in made:
        assert back[element.tag] == element


def test_the_server_knows_objects_and_series_as_one_study(orthanc, tmp_path):
    folder = series_called("sample")
    label_map = blobs(io.read(folder))
    for path in sorted(folder.iterdir())[:2]:
        orthanc.post("/instances", path.read_bytes())
    studies = set()
    for form in io.DICOM_FORMS:
        stored = orthanc.post("/instances", write(label_map, tmp_path / f"{form}.dcm", form).read_bytes())
        studies.add(stored["ParentStudy"])
    assert len(studies) == 1
    modalities = {
        json.loads(orthanc.get(f"/series/{series}"))["MainDicomTags"]["Modality"]
        for series in json.loads(orthanc.get(f"/studies/{studies.pop()}"))["Series"]
    }
    assert {"CT", "SEG", "RTSTRUCT"} <= modalities


def test_a_repeat_replaces_and_does_not_add(orthanc, tmp_path):
    label_map = blobs(io.read(series_called("sample")), seed=5)
    first = orthanc.post("/instances", write(label_map, tmp_path / "a.dcm", "dicom-seg").read_bytes())
    again = orthanc.post("/instances", write(label_map, tmp_path / "b.dcm", "dicom-seg").read_bytes())
    assert first["ID"] == again["ID"]
