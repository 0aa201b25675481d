"""From a folder of scans to masks and figures, on CT-like volumes, on pictures, and from the wheel."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medseg import io
from tests.journeys.conftest import REPOSITORY, SAMPLE, Shell

pytestmark = pytest.mark.journey


def test_train_predict_and_evaluate_on_the_sample_data(trained, tmp_path):
    shell = Shell(tmp_path)
    said = shell("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--preview", "--device", "cpu")
    assert "2 predicted" in said
    record = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [case["status"] for case in record["cases"]] == ["predicted", "predicted"]
    for case in record["cases"]:
        scan = io.read(SAMPLE / "imagesTs" / f"{case['case']}.nii.gz")
        mask = io.read_labels(tmp_path / "out" / f"{case['case']}.nii.gz")
        assert mask.geometry.shape == scan.geometry.shape
        np.testing.assert_allclose(mask.geometry.affine, scan.geometry.affine, atol=1e-4)
        assert (tmp_path / "out" / f"{case['case']}_preview.png").is_file()
    said = shell("evaluate", "out", SAMPLE / "labelsTs", "-o", "figures", "--table", "markdown")
    assert "| liver" in said
    summary = json.loads((tmp_path / "figures/summary.json").read_text())
    assert summary["n_cases"] == 2
    assert 0 < summary["headline"]["dice"] <= 1


def test_evaluate_agrees_with_an_independent_dice(trained, tmp_path):
    shell = Shell(tmp_path)
    shell("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu", "-q")
    shell("evaluate", "out", SAMPLE / "labelsTs", "-o", "figures", "-q")
    for row in csv.DictReader((tmp_path / "figures/metrics.csv").read_text().splitlines()):
        if row["metric"] != "dice":
            continue
        value = {"liver": 1, "spleen": 2, "kidneys": 3}[row["label"]]
        ours = io.read_labels(tmp_path / "out" / f"{row['case']}.nii.gz").array == value
        truth = io.read_labels(SAMPLE / "labelsTs" / f"{row['case']}.nii.gz").array == value
        expected = 2 * (ours & truth).sum() / (ours.sum() + truth.sum())
        assert float(row["value"]) == pytest.approx(expected, abs=1e-6)


def test_a_second_prediction_does_only_what_is_missing(trained, tmp_path):
    shell = Shell(tmp_path)
    shell("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu", "-q")
    (mask, *_) = sorted((tmp_path / "out").glob("*.nii.gz"))
    mask.unlink()
    said = shell("predict", SAMPLE / "imagesTs", "-m", trained, "-o", "out", "--device", "cpu")
    assert "1 predicted" in said
    assert "1 already up to date" in said


def test_a_dicom_series_becomes_a_nifti_mask_at_its_place(trained, tmp_path):
    (series,) = [folder for folder in (SAMPLE / "dicom").iterdir() if folder.is_dir()]
    Shell(tmp_path)("predict", series, "-m", trained, "-o", "mask.nii.gz", "--device", "cpu")
    assert io.read_labels(tmp_path / "mask.nii.gz").geometry.same_as(io.read(series).geometry)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Bright blobs on noise, as PNG with masks of 0 and 255."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(8):
        rows, columns = np.indices((80, 96))
        mask = (rows - rng.uniform(25, 55)) ** 2 + (columns - rng.uniform(25, 70)) ** 2 < rng.uniform(10, 18) ** 2
        image = np.clip(rng.normal(90 + 80 * mask, 25), 0, 255).astype(np.uint8)
        for name, array in (("images", image), ("labels", 255 * mask.astype(np.uint8))):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / name / f"cell_{number}.png")
    return folder


def test_pictures_go_in_and_palette_masks_come_out(pictures, shell):
    small = (
        "--set",
        "network.features=[8,16,32]",
        "--set",
        "plan.patch=[64,64]",
        "--set",
        "training.steps_an_epoch=30",
    )
    shell("train", pictures, "-c", "unet2d", "-o", "run", "--epochs", "3", "--device", "cpu", *small)
    shell("predict", pictures / "images", "-m", "run", "-o", "out", "--device", "cpu")
    masks = sorted((shell.folder / "out").glob("cell_?.png"))
    assert len(masks) == 8
    with Image.open(masks[0]) as mask:
        assert mask.mode == "P"
        assert mask.size == (96, 80)
    said = shell("evaluate", "out", pictures / "labels", "--json")
    (evaluated,) = [line for line in said.splitlines() if line.startswith('{"event": "evaluated"')]
    assert json.loads(evaluated)["headline"]["dice"] > 0.8


def test_the_wheel_carries_the_presets_and_trains_in_an_empty_folder(tmp_path):
    """As a user installs it: nothing of the checkout is in reach."""
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(REPOSITORY),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=300)

    class Installed(Shell):
        @property
        def environment(self):
            return {**super().environment, "PYTHONPATH": str(site)}

    shell = Installed(empty)
    assert "unet-classic" in shell("train", "--list-presets")
    shell.train(SAMPLE, "run", "-c", "unet3d", "--epochs", "1")
    assert (empty / "run/model/model.json").is_file()
    where = subprocess.run(
        [sys.executable, "-c", "import medseg; print(medseg.__file__)"],
        env=shell.environment,
        cwd=empty,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout


def test_a_dry_run_shows_the_network_stage_by_stage_and_writes_nothing(shell):
    said = shell.train(SAMPLE, "run", "--dry-run", "--budget", "2m")
    assert "contracting" in said
    assert "bottleneck" in said
    assert "expanding" in said
    assert "receptive field" in said
    assert "Nothing was written." in said
    assert list(shell.folder.iterdir()) == []
