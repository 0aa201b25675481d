"""What predict writes over: its own, and nothing else; another scan's result never without --overwrite."""

import json
import pathlib
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.core.errors import UsageError
from medseg.core.events import CaseFailed, CasePredicted
from medseg.evaluate import evaluate, write_results
from medseg.io.presence import this_process
from medseg.predict import predict_cases
from tests.data.dicom_trees import put_series
from tests.data.folders import nnunet
from tests.predict.test_batch import by_case, make_model, on_cpu, recorded, write_scan

BESIDE = {"preview": True, "probabilities": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("other") / "model", patch=(4, 4, 4))


@pytest.fixture
def scans(tmp_path):
    for n in range(3):
        write_scan(tmp_path / "scans" / f"c{n}.nii.gz", seed=n)
    return tmp_path / "scans"


def predict(inputs, model, out, **wishes):
    return by_case(predict_cases([inputs], model, out, on_cpu(**wishes)))


def bytes_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        ("c1.nii.gz", {}),
        ("C1.NII.gz", {}),
        ("c1.labels.txt", {}),
        ("c1_preview.png", BESIDE),
        ("c1_probabilities.nii.gz", BESIDE),
        ("c1.nrrd", {"formats": ("nifti", "nrrd")}),
        ("c1.seg.nrrd", {"formats": ("seg.nrrd",)}),
        ("c1.mha", {"formats": ("mha",)}),
        ("c1_rtstruct.dcm", {"formats": ("rtstruct",)}),
        ("c1_seg.dcm", {"formats": ("dicom-seg", "nifti")}),
    ],
)
def test_a_file_that_medseg_did_not_write_is_refused_before_anything_is_done(scans, model, tmp_path, name, wishes):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("somebody's work")
    with pytest.raises(UsageError, match=r"1 file that medseg did not write lies in .* --overwrite") as refused:
        predict(scans, model, out, **wishes)
    assert name in str(refused.value)
    assert bytes_in(out) == {name: b"somebody's work"}
    assert not (out / ".predictions").exists()


def test_all_such_files_are_counted_at_once_and_overwrite_replaces_them(scans, model, tmp_path):
    references = tmp_path / "labelsTr"
    references.mkdir()
    for n in range(8):
        write_scan(scans / f"c{n}.nii.gz", seed=n)
        (references / f"c{n}.nii.gz").write_text("reference")
    with pytest.raises(UsageError, match=r"8 files .*: c0\.nii\.gz, .*c7\.nii\.gz\."):
        predict(scans, model, references)
    assert set(bytes_in(references).values()) == {b"reference"}
    assert len(predict(scans / "c0.nii.gz", model, references, overwrite=True)) == 1
    assert (references / "c0.nii.gz").read_bytes() != b"reference"
    assert (references / "c1.nii.gz").read_bytes() == b"reference"


def test_files_under_other_names_are_nobodys_business(scans, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "c1.json").write_text("{}")
    assert {event.status for event in predict(scans, model, out).values()} == {"predicted"}
    assert (out / "notes.txt").read_text() == "mine"


def test_references_behind_a_link_and_a_dangling_link_are_refused_too(scans, model, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "c0.nii.gz").write_text("reference")
    (tmp_path / "out").symlink_to(tmp_path / "labels")
    with pytest.raises(UsageError, match=r"c0\.nii\.gz"):
        predict(scans, model, tmp_path / "out")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "c2.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    with pytest.raises(UsageError, match=r"c2\.nii\.gz"):
        predict(scans, model, tmp_path / "dangling")


def test_a_mask_corrected_by_hand_stays_when_the_model_changes(scans, model, another, tmp_path):
    out = tmp_path / "out"
    predict(scans, model, out)
    nib.save(nib.load(out / "c2.nii.gz"), out / "c1.nii.gz")
    by_hand = (out / "c1.nii.gz").read_bytes()
    assert {event.status for event in predict(scans, model, out).values()} == {"current"}, "nothing would be replaced"
    before = bytes_in(out)
    with pytest.raises(UsageError, match=r"1 mask in .* somebody has changed it since .*: c1\.nii\.gz\."):
        predict(scans, another, out)
    assert bytes_in(out) == before
    assert {e.status for e in predict(scans, another, out, overwrite=True).values()} == {"predicted"}
    assert (out / "c1.nii.gz").read_bytes() != by_hand


def test_masks_copied_to_another_place_are_still_medsegs_own(scans, model, another, tmp_path):
    predict(scans, model, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "moved", copy_function=shutil.copyfile)
    assert {event.status for event in predict(scans, another, tmp_path / "moved").values()} == {"predicted"}


def test_every_file_of_a_single_mask_is_refused(scans, model, tmp_path):
    (tmp_path / "mask.labels.txt").write_text("mine")
    (tmp_path / "mask_preview.png").write_text("mine")
    with pytest.raises(UsageError, match=r"mask\.labels\.txt is there already \(and 1 more beside it\)"):
        predict(scans / "c0.nii.gz", model, tmp_path / "mask.nii.gz", preview=True)
    assert not (tmp_path / "mask.nii.gz").exists()
    predict(scans / "c0.nii.gz", model, tmp_path / "mask.nii.gz", preview=True, overwrite=True)
    assert (tmp_path / "mask_preview.png").read_bytes() != b"mine"


