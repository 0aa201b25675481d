import json
import re
import signal
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medseg import io
from medseg.core.errors import InputError, MachineError, ModelError, UsageError
from medseg.core.events import CaseFailed, CasePredicted, Finished, Noted, Warned
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from medseg.model import ModelInfo, save_model
from medseg.nn.networks import build
from medseg.predict import PredictOptions, Predictor, predict_cases
from tests.predict.plans import small_plan
from tests.strategies import ORIENTATIONS

CPU = PredictOptions(device="cpu", arithmetic="float32")


def on_cpu(**wishes):
    return PredictOptions(**{"device": "cpu", "arithmetic": "float32", **wishes})


def make_model(folder, folds=1, **plan):
    plan = small_plan(**{"labels": {"first": 3, "second": 5}, **plan})
    weights = {}
    for fold in range(folds):
        with torch.random.fork_rng():
            torch.manual_seed(fold)
            weights[fold] = build(plan.network).state_dict()
    save_model(folder, ModelInfo(plan), weights)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("trained") / "model", folds=2)


def write_scan(path, seed=0, orientation=ORIENTATIONS[13], codes=(1, 1), shape=(9, 8, 7)):
    grid = Geometry.from_spacing(shape, (0.9, 1.1, 2.0), (-5, 7, 11)).reorient(orientation)
    array = np.random.default_rng(seed).normal(100, 30, grid.shape).astype(np.int16)
    image = nib.Nifti1Image(array, grid.affine)
    image.set_sform(grid.affine, codes[0])
    image.set_qform(grid.affine, codes[1])
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for n in range(3):
        write_scan(folder / f"case_{'abc'[n]}.nii.gz", seed=n)
    return folder


def by_case(events):
    return {event.case: event for event in events if isinstance(event, CasePredicted | CaseFailed)}


def recorded(out):
    content = json.loads((out / "predictions.json").read_text())
    assert content["schema"] == "medseg/predictions/1"
    return {facts["case"]: facts for facts in content["cases"]}


def test_a_folder_of_scans_becomes_a_folder_of_masks_and_a_record(scans, model, tmp_path):
    out = tmp_path / "out"
    events = list(predict_cases([scans], model, out, CPU))
    assert [type(event) for event in events] == [CasePredicted] * 3 + [Finished]
    assert events[-1].summary == {"predicted": 3, "current": 0, "failed": 0}
    assert sorted(path.name for path in out.iterdir()) == [
        *("case_a.labels.txt", "case_a.nii.gz", "case_b.labels.txt", "case_b.nii.gz"),
        *("case_c.labels.txt", "case_c.nii.gz", "predictions.json"),
    ]
    predictor = Predictor.load(model, device="cpu", arithmetic="float32")
    for name, facts in recorded(out).items():
        scan = io.read(scans / f"{name}.nii.gz")
        expected = predictor(scan)
        mask = io.read_labels(out / facts["outputs"][0])
        np.testing.assert_array_equal(mask.array, expected.labels.array)
        assert mask.geometry.same_as(scan.geometry)
        assert set(np.unique(mask.array)) <= {0, 3, 5}
        assert len(np.unique(mask.array)) > 1
        assert facts["status"] == "predicted"
        assert facts["input"] == io.files.digest(scans / f"{name}.nii.gz")
        assert facts["volumes_ml"] == pytest.approx(dict(expected.volumes_ml), abs=1e-5)


def changed(out, before):
    return sorted(path.name for path in out.glob("*.nii.gz") if path.stat().st_mtime_ns != before.get(path.name))


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}


def test_a_second_call_does_only_what_is_missing_or_out_of_date(scans, model, tmp_path):
    out = tmp_path / "out"
    list(predict_cases([scans], model, out, CPU))
    before = times(out)
    events = by_case(predict_cases([scans], model, out, CPU))
    assert {event.status for event in events.values()} == {"current"}
    assert events["case_a"].volumes_ml
    assert changed(out, before) == []

    (out / "case_a.nii.gz").unlink()
    write_scan(scans / "case_b.nii.gz", seed=1, codes=(1, 0))
    events = by_case(predict_cases([scans], model, out, CPU))
    assert {case: event.status for case, event in events.items()} == {
        "case_a": "predicted",
        "case_b": "predicted",
        "case_c": "current",
    }
    assert changed(out, before) == ["case_a.nii.gz", "case_b.nii.gz"]


