"""Training straight from what hospitals have: DICOM series with structure sets, and tables that mix formats."""

import json

import numpy as np
import pytest

from medseg import io
from medseg.core.volume import LabelMap, Volume
from tests.data.dicom_trees import put_series, put_structures
from tests.journeys.conftest import Shell

pytestmark = pytest.mark.journey

SMALL = (
    *("--epochs", "1", "--device", "cpu", "--set", "plan.patch=[16,16,8]", "--set", "plan.batch=2"),
    *(
        "--set",
        "network.features=[8,16]",
        "--set",
        "training.steps_an_epoch=12",
        "--set",
        "training.arithmetic=float32",
    ),
    *("--set", "training.validations=1"),
)
"""A network that learns a bright box in seconds."""


def box(number):
    return slice(1, 4), slice(1 + number % 3, 6 + number % 3), slice(2 + number % 4, 8 + number % 4)


def tree(root, n=4):
    """Patients with a CT each, in which a box is bright, and a structure set that outlines it."""
    for number in range(n):
        series = put_series(root / f"P{number}/ct", f"id{number}", number, bright=box(number))
        put_structures(root / f"P{number}/rt/1.dcm", series, lesion=box(number))
    return root


def trained(shell, data, *arguments):
    said = shell("train", data, "-o", "run", *SMALL, *arguments)
    model = json.loads((shell.folder / "run/model/model.json").read_text())
    return said, model


def test_training_runs_straight_from_dicom_series_with_structure_sets(tmp_path):
    shell = Shell(tmp_path)
    said, model = trained(shell, tree(tmp_path / "data"), "--read", "overlaps=refuse")
    assert "Layout dicom: there are 4 DICOM image series and 4 RTSTRUCT." in said
    assert "lesion" in json.dumps(model)
    for file in (tmp_path / "run").rglob("*.json*"):
        assert "Doe" not in file.read_text(), file
    said = shell("predict", tmp_path / "data", "-m", "run", "-o", "out", "--device", "cpu")
    assert "4 predicted" in said
    masks = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    assert [name[: len("P0_")] for name in masks] == [f"P{n}_" for n in range(4)]


def test_training_runs_from_a_table_that_mixes_nifti_and_dicom(tmp_path):
    shell = Shell(tmp_path)
    root = tree(tmp_path / "data")
    lines = ["case;image;label_lesion;group"]
    for number in range(4):
        image, label = f"P{number}/ct", f"P{number}/rt/1.dcm"
        if number % 2:
            scan = io.read(root / image)
            io.write(Volume(scan.array, scan.geometry), root / f"n{number}.nii.gz")
            mask = io.read_labels(root / label, image=root / image)
            array = 7 * (mask.array > 0).astype(np.uint8)
            io.write(LabelMap(array, mask.geometry), root / f"n{number}_lesion.nii.gz")
            image, label = f"n{number}.nii.gz", f"n{number}_lesion.nii.gz"
        lines.append(f"case {number};{image};{label};{'ab'[number // 2]}")
    (root / "list.csv").write_text("\r\n".join(lines))
    said, model = trained(shell, root / "list.csv")
    assert "Layout table: list.csv is one." in said
    assert "2 groups" in said
    assert "lesion" in json.dumps(model)
    assert (tmp_path / "run/fold_0/validation/metrics.csv").read_text().count("lesion") > 0


def test_a_refusal_prints_a_table_that_can_be_saved_as_it_is(tmp_path):
    shell = Shell(tmp_path)
    root = tree(tmp_path / "data", 2)
    (root / "P1/rt/2.dcm").write_bytes((root / "P1/rt/1.dcm").read_bytes())
    said = shell("train", root, "--dry-run", code=3)
    (root / "cases.csv").write_text(said[said.index("case,image") :])
    assert "Layout table: cases.csv lists the cases." in shell("train", root, "--dry-run", *SMALL[4:])


@pytest.mark.data
def test_real_sarcomas_train_from_ct_and_structure_sets(tmp_path, shared_data):
    shell = Shell(tmp_path)
    read = ("--read", "modality=CT", "--set", "plan.spacing_mm=[8,8,8]")
    labels = ("--set", "data.labels={GTV_Mass_CT: 1}")
    said, model = trained(shell, shared_data / "dicom/rtstruct/sts", *read, *labels)
    assert "2 series with labels are of 2 patients" in said
    assert "GTV_Mass_CT" in json.dumps(model)