def test_cases_that_would_write_one_file_are_refused(scans, model, tmp_path):
    write_scan(scans / "c0_probabilities.nii.gz")
    assert len(predict(scans, model, tmp_path / "without")) == 4
    with pytest.raises(UsageError, match=r"'c0' and 'c0_probabilities' would both write c0_probabilities\.nii\.gz"):
        predict(scans, model, tmp_path / "with", probabilities=True)
    assert not (tmp_path / "with").exists()


@pytest.mark.parametrize("out", ["data/imagesTr", "data/imagesTr/../imagesTr", "link"])
def test_the_folder_of_a_data_sets_scans_takes_no_masks(model, tmp_path, out):
    nnunet(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "imagesTr")
    two = make_model(tmp_path / "two", channels=("CT", "PET"))
    with pytest.raises(UsageError, match="is where the scans are"):
        predict(tmp_path / "data", two, tmp_path / out)


def test_a_folder_inside_of_a_series_takes_no_masks(model, tmp_path):
    put_series(tmp_path / "night")
    with pytest.raises(UsageError, match="lies inside of the scan"):
        predict(tmp_path / "night", model, tmp_path / "night" / "masks")


def masks_in(folder):
    return {name: content for name, content in bytes_in(folder).items() if name != "predictions.json"}


def test_the_next_patient_in_the_same_place_does_not_replace_the_last_one(model, tmp_path):
    out = tmp_path / "out"
    put_series(tmp_path / "night" / "CT", patient="1", seed=1, SeriesInstanceUID="1.2.3.1")
    predict(tmp_path / "night", model, out)
    before = masks_in(out)
    shutil.rmtree(tmp_path / "night")
    put_series(tmp_path / "night" / "CT", patient="2", seed=2, SeriesInstanceUID="1.2.3.2")
    (second,) = predict(tmp_path / "night", model, out).values()
    assert masks_in(out).items() >= before.items()
    assert isinstance(second, CaseFailed) or len(masks_in(out)) == 2 * len(before)


def test_another_series_under_a_name_that_a_table_gives_fails_by_name(model, tmp_path):
    out, table = tmp_path / "out", tmp_path / "cases.csv"
    table.write_text("case,image\nnight,CT\n")
    put_series(tmp_path / "CT", patient="1", seed=1, SeriesInstanceUID="1.2.3.1")
    (first,) = predict(table, model, out).values()
    before = bytes_in(out)
    shutil.rmtree(tmp_path / "CT")
    put_series(tmp_path / "CT", patient="2", seed=2, SeriesInstanceUID="1.2.3.2")
    (second,) = predict(table, model, out).values()
    assert isinstance(second, CaseFailed)
    assert second.case == first.case
    assert "has a result of another scan under this name" in second.reason
    assert masks_in(out).items() <= before.items()
    assert recorded(out) == {case["case"]: case for case in json.loads(before["predictions.json"])["cases"]}
    (again,) = predict(table, model, out, overwrite=True).values()
    assert again.status == "predicted"


def test_a_series_whose_files_were_sent_again_is_the_same_scan(model, tmp_path):
    out = tmp_path / "out"
    put_series(tmp_path / "ct", seed=1, SeriesInstanceUID="1.2.3.1")
    predict(tmp_path / "ct", model, out)
    put_series(tmp_path / "ct", seed=1, SeriesInstanceUID="1.2.3.1", SeriesDescription="sent again")
    (event,) = predict(tmp_path / "ct", model, out).values()
    assert event.status == "predicted"
    assert any("was replaced" in text for text in event.warnings)
    assert "1.2.3.1" not in (out / "predictions.json").read_text()


def test_two_files_of_one_name_in_two_folders_are_two_scans(model, tmp_path):
    out = tmp_path / "out"
    one = write_scan(tmp_path / "a" / "thorax.nii.gz", seed=1)
    two = write_scan(tmp_path / "b" / "thorax.nii.gz", seed=2)
    predict(one, model, out)
    before = (out / "thorax.nii.gz").read_bytes()
    (event,) = predict(two, model, out).values()
    assert isinstance(event, CaseFailed)
    assert (out / "thorax.nii.gz").read_bytes() == before
    assert predict(one, model, out)["thorax"].status == "current"


def test_a_copy_of_a_scan_in_another_folder_is_the_same_scan(model, tmp_path):
    write_scan(tmp_path / "a" / "thorax.nii.gz")
    predict(tmp_path / "a", model, tmp_path / "out")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert predict(tmp_path / "b", model, tmp_path / "out")["thorax"].status == "current"