@pytest.mark.parametrize("wish", [{"overlap": 0.25}, {"folds": ("0",)}, {"formats": ("nrrd",)}, {"overwrite": True}])
def test_other_options_make_what_is_there_out_of_date(scans, model, tmp_path, wish):
    out = tmp_path / "out"
    list(predict_cases([scans], model, out, CPU))
    events = by_case(predict_cases([scans], model, out, on_cpu(**wish)))
    assert {event.status for event in events.values()} == {"predicted"}


def test_another_model_makes_what_is_there_out_of_date(scans, model, tmp_path):
    out = tmp_path / "out"
    list(predict_cases([scans], model, out, CPU))
    other = make_model(tmp_path / "other", folds=2, patch=(4, 4, 4))
    assert {event.status for event in by_case(predict_cases([scans], other, out, CPU)).values()} == {"predicted"}


def test_one_bad_case_is_recorded_and_the_others_are_done(scans, model, tmp_path):
    whole = (scans / "case_b.nii.gz").read_bytes()
    (scans / "case_b.nii.gz").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    events = list(predict_cases([scans], model, out, CPU))
    assert [type(event) for event in events] == [CasePredicted, CaseFailed, CasePredicted, Finished]
    assert "case_b" in events[1].reason
    assert events[-1].summary == {"predicted": 2, "current": 0, "failed": 1}
    facts = recorded(out)
    assert [facts[case]["status"] for case in sorted(facts)] == ["predicted", "failed", "predicted"]
    assert facts["case_b"]["reason"] == events[1].reason
    assert facts["case_b"]["outputs"] == []
    assert not (out / "case_b.nii.gz").exists()

    (scans / "case_b.nii.gz").write_bytes(whole)
    assert by_case(predict_cases([scans], model, out, CPU))["case_b"].status == "predicted"


def test_work_that_is_stopped_leaves_whole_files_and_a_record_to_go_on_from(scans, model, tmp_path):
    out = tmp_path / "out"
    events = predict_cases([scans], model, out, CPU)
    next(events)
    assert set(recorded(out)) <= {"case_a"}
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt())
    assert set(recorded(out)) == {"case_a"}
    assert sorted(path.name for path in out.iterdir()) == [
        *("case_a.labels.txt", "case_a.nii.gz", "predictions.json"),
    ]
    statuses = [event.status for event in by_case(predict_cases([scans], model, out, CPU)).values()]
    assert statuses == ["current", "predicted", "predicted"]


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (3, 1), (4, 4)])
def test_shape_affine_and_codes_of_a_mask_are_the_scans(model, tmp_path, codes):
    scan = write_scan(tmp_path / "scans" / "a.nii.gz", codes=codes)
    list(predict_cases([scan], model, tmp_path / "mask.nii.gz", CPU))
    given, made = nib.load(scan), nib.load(tmp_path / "mask.nii.gz")
    assert made.shape == given.shape
    np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)
    for code in ("sform_code", "qform_code"):
        assert int(made.header[code]) in (int(given.header[code]), 1)
    assert made.header.get_xyzt_units()[0] == "mm"
    assert made.get_data_dtype() == np.uint8


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_masks_lie_on_their_scans_in_every_orientation(model, tmp_path, orientation):
    scan = write_scan(tmp_path / "scans" / "a.nii.gz", orientation=orientation)
    (event, _) = predict_cases([scan.parent], model, tmp_path / "out", CPU)
    given, made = nib.load(scan), nib.load(tmp_path / "out" / event.outputs[0])
    assert made.shape == given.shape
    np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)


def test_one_scan_and_a_file_name_write_that_file_and_nothing_else(scans, model, tmp_path):
    out = tmp_path / "results" / "mask.nrrd"
    (event, end) = predict_cases([scans / "case_a.nii.gz"], model, out, CPU)
    assert (event.outputs, end.output) == (("mask.nrrd",), str(out))
    assert [path.name for path in out.parent.iterdir()] == ["mask.nrrd"]
    assert io.read_labels(out).geometry.same_as(io.read(scans / "case_a.nii.gz").geometry)


