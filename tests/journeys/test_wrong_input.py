"""Wrong input ends in a sentence that names it and in the exit code of the contract, never in a traceback."""

import json
import shutil

import pytest

from tests.journeys.conftest import SAMPLE, Shell

pytestmark = pytest.mark.journey


def copy_of_sample(folder):
    return shutil.copytree(SAMPLE, folder / "data")


def test_a_missing_file(trained, shell):
    assert "nowhere.nii.gz does not exist" in shell("predict", "nowhere.nii.gz", "-m", trained, "-o", "out", code=2)
    assert "does not exist" in shell("train", "nowhere", "-o", "run", code=2)
    assert "does not exist" in shell("predict", SAMPLE / "imagesTs", "-m", "nowhere", "-o", "out", code=2)


def test_an_empty_folder(trained, shell):
    (shell.folder / "empty").mkdir()
    assert "empty" in shell("train", "empty", "-o", "run", code=3)
    assert "empty" in shell("predict", "empty", "-m", trained, "-o", "out", code=3)
    assert "empty" in shell("evaluate", "empty", SAMPLE / "labelsTs", code=2)


def test_a_truncated_file_is_named_and_stops_a_training_before_it_begins(shell):
    data = copy_of_sample(shell.folder)
    (scan, *_) = sorted((data / "imagesTr").glob("*.nii.gz"))
    scan.write_bytes(scan.read_bytes()[:5000])
    said = shell("train", data, "-o", "run", "--budget", "1m", code=3)
    assert scan.name in said
    assert "damaged" in said
    assert "--skip-bad" in said
    assert not (shell.folder / "run").exists()


def test_a_truncated_file_does_not_stop_the_others(trained, shell):
    data = copy_of_sample(shell.folder)
    (scan, *_) = sorted((data / "imagesTs").glob("*.nii.gz"))
    scan.write_bytes(scan.read_bytes()[:5000])
    said = shell("predict", data / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu", code=1)
    assert "1 predicted" in said
    assert "1 failed" in said
    record = json.loads((shell.folder / "out/predictions.json").read_text())
    assert sorted(case["status"] for case in record["cases"]) == ["failed", "predicted"]


def test_a_mismatched_pair_is_refused_with_figures(shell):
    data = copy_of_sample(shell.folder)
    first, second, *_ = sorted((data / "labelsTr").glob("*.nii.gz"))
    shutil.copy(second, first)
    said = shell("train", data, "-o", "run", "--budget", "1m", code=3)
    assert "mm apart at a corner" in said
    assert first.name.removesuffix(".nii.gz") in said


def test_a_mismatched_pair_is_a_failed_row(shell):
    data = copy_of_sample(shell.folder)
    first, second, *_ = sorted((data / "labelsTr").glob("*.nii.gz"))
    said = shell("evaluate", first, second, code=3)
    assert "failed" in said


def test_a_wrong_option_names_the_right_one(shell):
    said = shell("train", SAMPLE, "-o", "run", "--set", "training.learning_rat=1", code=2)
    assert "training.learning_rate" in said
    said = shell("train", SAMPLE, "-o", "run", "--budjet", "1m", code=2)
    assert "--budget" in said


def test_a_full_disk_is_said_and_leaves_nothing_half_written(trained, shell):
    """A limit on the size of files stands for the disk: the system answers alike, without room for the mask."""
    resource = pytest.importorskip("resource")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    arguments = ("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu")
    said = shell(*arguments, code=4, preexec_fn=limit)
    assert "disk is full" in said
    assert list((shell.folder / "out").glob("*.nii.gz")) == []
    assert list((shell.folder / "out").rglob(".part-*")) == []


def test_fail_under_works_in_a_shell_script(trained, tmp_path):
    shell = Shell(tmp_path)
    truth = SAMPLE / "labelsTs"
    shell("evaluate", truth, truth, "--fail-under", "dice=0.99")
    shell("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu", "-q")
    assert "Not met" in shell("evaluate", "out", truth, "--fail-under", "dice=0.999", code=1)


def test_a_damaged_model_is_found_by_its_digest(trained, shell):
    model = shutil.copytree(trained / "model", shell.folder / "model")
    weights = model / "fold_0.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    said = shell("predict", SAMPLE / "imagesTs", "-m", "model", "-o", "out", code=3)
    assert "fold_0.safetensors is damaged" in said
