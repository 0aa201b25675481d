"""Every real set of the shared folder, trained for some seconds, predicted and evaluated as a user would.

Half a minute shows that the way is whole on sets whose oddities nobody invented: empty label maps, 37 labels with gaps,
slices five times as thick as wide, pictures whose foreground is the majority, intensities from a hundred to a million,
outlines as DICOM structure sets. How good a model can become is told in `docs/benchmarks.md`; a modest Dice is asked
for where half a minute suffices. A minute each would add no way that half of it does not go. Sets are parameters, so
that processes share them. Left out are the two full-size volumes: `fullsize` is for measuring, not for training, and
takes more of a processor than all other sets together.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.conftest import Shell

pytestmark = [pytest.mark.journey, pytest.mark.data]

COMMON = ("--device", "cpu", "--jobs", "1")

DICE_ALONE = ("--metrics", "dice,iou")
"""Where half a minute leaves noise in all the image, distances between its borders would take minutes."""

Rows = Iterable[Sequence[object]]


@dataclass(frozen=True)
class RealSet:
    """How a set is trained here, and what must come of it.

    Attributes:
        name: Its folder.
        n_cases: Cases that are predicted and scored.
        settings: What keeps memory and time small, and folds where neighbouring cases must stay together.
        table: The rows (case, image, label) of a table of some cases; None gives the folder as it lies.
        judging: Options of the evaluation.
        least_dice: What the mean Dice of all cases must reach.
        budget: For training.
    """

    name: str
    n_cases: int
    settings: tuple[str, ...] = ()
    table: Callable[[Path], Rows] | None = None
    judging: tuple[str, ...] = ()
    least_dice: float = 0.0
    budget: str = "25s"


def of_mice(data: Path) -> Rows:
    names = ("rtg_01_WT", "rtg_03_UT", "rtg_05_UT")
    return [(name, data / f"imagesTr/{name}_0000.nii.gz", data / f"labelsTr/{name}.nii.gz") for name in names]


def of_cords(data: Path) -> Rows:
    """One of them with a label map 0.09 mm off its image, one of other number types and another number of slices."""
    names = ("cord_9604", "cord_9418", "cord_10062Ses1", "cord_9669")
    return [(name, data / f"imagesTr/{name}.nii.gz", data / f"labelsTr/{name}.nii.gz") for name in names]


def of_hippocampi(data: Path) -> Rows:
    images = sorted((data / "imagesTr").glob("*.nii.gz"))[:20]
    return [(image.name.removesuffix(".nii.gz"), image, data / "labelsTr" / image.name) for image in images]


def of_structure_sets(data: Path) -> Rows:
    patients = sorted((data / "rtstruct/sts").glob("STS_*"))
    return [(patient.name, patient / "CT/image", patient / "CT/rtstruct.dcm") for patient in patients]


SETS = (
    RealSet("hippocampus", 20, table=of_hippocampi, least_dice=0.4),
    RealSet("ms_lesions", 24, ("data.group='^(ms..)'", "plan.spacing_mm=[2,2,2]"), judging=DICE_ALONE),
    RealSet("mouse_brain", 3, ("plan.spacing_mm=[0.4,0.4,0.4]",), table=of_mice, judging=DICE_ALONE),
    RealSet("cord_gm", 4, ("plan.spacing_mm=[1,1,5]",), table=of_cords, judging=DICE_ALONE),
    RealSet("em_membranes", 25, settings=("data.group='block:5'", "network.first_features=8"), least_dice=0.5),
    RealSet("sts_petct", 14, settings=("network.first_features=8",), least_dice=0.3),
    RealSet("dicom", 2, ("data.folds=2",), table=of_structure_sets, judging=("--labels", "GTV_Mass_CT=1")),
)


@pytest.mark.parametrize("real", SETS, ids=lambda real: real.name)
def test_a_real_set_is_trained_predicted_and_evaluated(real, shared_data, tmp_path):
    shell = Shell(tmp_path)
    data = shared_data / real.name
    if real.table is not None:
        data = write_table(tmp_path / "cases.csv", real.table(data))
    sets = [word for pair in real.settings for word in ("--set", pair)]
    shell("train", data, "-o", "run", "--budget", real.budget, *COMMON, *sets)
    validated = json.loads((tmp_path / "run/fold_0/validation/summary.json").read_text())
    assert 0 <= validated["headline"]["dice"] <= 1
    assert validated["n_failed"] == 0
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "run/fold_0/history.csv")]
    assert losses
    assert all(map(math.isfinite, losses))

    shell("predict", data, "-m", "run", "-o", "out", *COMMON)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert len(written["cases"]) == real.n_cases

    shell("evaluate", "out", data, "-o", "scores", "--jobs", "1", *real.judging)
    scores = json.loads((tmp_path / "scores/summary.json").read_text())
    rows = rows_of(tmp_path / "scores/metrics.csv")
    assert (scores["n_cases"], scores["n_failed"]) == (real.n_cases, 0)
    assert len({row["case"] for row in rows}) == real.n_cases
    # Where neither side has a voxel there is no Dice; some scans of lesions hold none.
    dice = [row["value"] for row in rows if row["metric"] == "dice" and row["status"] != "both_empty"]
    assert all(math.isfinite(float(value)) for value in dice)
    assert real.least_dice <= scores["headline"]["dice"] <= 1


def write_table(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("case", "image", "label"), *rows])
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