def test_several_formats_hold_the_same_mask(scans, model, tmp_path):
    (event, _) = predict_cases([scans / "case_a.nii.gz"], model, tmp_path / "out", on_cpu(formats=("nrrd", "nifti")))
    assert event.outputs == ("case_a.nrrd", "case_a.nii.gz", "case_a.labels.txt")
    one, other = (io.read_labels(tmp_path / "out" / name) for name in event.outputs[:2])
    np.testing.assert_array_equal(one.array, other.array)


def test_pictures_become_palette_pngs_without_volumes(tmp_path):
    model = make_model(tmp_path / "model", patch=(8, 8), slice_axis=2)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    array = np.random.default_rng(0).integers(0, 255, (12, 17)).astype(np.uint8)
    Image.fromarray(array).save(pictures / "a.png")
    Image.fromarray(array).save(pictures / "b.jpg", quality=95)
    events = by_case(predict_cases([pictures], model, tmp_path / "out", CPU))
    assert {case: event.outputs for case, event in events.items()} == {"a": ("a.png",), "b": ("b.png",)}
    assert events["a"].volumes_ml == {}
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert (picture.mode, picture.size) == ("P", (17, 12))
        assert set(np.unique(np.asarray(picture))) <= {0, 3, 5}


def test_a_scan_of_two_files_is_one_case(tmp_path):
    model = make_model(tmp_path / "model", channels=("T1", "T2"))
    for n in range(2):
        write_scan(tmp_path / "scans" / f"knee_000{n}.nii.gz", seed=n)
    (noted, event, _) = predict_cases([tmp_path / "scans"], model, tmp_path / "out", CPU)
    assert noted == Noted("1 case has no names for the channels: their order counts, and they are taken for T1, T2.")
    assert (event.case, event.outputs) == ("knee", ("knee.nii.gz", "knee.labels.txt"))


def test_channels_of_other_names_fail_by_name_and_the_others_go_on(tmp_path):
    model = make_model(tmp_path / "model", channels=("T1", "T2"))
    for seed, name in enumerate(("knee_t2", "knee_t1", "hip_t2", "hip_flair")):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", seed=seed)
    (event, failed, finished) = predict_cases([tmp_path / "scans"], model, tmp_path / "out", CPU)
    assert (event.case, failed.case) == ("knee", "hip")
    assert "T1 is missing; the model knows no flair" in failed.reason
    assert finished.summary == {"predicted": 1, "current": 0, "failed": 1}
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"]
    assert {record["case"]: record["status"] for record in records} == {"knee": "predicted", "hip": "failed"}
    direct = Predictor.load(model, device="cpu", arithmetic="float32")
    channels = [io.read(tmp_path / "scans" / f"knee_{name}.nii.gz") for name in ("t1", "t2")]
    image = replace(channels[0], array=np.concatenate([channel.array for channel in channels]))
    np.testing.assert_array_equal(io.read_labels(tmp_path / "out" / "knee.nii.gz").array, direct(image).labels.array)


WAYS = ("numbers", "names", "folder", "nnunet", "imagesTr", "table", "msd", "listed")


def given_in_another_order(root, way):
    """One case of T2 (seed 0) and T1 (seed 1), laid out in a way in which T1 comes first, but for mere numbers."""
    names = {"numbers": ("k_0000", "k_0001"), "folder": ("tree/k/t2", "tree/k/T1"), "names": ("k-t2", "k-T1")}
    names |= dict.fromkeys(("nnunet", "imagesTr"), ("imagesTr/k_0001", "imagesTr/k_0000"))
    first, second = names.get(way, ("imagesTr/k_t2", "imagesTr/k_t1"))
    for seed, name in enumerate((first, second)):
        write_scan(root / f"{name}.nii.gz", seed=seed)
    declared = {"labels": {"background": 0, "first": 3}, "file_ending": ".nii.gz"}
    if way in ("nnunet", "imagesTr"):
        (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "t1", "1": "T2"}, **declared}))
    if way == "table":
        (root / "cases.csv").write_text("case,image_T1,image_T2\nk,imagesTr/k_t1.nii.gz,imagesTr/k_t2.nii.gz\n")
    if way == "listed":
        images = ["imagesTr/k_t1.nii.gz", "imagesTr/k_t2.nii.gz"]
        msd = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "3": "first"}}
        (root / "dataset.json").write_text(json.dumps({**msd, "training": [{"image": images, "label": "labelsTr/k"}]}))
    if way == "msd":
        volumes = [io.read(root / f"imagesTr/{name}.nii.gz") for name in ("k_t1", "k_t2")]
        for name in ("k_t1", "k_t2"):
            (root / f"imagesTr/{name}.nii.gz").unlink()
        whole = np.concatenate([volume.array for volume in volumes])
        io.write(replace(volumes[0], array=whole), root / "imagesTr/k.nii.gz")
        msd = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "3": "first"}}
        pair = {"image": "./imagesTr/k.nii.gz", "label": "./labelsTr/k.nii.gz"}
        (root / "dataset.json").write_text(json.dumps({**msd, "training": [pair]}))
    return root / "imagesTr" if way == "imagesTr" else root / "tree" if way == "folder" else root


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("two") / "model", channels=("T2", "T1"))


