"""Voxels to ignore judge nothing, on the way and at the end; labels too small for the plan grid are told."""

import csv
import json
import shutil

import numpy as np
import pytest

from medseg import io
from medseg.config.schema import Config
from medseg.core.events import Validated, Warned
from medseg.core.volume import LabelMap
from medseg.train.run import run
from medseg.train.setup import TrainOptions
from tests.train.conftest import SMALL, write_balls

IGNORE = 9
FOLD = {"train": ["ball_0", "ball_1"], "val": ["ball_2", "ball_3"]}
QUICK = SMALL.model_copy(
    update={
        "training": SMALL.training.model_copy(
            update={"epochs": 2, "arithmetic": "float32", "memory_format": "channels_last", "validations": 2}
        )
    }
)


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """Four cases in nnU-Net's layout, of which two validate, and 9 is to be ignored."""
    folder = write_balls(tmp_path_factory.mktemp("balls"), n=4)
    raw = tmp_path_factory.mktemp("raw")
    (raw / "imagesTr").mkdir()
    (raw / "labelsTr").mkdir()
    for path in (folder / "images").iterdir():
        shutil.copy(path, raw / "imagesTr" / path.name.replace(".nii", "_0000.nii"))
        shutil.copy(folder / "labels" / path.name, raw / "labelsTr" / path.name)
    labels = {"background": 0, "core": 3, "shell": 7, "ignore": IGNORE}
    about = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(about))
    (raw / "splits_final.json").write_text(json.dumps([FOLD]))
    return raw


def ignoring(balls, folder, changes):
    """The data with label maps changed: case → what becomes of its array."""
    data = shutil.copytree(balls, folder)
    for case, change in changes.items():
        path = data / "labelsTr" / f"{case}.nii.gz"
        old = io.read_labels(path)
        io.write(LabelMap(change(old.array).astype(np.uint8), old.geometry), path)
    return data


def everything(array):
    return np.full_like(array, IGNORE)


def trained(data, out, config: Config = QUICK):
    return list(run(data, out, TrainOptions(config=config, device="cpu")))


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_a_case_that_is_ignored_as_a_whole_is_left_out_of_every_mean(balls, tmp_path):
    data = ignoring(balls, tmp_path / "data", {"ball_2": everything})
    events = trained(data, tmp_path / "run")
    assert any("ball_2 is to be ignored as a whole: left out" in event.text for event in of(Warned, events))
    quick, final = of(Validated, events)
    assert (quick.n_cases, final.n_cases) == (1, 1)
    rows = table(tmp_path / "run/fold_0/validation/metrics.csv")
    statuses = {row["case"]: row["status"] for row in rows if row["metric"] == "dice"}
    assert statuses["ball_2"] == "not_annotated"
    only = [float(row["value"] or 0) for row in rows if row["metric"] == "dice" and row["case"] == "ball_3"]
    assert final.dice == pytest.approx(np.mean(only))


def test_where_no_held_out_case_is_annotated_no_figure_is_given(balls, tmp_path):
    data = ignoring(balls, tmp_path / "data", {"ball_2": everything, "ball_3": everything})
    events = trained(data, tmp_path / "run")
    assert of(Validated, events) == []
    told = [event.text for event in of(Warned, events)]
    assert any("nothing will tell how good this model is" in text for text in told)
    assert any("No held-out case has an annotated voxel" in text for text in told)
    assert {row["validation_dice"] for row in table(tmp_path / "run/fold_0/history.csv")} == {""}
    assert "not validated" in (tmp_path / "run/model/README.md").read_text()


def test_a_validation_on_the_way_agrees_with_the_one_at_the_end_where_voxels_are_ignored(balls, tmp_path):
    """Both see the same weights here: the learning rate is next to none."""

    def half(array):
        return np.where(np.arange(array.shape[0])[:, None, None] < array.shape[0] // 2, IGNORE, array)

    data = ignoring(balls, tmp_path / "data", dict.fromkeys(("ball_1", "ball_2", "ball_3"), half))
    still = QUICK.training.model_copy(update={"learning_rate": 1e-12})
    quick, final = of(Validated, trained(data, tmp_path / "run", QUICK.model_copy(update={"training": still})))
    assert quick.dice_by_label == pytest.approx(final.dice_by_label, abs=1e-6)


def test_a_label_too_small_for_the_plan_grid_is_told_with_its_voxels(balls, tmp_path):
    def speck(array):
        kept = np.where(array == 7, 7, 0)
        kept[0, 0, 0] = 3
        return kept

    data = ignoring(balls, tmp_path / "data", {"ball_1": speck})
    coarse = QUICK.plan.model_copy(update={"spacing_mm": (4.0, 4.0, 4.0)})
    options = TrainOptions(config=QUICK.model_copy(update={"plan": coarse}), device="cpu")
    told: list[str] = []
    for event in run(data, tmp_path / "run", options, stop=lambda told=told: bool(told)):
        told += [event.text for event in of(Warned, [event]) if "Too small" in event.text]
    assert told == [
        "Too small for the plan grid (4 × 4 × 4 mm), where nothing is left to learn from: core in 1 of the 2 training "
        "cases that have it: ball_1 (1 voxel). A finer plan.spacing_mm keeps more."
    ]
