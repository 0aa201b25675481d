"""CT and PET of sarcoma patients, and channels of NIfTI files on grids of their own, from training to figures."""

import json

import numpy as np
import pytest

from medseg import io
from medseg.cli.app import run
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from tests.data.folders import declare

pytestmark = pytest.mark.journey

COARSE = ["--set", "plan.spacing_mm=[3,3,3.27]"]

SMALL = [
    word
    for pair in (
        "training.steps_an_epoch=4",
        "training.arithmetic=float32",
        "network.features=[8,16]",
        "plan.patch=[16,16,16]",
        "plan.batch=2",
        "prediction.overlap=0",
    )
    for word in ("--set", pair)
]
"""A network that trains in seconds: what is shown is the way."""


@pytest.fixture
def medseg(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, in this process; what it prints is returned."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, code=0):
        found = run([str(argument) for argument in arguments])
        said = "".join(capsys.readouterr())
        assert found == code, said
        return said

    return command


def records(out):
    return json.loads((out / "predictions.json").read_text())["cases"]


@pytest.fixture
def sarcomas(shared_data):
    return shared_data / "dicom/rtstruct/sts"


def test_ct_and_pet_of_patients_are_learnt_predicted_and_judged(medseg, sarcomas, tmp_path):
    said = medseg("train", sarcomas, "-o", "run", "--device", "cpu", code=3)
    assert "--read modality=CT+MR+PT" in said
    said = medseg(
        *("train", sarcomas, "-o", "run", "--epochs", 1, "--fold", "all", "--device", "cpu", *SMALL, *COARSE),
        *("--read", "modality=CT+PT"),
    )
    assert "Cases with the channels CT, PT: 2, of 2 patients" in said
    assert said.count("PT has a grid of its own in 2 of 2 cases") == 1
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert plan["channels"] == ["CT", "PT"]
    assert plan["reasons"]["channels on grids of their own"].startswith("PT in 2 of 2 cases")
    said = medseg("predict", sarcomas, "-m", "run", "-o", "out", "--device", "cpu")
    assert said.count("PT has a grid of its own in 2 cases and was brought to that of CT") == 1
    assert "2 predicted" in said
    mask = io.read_labels(next((tmp_path / "out").glob("STS_002*.nii.gz")))
    assert mask.geometry.same_as(io.read_geometry(sarcomas / "STS_002/CT/image")[0], 0.05)
    # All three series of a patient have structures: those of CT are meant, as the predictions say themselves.
    medseg("evaluate", "out", sarcomas, "-o", "scores", "--metrics", "dice")
    summary = json.loads((tmp_path / "scores/summary.json").read_text())
    assert summary["n_cases"] == 2
    assert "GTV_Mass_CT" in summary["labels"]


def test_a_table_names_the_channels_and_the_model_finds_them_in_new_patients_by_modality(medseg, sarcomas, tmp_path):
    rows = [
        f"{patient},{sarcomas}/{patient}/CT/image,{sarcomas}/{patient}/PET/image,{sarcomas}/{patient}/CT/rtstruct.dcm"
        for patient in ("STS_002", "STS_003")
    ]
    (tmp_path / "list.csv").write_text("\n".join(["case,image_CT,image_PET,label", *rows]))
    said = medseg("train", "list.csv", "-o", "run", "--epochs", 1, "--fold", "all", "--device", "cpu", *SMALL, *COARSE)
    assert "PET has a grid of its own in 2 of 2 cases" in said
    medseg("predict", "list.csv", "-m", "run", "-o", "by_table", "--device", "cpu")
    said = medseg("predict", sarcomas, "-m", "run", "-o", "by_folder", "--device", "cpu")
    assert "none of CT, PT were left out: 2 of MR." in said
    for patient in ("STS_002", "STS_003"):
        (found,) = (tmp_path / "by_folder").glob(f"{patient}_*.nii.gz")
        told = io.read_labels(tmp_path / f"by_table/{patient}.nii.gz")
        # The arithmetic of each call is timed anew, and rounds differently.
        assert np.mean(io.read_labels(found).array != told.array) < 0.01


def phantoms(root, n=4):
    """T1 of 1 mm with a ball in it, and T2 of 2 mm slices along other axes with a smaller field of view."""
    first = Geometry.from_spacing((24, 24, 20), (1, 1, 1.5), (-12, -10, 5))
    second = first.resampled((2, 2, 2)).crop((1, 1, 2), (12, 12, 15)).permute((2, 0, 1)).flip(1)
    for number in range(n):
        rng = np.random.default_rng(number)
        centre = rng.uniform(-3, 3, 3) + first.to_world((12, 12, 10))
        for channel, grid in enumerate((first, second)):
            index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
            inside = np.linalg.norm(grid.to_world(index) - centre, axis=-1) < 5
            image = (100 + 80 * inside + rng.normal(0, 10, grid.shape)).astype(np.int16)
            io.write(Volume(image[None], grid), root / f"imagesTr/p{number}_{channel:04d}.nii.gz")
            if channel == 0:
                io.write(LabelMap(inside.astype(np.uint8), grid), root / f"labelsTr/p{number}.nii.gz")
    declare(
        root,
        channel_names={"0": "T1", "1": "T2"},
        labels={"background": 0, "ball": 1},
        file_ending=".nii.gz",
    )
    return root


def test_nifti_channels_of_other_spacings_and_axes_go_the_whole_way(medseg, tmp_path):
    root = phantoms(tmp_path / "data")
    said = medseg("inspect", root)
    assert "T2 has a grid of its own in 4 of 4 cases" in said
    said = medseg("train", root, "-o", "run", "--epochs", 2, "--device", "cpu", *SMALL)
    assert said.count("T2 has a grid of its own in 4 of 4 cases") == 1
    medseg("predict", root / "imagesTr", "-m", "run", "-o", "out", "--device", "cpu")
    assert all(record["status"] == "predicted" for record in records(tmp_path / "out"))
    far = Geometry.from_spacing((12, 12, 12), (2, 2, 2), (500, 0, 0))
    io.write(Volume(np.zeros((1, 12, 12, 12), np.int16), far), root / "imagesTr/p1_0001.nii.gz")
    said = medseg("predict", root / "imagesTr", "-m", "run", "-o", "again", "--device", "cpu", code=1)
    assert "T1 and T2 of case p1 overlap by 0 % of the smaller one's field of view: T1 lies at x " in said
    assert "3 predicted" in said