@pytest.mark.parametrize("way", WAYS)
def test_the_mask_is_the_same_in_whatever_order_channels_with_names_come(tmp_path, two_channels, way):
    direct = Predictor.load(two_channels, device="cpu", arithmetic="float32")
    for seed in (0, 1):
        write_scan(tmp_path / f"direct/{seed}.nii.gz", seed=seed)
    channels = [io.read(tmp_path / f"direct/{seed}.nii.gz") for seed in (0, 1)]
    right, wrong = (
        direct(replace(channels[0], array=np.concatenate([channel.array for channel in order]))).labels.array
        for order in (channels, channels[::-1])
    )
    assert not np.array_equal(right, wrong)
    source = given_in_another_order(tmp_path / "data", way)
    (event,) = by_case(predict_cases([source], two_channels, tmp_path / "out", CPU)).values()
    assert event.case == "k"
    np.testing.assert_array_equal(io.read_labels(tmp_path / "out" / "k.nii.gz").array, right)


def test_label_maps_that_are_given_as_scans_are_warned_of(model, tmp_path):
    scan = write_scan(tmp_path / "scans" / "a.nii.gz")
    grid = io.read(scan).geometry
    masks = np.zeros(grid.shape, np.uint8)
    masks[2:4] = 3
    io.write(LabelMap(masks, grid), tmp_path / "labels" / "b.nii.gz")
    events = by_case(predict_cases([scan, tmp_path / "labels"], model, tmp_path / "out", CPU))
    assert events["a"].warnings == ()
    assert any("holds only the values 0, 3, which are those of the model's labels" in w for w in events["b"].warnings)


def test_a_preview_is_drawn_beside_the_mask(scans, model, tmp_path):
    (event, _) = predict_cases([scans / "case_a.nii.gz"], model, tmp_path / "out", on_cpu(preview=True))
    assert event.outputs == ("case_a.nii.gz", "case_a.labels.txt", "case_a_preview.png")
    with Image.open(tmp_path / "out" / "case_a_preview.png") as picture:
        assert min(picture.size) > 300


def test_mirroring_a_model_that_never_saw_a_mirror_is_warned_of(scans, model, tmp_path):
    events = list(predict_cases([scans / "case_a.nii.gz"], model, tmp_path / "out", on_cpu(mirror=True)))
    assert isinstance(events[0], Warned)