@pytest.mark.parametrize("grid", [np.eye(4), np.diag([0.9, 0.9, 2.0, 1.0]) + np.eye(4, k=3) * 7])
def test_other_voxels_in_the_place_of_the_last_scan_are_another_scan_whatever_their_grid(model, tmp_path, grid):
    for seed, expected in ((1, CasePredicted), (2, CaseFailed), (1, CasePredicted)):
        array = np.random.default_rng(seed).integers(0, 200, (9, 8, 7)).astype(np.int16)
        nib.save(nib.Nifti1Image(array, grid), tmp_path / "thorax.nii.gz")
        assert isinstance(predict(tmp_path / "thorax.nii.gz", model, tmp_path / "out")["thorax"], expected)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int32])
def test_a_scan_that_was_saved_again_is_the_same_scan(model, tmp_path, dtype):
    scan = write_scan(tmp_path / "thorax.nii.gz")
    predict(scan, model, tmp_path / "out")
    image = nib.load(scan)
    again = nib.Nifti1Image(np.asarray(image.dataobj).astype(dtype), image.affine, image.header, dtype=dtype)
    again.header["descrip"] = b"saved again"
    nib.save(again, scan)
    (event,) = predict(scan, model, tmp_path / "out").values()
    assert event.status == "predicted"
    assert any("saved again or moved" in text for text in event.warnings)


def test_a_picture_in_the_place_of_another_is_another(tmp_path):
    model = make_model(tmp_path / "model", patch=(8, 8), slice_axis=2)
    for seed, expected in ((1, CasePredicted), (2, CaseFailed)):
        array = np.random.default_rng(seed).integers(0, 255, (12, 17)).astype(np.uint8)
        Image.fromarray(array).save(tmp_path / "a.png")
        assert isinstance(predict(tmp_path / "a.png", model, tmp_path / "out")["a"], expected)


def test_a_scan_that_cannot_be_read_does_not_take_the_record_of_the_last(model, tmp_path):
    scan = write_scan(tmp_path / "thorax.nii.gz")
    predict(scan, model, tmp_path / "out")
    known = recorded(tmp_path / "out")["thorax"]
    scan.write_bytes(scan.read_bytes()[:100])
    assert isinstance(predict(scan, model, tmp_path / "out")["thorax"], CaseFailed)
    assert recorded(tmp_path / "out")["thorax"] == known


def test_where_the_last_result_was_removed_the_next_scan_has_its_name(model, tmp_path):
    scan = write_scan(tmp_path / "thorax.nii.gz", shape=(9, 8, 7))
    predict(scan, model, tmp_path / "out")
    pathlib.Path(tmp_path / "out" / "thorax.nii.gz").unlink()
    pathlib.Path(tmp_path / "out" / "thorax.labels.txt").unlink()
    write_scan(scan, shape=(9, 8, 6))
    assert predict(scan, model, tmp_path / "out")["thorax"].status == "predicted"


def test_a_name_too_long_for_its_results_fails_alone(scans, model, tmp_path):
    write_scan(scans / f"{'x' * 240}.nii.gz")
    events = predict(scans, model, tmp_path / "out", probabilities=True)
    failed = [event for event in events.values() if isinstance(event, CaseFailed)]
    assert len(events) == 4
    assert ["240 letters" in event.reason for event in failed] == [True]


def test_a_result_of_another_case_is_not_replaced_in_a_later_call(model, tmp_path):
    write_scan(tmp_path / "one" / "c0_probabilities.nii.gz")
    write_scan(tmp_path / "two" / "c0.nii.gz")
    predict(tmp_path / "one", model, tmp_path / "out")
    before = masks_in(tmp_path / "out")
    with pytest.raises(UsageError, match=r"1 file in .* of another case: c0_probabilities\.nii\.gz\. .* --overwrite"):
        predict(tmp_path / "two", model, tmp_path / "out", probabilities=True)
    assert masks_in(tmp_path / "out") == before
    assert len(predict(tmp_path / "two", model, tmp_path / "out")) == 1


def test_a_scan_whose_name_differs_only_in_case_from_a_known_one_is_another_scan(model, tmp_path):
    predict(write_scan(tmp_path / "a" / "Knee.nii.gz", seed=1), model, tmp_path / "out")
    before = masks_in(tmp_path / "out")
    (event,) = predict(write_scan(tmp_path / "b" / "knee.nii.gz", seed=2), model, tmp_path / "out").values()
    assert isinstance(event, CaseFailed)
    assert "has a result of another scan under this name (Knee.nii.gz" in event.reason
    assert masks_in(tmp_path / "out") == before


def test_a_folder_whose_way_leads_through_a_file_is_refused(scans, model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        predict(scans, model, tmp_path / "file" / "out")


def test_what_a_killed_process_left_half_written_goes_from_the_folder_of_any_output(scans, model, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = f".part-{this_process().machine}-{process.pid}-0a1b2c.nii.gz"
    for place in (tmp_path, tmp_path / "out", tmp_path / "scores"):
        place.mkdir(exist_ok=True)
        (place / left).write_text("half")
    predict(scans, model, tmp_path / "out")
    predict(scans / "c0.nii.gz", model, tmp_path / "mask.nii.gz")
    write_results(evaluate(tmp_path / "mask.nii.gz", tmp_path / "mask.nii.gz"), tmp_path / "scores")
    assert list(tmp_path.rglob(".part-*")) == []
