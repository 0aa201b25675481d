"""Predictions in every form: DICOM objects beside files, names with all of them, refusals before the network runs."""

import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from medseg import io
from medseg.config.load import parse_label_outputs
from medseg.config.schema import LabelConfig
from medseg.core.errors import UsageError
from medseg.core.events import CaseFailed, CasePredicted, Warned
from medseg.data.case_ids import series_id
from medseg.io.codes import SIDES, Code
from medseg.model import ModelInfo, save_model
from medseg.nn.networks import build
from medseg.predict import PredictOptions, Predictor, predict_cases
from tests.io.dicom_files import write_series
from tests.predict.plans import small_plan

LABELS = {"left kidney": 3, "blob": 5}
UID = "1.2.3"
KNEE, HEAD = (series_id(Path(name), UID) for name in ("knee", "head"))


def on_cpu(**wishes):
    return PredictOptions(**{"device": "cpu", "arithmetic": "float32", **wishes})


def make_model(folder, labels=LABELS, **info):
    plan = small_plan(labels=labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build(plan.network).state_dict()
    save_model(folder, ModelInfo(plan, "kidneys", **info), {0: weights})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "knee"
    stored = np.random.default_rng(0).normal(1100, 60, (5, 8, 9)).astype(np.uint16)
    write_series(folder, stored, reverse=True, SeriesInstanceUID=UID)
    return folder


@pytest.fixture(scope="module")
def tilted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "head"
    stored = np.random.default_rng(1).normal(1100, 60, (6, 8, 9)).astype(np.uint16)
    write_series(folder, stored, step=(0.0, 0.7, 2.5), SeriesInstanceUID=UID)
    return folder


def only(events):
    (event,) = (event for event in events if isinstance(event, CasePredicted | CaseFailed))
    return event


def test_all_forms_of_a_dicom_case_say_the_same(series, model, tmp_path):
    forms = ("dicom-seg", "rtstruct", "nifti", "seg.nrrd")
    event = only(predict_cases([series], model, tmp_path, on_cpu(formats=forms)))
    assert event.outputs == (
        *(f"{KNEE}_seg.dcm", f"{KNEE}_rtstruct.dcm", f"{KNEE}.nii.gz", f"{KNEE}.labels.txt", f"{KNEE}.seg.nrrd"),
    )
    expected = Predictor.load(model, device="cpu", arithmetic="float32")(io.read(series)).labels
    assert np.unique(expected.array).size > 1
    for name in (f"{KNEE}_seg.dcm", f"{KNEE}_rtstruct.dcm", f"{KNEE}.seg.nrrd"):
        back = io.read_labels(tmp_path / name, image=series)
        assert back.geometry.same_as(expected.geometry)
        for label in LABELS:
            np.testing.assert_array_equal(
                back.labels.mask(back.array, label), expected.labels.mask(expected.array, label)
            )
    np.testing.assert_array_equal(io.read_labels(tmp_path / f"{KNEE}.nii.gz").array, expected.array)
    assert '3   185  102   83        1  1  1    "left kidney"' in (tmp_path / f"{KNEE}.labels.txt").read_text()
    (record,) = json.loads((tmp_path / "predictions.json").read_text())["cases"]
    assert record["outputs"] == list(event.outputs)
    assert record["options"]["seg_type"] == "binary"


def test_a_dicom_case_is_nifti_where_nothing_else_is_asked_for(series, model, tmp_path):
    assert only(predict_cases([series], model, tmp_path, on_cpu())).outputs == (f"{KNEE}.nii.gz", f"{KNEE}.labels.txt")


def test_a_repeat_has_the_same_uids_and_another_model_others(series, model, tmp_path):
    def uids(model, out):
        only(predict_cases([series], model, out, on_cpu(formats=("dicom-seg", "rtstruct"))))
        found = [pydicom.dcmread(out / f"{KNEE}_{kind}.dcm") for kind in ("seg", "rtstruct")]
        return [uid for dataset in found for uid in (dataset.SeriesInstanceUID, dataset.SOPInstanceUID)]

    first = uids(model, tmp_path / "first")
    assert len(set(first)) == 4
    assert uids(model, tmp_path / "again") == first
    other = make_model(tmp_path / "other", labels={"left kidney": 3, "spleen": 5})
    assert set(uids(other, tmp_path / "third")).isdisjoint(first)


def test_what_a_configuration_declared_of_a_label_is_written(series, tmp_path):
    declared = {"blob": LabelConfig(code="367643001", meaning="Cyst", category="abnormality", color=(10, 20, 30))}
    model = make_model(tmp_path / "model", codes=declared)
    events = list(predict_cases([series], model, tmp_path / "out", on_cpu(formats=("dicom-seg", "rtstruct"))))
    assert not any(isinstance(event, Warned) for event in events)
    back = io.read_labels(tmp_path / "out" / f"{KNEE}_seg.dcm", image=series)
    kidney, blob = back.meta.header["codes"]["left kidney"], back.meta.header["codes"]["blob"]
    assert (kidney.kind, kidney.side) == (Code("64033007", "SCT", "Kidney"), SIDES["left"])
    assert (blob.kind, blob.category.value) == (Code("367643001", "SCT", "Cyst"), "49755003")
    rtstruct = pydicom.dcmread(tmp_path / "out" / f"{KNEE}_rtstruct.dcm")
    assert rtstruct.ROIContourSequence[1].ROIDisplayColor == [10, 20, 30]


def test_labels_without_a_code_are_told_once_and_only_where_dicom_is_written(series, model, tmp_path):
    warned = [
        e.text
        for e in predict_cases([series], model, tmp_path / "a", on_cpu(formats=("rtstruct",)))
        if isinstance(e, Warned)
    ]
    assert len(warned) == 1
    assert "No code is known for blob" in warned[0]
    assert not any(isinstance(e, Warned) for e in predict_cases([series], model, tmp_path / "b", on_cpu()))


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
def test_what_is_no_dicom_series_is_refused_before_the_network_runs(series, model, tmp_path, monkeypatch, form):
    scan = tmp_path / "scan.nii.gz"
    io.write(io.read(series), scan)
    monkeypatch.setattr(Predictor, "__call__", lambda *_: pytest.fail("the network ran"))
    event = only(predict_cases([scan], model, tmp_path / "out", on_cpu(formats=("nifti", form))))
    assert event.reason.startswith(f"It cannot be written as {form}, so it was not predicted.")
    assert "lies on a DICOM series, and this comes from nifti" in event.reason
    assert "-f nifti" in event.reason


@pytest.mark.parametrize("form", ["mha", "nrrd", "seg.nrrd"])
def test_a_sheared_grid_is_refused_by_name_before_the_network_runs(tilted, model, tmp_path, monkeypatch, form):
    monkeypatch.setattr(Predictor, "__call__", lambda *_: pytest.fail("the network ran"))
    event = only(predict_cases([tilted], model, tmp_path / "out", on_cpu(formats=(form,))))
    assert "sheared (gantry tilt)" in event.reason
    assert "NIfTI" in event.reason
    assert "dicom-seg" in event.reason


def test_a_sheared_grid_is_kept_by_nifti_and_dicom(tilted, model, tmp_path):
    event = only(predict_cases([tilted], model, tmp_path, on_cpu(formats=("nifti", "dicom-seg", "rtstruct"))))
    assert isinstance(event, CasePredicted)
    grid = io.read(tilted).geometry
    assert not grid.is_orthogonal
    expected = io.read_labels(tmp_path / f"{HEAD}.nii.gz")
    assert expected.geometry.same_as(grid)
    for name in (f"{HEAD}_seg.dcm", f"{HEAD}_rtstruct.dcm"):
        back = io.read_labels(tmp_path / name, image=tilted)
        np.testing.assert_array_equal(back.labels.mask(back.array, "blob"), expected.array == LABELS["blob"])


def test_a_label_map_seg_is_small_and_refused_where_labels_overlap(series, model, tmp_path):
    wishes = on_cpu(formats=("dicom-seg",), seg_type="labelmap")
    only(predict_cases([series], model, tmp_path / "out", wishes))
    assert pydicom.dcmread(tmp_path / "out" / f"{KNEE}_seg.dcm").SegmentationType == "LABELMAP"
    nested = make_model(tmp_path / "nested", labels={"whole": [3, 5], "core": 5})
    with pytest.raises(UsageError, match="core and whole overlap.*Leave --seg-type out"):
        list(predict_cases([series], nested, tmp_path / "no", wishes))
    assert not (tmp_path / "no").exists()


def test_one_file_is_written_under_its_own_name(series, model, tmp_path):
    list(predict_cases([series], model, tmp_path / "mask.dcm", on_cpu(formats=("rtstruct",))))
    assert pydicom.dcmread(tmp_path / "mask.dcm").Modality == "RTSTRUCT"
    list(predict_cases([series], model, tmp_path / "mask.seg.nrrd", on_cpu()))
    assert io.read_labels(tmp_path / "mask.seg.nrrd").labels.to_json() == LABELS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.dcm", "mask.seg.nrrd"]


@pytest.mark.parametrize("forms", [(), ("nifti",), ("dicom-seg", "rtstruct")])
def test_a_dcm_file_must_say_which_object_it_is(series, model, tmp_path, forms):
    with pytest.raises(UsageError, match=r"mask.dcm may be .*: say -f dicom-seg or -f rtstruct"):
        list(predict_cases([series], model, tmp_path / "mask.dcm", on_cpu(formats=forms)))


def test_labels_called_after_their_values_need_no_description(series, tmp_path):
    model = make_model(tmp_path / "model", labels={"label 3": 3, "label 5": 5})
    assert only(predict_cases([series], model, tmp_path / "out", on_cpu())).outputs == (f"{KNEE}.nii.gz",)


WHAT_NAMES_A_MODEL = ("SeriesDescription", "ManufacturerModelName", "ContentDescription", "StructureSetName")


def objects_of(series, model, out, **wishes):
    only(predict_cases([series], model, out, on_cpu(formats=("dicom-seg", "rtstruct"), **wishes)))
    return [pydicom.dcmread(out / f"{KNEE}_{kind}.dcm") for kind in ("seg", "rtstruct")]


def named(dataset):
    return [str(dataset.get(keyword)) for keyword in WHAT_NAMES_A_MODEL if keyword in dataset]


def test_the_name_and_description_that_a_model_was_given_are_in_dicom(series, tmp_path):
    model = make_model(tmp_path / "model", is_named=True, description="Kidneys in CT without contrast")
    segmentation, structures = objects_of(series, model, tmp_path / "out")
    assert named(segmentation) == ["medseg kidneys", "kidneys", "Kidneys in CT without contrast"]
    assert {segment.SegmentAlgorithmName for segment in segmentation.SegmentSequence} == {"kidneys"}
    assert named(structures) == ["medseg kidneys", "kidneys", "kidneys"]
    assert structures.StructureSetDescription == "Kidneys in CT without contrast"


def test_a_model_that_nobody_named_has_a_neutral_name_and_never_a_folders(series, tmp_path):
    path = make_model(tmp_path / "Mueller_Hans" / "model") / "model.json"
    # As medseg 0.1.0 called it.
    path.write_text(path.read_text().replace('"kidneys"', '"Mueller_Hans"'))
    for dataset in objects_of(series, path.parent, tmp_path / "out"):
        assert all(re.search(r"model [0-9a-f]{8}$", text) for text in named(dataset))
        assert "Mueller" not in str(dataset)


def test_a_label_is_called_and_coded_otherwise_in_all_that_is_written(series, model, tmp_path):
    wish = ["BLOB={name: Tumour of mine, code: 4147007, meaning: Mass, category: abnormality, color: [1, 2, 3]}"]
    options = {"labels": parse_label_outputs(wish), "preview": True, "formats": ("nifti", "seg.nrrd", "dicom-seg")}
    events = list(predict_cases([series], model, tmp_path / "out", on_cpu(**options)))
    assert not any(isinstance(event, Warned) for event in events)
    event = only(events)
    plain = only(predict_cases([series], model, tmp_path / "plain", on_cpu(formats=("nifti",))))
    assert event.volumes_ml == {
        "left kidney": plain.volumes_ml["left kidney"], "Tumour of mine": plain.volumes_ml["blob"]
    }  # fmt: skip
    assert '"Tumour of mine"' in (tmp_path / "out" / f"{KNEE}.labels.txt").read_text()
    assert b"Segment1_Name:=Tumour of mine" in (tmp_path / "out" / f"{KNEE}.seg.nrrd").read_bytes()
    one, other = (io.read_labels(folder / f"{KNEE}.nii.gz") for folder in (tmp_path / "out", tmp_path / "plain"))
    np.testing.assert_array_equal(one.array, other.array)
    back = io.read_labels(tmp_path / "out" / f"{KNEE}_seg.dcm", image=series)
    assert back.labels.names == ("left kidney", "Tumour of mine")
    assert back.meta.header["codes"]["Tumour of mine"].kind == Code("4147007", "SCT", "Mass")
    assert "blob" not in (tmp_path / "out" / "predictions.json").read_text().replace('"BLOB"', "")


def test_another_name_makes_what_is_there_out_of_date_and_the_same_does_not(series, model, tmp_path):
    for wish, status in (({}, "predicted"), ({"blob": "Cyst"}, "predicted"), ({"blob": "Cyst"}, "current")):
        labels = parse_label_outputs([f"{old}={new}" for old, new in wish.items()])
        assert only(predict_cases([series], model, tmp_path, on_cpu(labels=labels))).status == status


def test_what_is_said_of_a_label_goes_before_what_the_model_knows_of_it(series, tmp_path):
    declared = {"blob": LabelConfig(code="367643001", meaning="Cyst", color=(10, 20, 30))}
    model = make_model(tmp_path / "model", codes=declared)
    labels = parse_label_outputs(["blob={color: [7, 8, 9]}"])
    _, structures = objects_of(series, model, tmp_path / "out", labels=labels)
    assert structures.ROIContourSequence[1].ROIDisplayColor == [7, 8, 9]
    assert structures.RTROIObservationsSequence[1].RTROIIdentificationCodeSequence[0].CodeValue == "367643001"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("blub=Cyst", r"no such label. Did you mean 'blob'\? Its labels are left kidney, blob"),
        ("blob=Left Kidney", "would both be called"),
        ("blob={value: 3}", "value of a label is that of training"),
        ("blob={cod: 3}", r"'cod' is no key of a label. Did you mean code\?"),
        ("blob={code: 3}", "ode and meaning belong together"),
        ("blob", "write LABEL=NAME"),
        ("=Cyst", "write LABEL=NAME"),
        ("blob={", "not valid YAML"),
        ("blob=[1]", "--label blob="),
    ],
)
def test_a_wrong_wish_for_a_label_is_refused_before_anything_is_written(series, model, tmp_path, text, reason):
    with pytest.raises(UsageError, match=reason):
        list(predict_cases([series], model, tmp_path / "out", on_cpu(labels=parse_label_outputs([text]))))
    assert not (tmp_path / "out").exists()


def test_the_remedy_for_a_label_without_a_code_works(series, model, tmp_path):
    found = list(predict_cases([series], model, tmp_path / "a", on_cpu(formats=("rtstruct",))))
    (warned,) = [event.text for event in found if isinstance(event, Warned)]
    template = re.search(r"--label '([^']+)'", warned)[1]
    wish = template.replace("code: …", "code: 4147007").replace("meaning: …", "meaning: Mass")
    options = on_cpu(formats=("rtstruct",), labels=parse_label_outputs([wish]))
    assert not any(isinstance(event, Warned) for event in predict_cases([series], model, tmp_path / "b", options))