@pytest.mark.parametrize(
    ("inputs", "out", "wishes", "error", "reason"),
    [
        ([], "out", {}, UsageError, "Nothing to predict"),
        (["nowhere"], "out", {}, UsageError, "does not exist"),
        (["scans"], "scans", {}, UsageError, "taken for scans the next time"),
        (["scans/case_a.nii.gz"], "scans", {}, UsageError, "taken for scans the next time"),
        (["scans/case_a.nii.gz"], "scans/case_a.nii.gz", {}, UsageError, "is the scan itself"),
        (["scans/case_a.nii.gz"], "scans/case_b.nii.gz", {}, UsageError, "is there already"),
        (["scans/case_a.nii.gz"], "note.txt", {}, UsageError, "is a file"),
        (["scans"], "mask.nii.gz", {}, UsageError, "names one file, but there are 3 cases"),
        (["scans/case_a.nii.gz"], "mask.jpg", {}, UsageError, "not written as"),
        (["scans/case_a.nii.gz"], "mask.nrrd", {"formats": ("nifti",)}, UsageError, "Give a folder"),
        (["scans"], "out", {"formats": ("bitmap",)}, UsageError, "'bitmap' is no format"),
        (["scans"], "out", {"folds": ("7",)}, UsageError, "no fold_7"),
        (["scans"], "out", {"device": "abacus"}, UsageError, "no device"),
        (["empty"], "out", {}, InputError, "no scan"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_written(
    scans, model, tmp_path, inputs, out, wishes, error, reason
):
    (tmp_path / "note.txt").write_text("keep me")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=reason):
        list(predict_cases([tmp_path / path for path in inputs], model, tmp_path / out, on_cpu(**wishes)))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_of_something_else_is_not_overwritten(scans, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match="no record of medseg predict"):
        list(predict_cases([scans], model, tmp_path / "out", CPU))
    assert (tmp_path / "out" / "predictions.json").read_text() == '{"mine": 1}'


def test_a_damaged_model_is_refused_before_anything_is_written(scans, tmp_path):
    model = make_model(tmp_path / "model")
    (model / "fold_0.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        list(predict_cases([scans], model, tmp_path / "out", CPU))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def full_disk():
    """No file may grow beyond 2,000 bytes: the system then answers as it does for a full disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def large_scan(tmp_path):
    """Its mask has no room on the full disk; the record of a failure would."""
    return write_scan(tmp_path / "large" / "a.nii.gz", shape=(30, 30, 30))


def test_a_full_disk_ends_the_batch_and_leaves_no_half_file(large_scan, model, tmp_path, full_disk):
    with pytest.raises(MachineError, match="disk is full"):
        list(predict_cases([large_scan], model, tmp_path / "out", CPU))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
    assert recorded(tmp_path / "out") == {}


def test_a_case_too_large_for_the_memory_allowed_fails_alone(scans, model, tmp_path):
    (event, *_) = predict_cases([scans], model, tmp_path / "out", on_cpu(max_memory=1000))
    assert isinstance(event, CaseFailed)
    assert "1,000 bytes are allowed" in event.reason


@pytest.mark.parametrize("spacing_mm", [(40.0, 40.0, 40.0), (100.0, 100.0, 100.0), (1.0, 99.0, 99.0)], ids=str)
def test_a_scan_of_enormous_voxels_fails_by_name_before_it_is_resampled_and_the_others_go_on(
    spacing_mm, scans, model, tmp_path
):
    """32 voxels of 40 mm are 1280 of 1 mm: 8 GiB an array. No memory is taken, so the test needs no limit."""
    model = make_model(tmp_path / "fine", spacing_mm=(0.3, 1.0, 1.0))
    grid = Geometry.from_spacing((32, 32, 32), spacing_mm)
    io.write(Volume(np.zeros((1, 32, 32, 32), np.uint8), grid), scans / "b_coarse.nii.gz")
    *events, end = predict_cases([scans], model, tmp_path / "out", on_cpu(max_memory=2**31))
    (failed,) = [event for event in events if isinstance(event, CaseFailed)]
    assert failed.case == "b_coarse"
    assert failed.reason.startswith("The image has 32 × 32 × 32 voxels of ")
    assert "and the model works at 0.3 × 1 × 1 mm: there it has " in failed.reason
    assert "but only 2 GiB are allowed. Check the spacing of the image" in failed.reason
    assert end.summary["failed"] == 1
    assert end.summary["predicted"] == len(events) - 1 > 0


def test_without_a_limit_what_is_free_on_the_machine_is_the_limit(model, tmp_path):
    model = make_model(tmp_path / "fine", spacing_mm=(1.0, 1.0, 1.0))
    grid = Geometry.from_spacing((32, 32, 32), (100.0, 100.0, 100.0))
    io.write(Volume(np.zeros((1, 32, 32, 32), np.uint8), grid), tmp_path / "a.nii.gz")
    (event, _) = predict_cases([tmp_path / "a.nii.gz"], model, tmp_path / "out", CPU)
    assert re.search(r"which take [\d,.]+ GiB of memory, but only [\d.]+ GiB are free\.", event.reason)


def test_a_real_hippocampus_is_segmented_in_its_place(shared_data, tmp_path):
    model = make_model(tmp_path / "model", patch=(24, 24, 24))
    scan = sorted((shared_data / "hippocampus" / "imagesTr").glob("*.nii*"))[0]
    (event, end) = predict_cases([scan], model, tmp_path / "out", CPU)
    assert isinstance(event, CasePredicted), event
    given, made = nib.load(scan), nib.load(tmp_path / "out" / event.outputs[0])
    assert made.shape == given.shape[:3]
    np.testing.assert_allclose(made.affine, given.affine, atol=1e-4)
    assert end.summary["predicted"] == 1


@pytest.mark.data
def test_a_tilted_ct_gets_a_mask_on_its_own_sheared_slices_from_dicom_as_from_nifti(shared_data, tmp_path):
    """A CT tilted by 16.5°: the mask has the affine of the reference, voxel for voxel the same from both files."""
    trained = make_model(tmp_path / "model", patch=(128, 128, 4), spacing_mm=(2.0, 2.0, None))
    series = shared_data / "dicom" / "ct" / "philips_tilt_plus16"
    reference = series.with_suffix(".nii.gz")
    found = {}
    for source, kind in ((series, "dicom"), (reference, "nifti")):
        out = tmp_path / kind
        (event,) = by_case(predict_cases([source], trained, out, on_cpu(formats=("nifti",)))).values()
        assert isinstance(event, CasePredicted), event
        found[kind] = nib.load(out / event.outputs[0])
        np.testing.assert_allclose(found[kind].affine, nib.load(reference).affine, atol=1e-5)
        assert found[kind].shape == (512, 512, 4)
        assert not io.read_labels(out / event.outputs[0]).geometry.is_orthogonal
    one, other = (np.asarray(image.dataobj) for image in found.values())
    assert len(np.unique(one)) > 1
    # The affine of a NIfTI is rounded to float32: at the border of a decision that may tell.
    assert np.mean(one != other) < 1e-4


@pytest.mark.data
def test_what_a_format_cannot_say_of_a_tilted_ct_is_refused_by_name(shared_data, tmp_path):
    trained = make_model(tmp_path / "model", patch=(128, 128, 4), spacing_mm=(2.0, 2.0, None))
    series = shared_data / "dicom" / "ct" / "philips_tilt_plus16"
    for kind in ("mha", "nrrd"):
        (event,) = by_case(predict_cases([series], trained, tmp_path / kind, on_cpu(formats=(kind,)))).values()
        assert isinstance(event, CaseFailed)
        assert "sheared (gantry tilt)" in event.reason


def test_probabilities_lie_beside_the_masks_on_their_grid_and_decide_them(model, tmp_path):
    scan = write_scan(tmp_path / "scans" / "a.nii.gz", orientation=ORIENTATIONS[29])
    *_, finished = predict_cases([scan], model, tmp_path / "out", on_cpu(probabilities=True))
    assert finished.summary["predicted"] == 1
    said = io.read(tmp_path / "out" / "a_probabilities.nii.gz", io.ReadOptions(channels="last"))
    mask = io.read_labels(tmp_path / "out" / "a.nii.gz")
    assert said.geometry.same_as(mask.geometry)
    np.testing.assert_allclose(said.array.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(np.array([0, 3, 5])[said.array.argmax(axis=0)], mask.array)
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"][0]
    assert {"a.nii.gz", "a_probabilities.nii.gz"} <= set(record["outputs"])
    again = list(predict_cases([scan], model, tmp_path / "out", on_cpu(probabilities=True)))
    assert [event.status for event in again if isinstance(event, CasePredicted)] == ["current"]


def test_a_record_names_no_folder_of_the_machine_whatever_went_wrong(scans, model, tmp_path):
    out = tmp_path / "Doe Jane" / "out"
    list(predict_cases([scans], model, out, on_cpu()))
    case = json.loads((out / "predictions.json").read_text())["cases"][0]["case"]
    (out / f"{case}.labels.txt").unlink()
    (out / f"{case}.labels.txt").mkdir()
    events = list(predict_cases([scans], model, out, on_cpu(overwrite=True)))
    text = (out / "predictions.json").read_text()
    assert f"{case}.labels.txt cannot be written" in text, events
    assert "Doe Jane" not in text
