"""One case → rows: the golden table of all combinations, and each way a case can go wrong."""

import csv
import pickle
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta
from medseg.evaluate import METRICS, EvaluateOptions
from medseg.evaluate.pairs import Pair
from medseg.evaluate.score import measure, rows_of, unknown_values
from tests.metrics import brute
from tests.strategies import label_maps

GRID = Geometry.from_spacing((4, 4, 4), (1, 1, 2))
LIVER = Labels({"liver": (1,)})
EVERYTHING = EvaluateOptions(metrics=tuple(METRICS), tolerance_mm=0.8)


def label_map(*voxels, value=1, grid=GRID, meta=None):
    array = np.zeros(grid.shape, np.uint8)
    for voxel in voxels:
        array[voxel] = value
    return LabelMap(array, grid, meta=meta or Meta())


HERE, NOWHERE = label_map((1, 1, 1), (2, 1, 1)), label_map()
THERE = label_map((1, 1, 1))


def golden():
    lines = (Path(__file__).parents[1] / "golden" / "combinations.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    columns = [name for name in rows[0] if name != "metric"]
    return {column: {row["metric"]: row[column].split("/") for row in rows} for column in columns}


def number(text):
    return None if text == "" else pytest.approx(float(text), abs=1e-9)


COMBINATIONS = [
    # column of the golden table, status, reference, prediction, annotated
    ("ok", "ok", HERE, THERE, None),
    ("missed", "missed", HERE, NOWHERE, None),
    ("missing where it is", "missing", HERE, None, None),
    ("missing where it is", "failed", HERE, "unreadable", None),
    ("false_alarm", "false_alarm", NOWHERE, THERE, None),
    ("both_empty", "both_empty", NOWHERE, NOWHERE, None),
    ("missing where it is not", "missing", NOWHERE, None, None),
    ("missing where it is not", "failed", NOWHERE, "unreadable", None),
    ("not_annotated", "not_annotated", NOWHERE, THERE, frozenset({"spleen"})),
    ("not_annotated", "not_annotated", NOWHERE, NOWHERE, frozenset({"spleen"})),
    ("not_annotated", "not_annotated", NOWHERE, None, frozenset({"spleen"})),
    ("no_reference", "no_reference", None, THERE, None),
    ("no_reference", "no_reference", "unreadable", THERE, None),
]


@pytest.mark.parametrize(("column", "status", "reference", "predicted", "annotated"), COMBINATIONS)
def test_every_combination_has_the_cells_of_the_golden_table(column, status, reference, predicted, annotated, tmp_path):
    unreadable = tmp_path / "cut.nii.gz"
    unreadable.write_bytes(b"\x1f\x8b no gzip")
    sides = [unreadable if side == "unreadable" else side for side in (predicted, reference)]
    facts = measure(Pair("a", *sides, annotated=annotated), LIVER, EVERYTHING)
    rows = rows_of(facts, LIVER, EVERYTHING)
    assert [row.metric for row in rows] == list(METRICS)
    for row in rows:
        value, counted = golden()[column][row.metric]
        assert (row.status, row.unit) == (status, METRICS[row.metric].unit)
        assert row.value == number(value), row.metric
        assert row.counted == number(counted), row.metric


def test_the_golden_table_names_every_metric():
    assert all(list(column) == list(METRICS) for column in golden().values())


@given(label_maps(values=(0, 1, 2, 5), largest=4), label_maps(values=(0, 1, 2, 5), largest=4))
def test_labels_and_regions_are_measured_as_their_masks(reference, other):
    predicted = LabelMap(np.resize(other.array, reference.array.shape), reference.geometry)
    labels = Labels({"one": (1,), "five": (5,), "both": (1, 5), "all": (1, 2, 5)})
    options = EvaluateOptions(metrics=("dice", "hd", "hd95", "assd", "nsd"), tolerances_mm={"both": 2.0})
    rows = rows_of(measure(Pair("a", predicted, reference), labels, options), labels, options)
    found = {(row.label, row.metric): row.value for row in rows}
    for name in labels.names:
        r, p = (labels.mask(each.array, name) for each in (reference, predicted))
        if not (r.any() and p.any()):
            assert found[name, "assd_mm"] is None
            continue
        wanted = brute.distances(r, p, reference.geometry.affine, 2.0 if name == "both" else 1.0)
        assert found[name, "dice"] == pytest.approx(2 * (r & p).sum() / (r.sum() + p.sum()))
        for metric, key in (("hd_mm", "hd"), ("hd95_mm", "hd95"), ("assd_mm", "assd"), ("nsd", "nsd")):
            assert found[name, metric] == pytest.approx(wanted[key], abs=1e-9)


def test_voxels_to_ignore_leave_both_masks_and_the_boundary():
    labels = Labels({"liver": (1,)}, ignore=9)
    reference = label_map((1, 1, 1), (2, 1, 1))
    reference.array[3, 1, 1] = 9
    predicted = label_map((1, 1, 1), (3, 1, 1))
    facts = measure(Pair("a", predicted, reference), labels, EvaluateOptions())
    values = {row.metric: row.value for row in rows_of(facts, labels, EvaluateOptions())}
    assert values["dice"] == pytest.approx(2 / 3)
    # The reference's face towards the ignored voxel is no boundary: what is left reaches 1 mm past the prediction.
    assert values["hd_mm"] == 1.0
    assert "1 boundary elements touch voxels to ignore" in facts.notes[0]


def test_a_prediction_of_the_value_to_ignore_fails():
    labels = Labels({"liver": (1,)}, ignore=9)
    facts = measure(Pair("a", label_map((0, 0, 0), value=9), HERE), labels, EvaluateOptions())
    assert facts.outcome == "failed"
    assert "the value 9 (1 voxels), which means 'ignore'" in facts.reason


def test_another_shape_fails_with_both_shapes():
    other = label_map(grid=Geometry.from_spacing((4, 4, 5), (1, 1, 2)))
    facts = measure(Pair("a", other, HERE), LIVER, EvaluateOptions())
    assert facts.outcome == "failed"
    assert "4×4×5 voxels, the reference 4×4×4" in facts.reason


def test_a_shifted_grid_fails_with_the_distance():
    moved = GRID.affine.copy()
    moved[:3, 3] += (3.0, 0.0, 4.0)
    facts = measure(Pair("a", label_map((1, 1, 1), grid=Geometry(GRID.shape, moved)), HERE), LIVER, EvaluateOptions())
    assert facts.outcome == "failed"
    assert "up to 5 mm away from the reference" in facts.reason
    assert {row.status for row in rows_of(facts, LIVER, EvaluateOptions())} == {"failed"}


def test_a_shift_of_rounding_is_the_same_grid():
    moved = GRID.affine.copy()
    moved[:3, 3] += 0.004
    facts = measure(Pair("a", label_map((1, 1, 1), grid=Geometry(GRID.shape, moved)), HERE), LIVER, EvaluateOptions())
    assert facts.outcome == "compared"


def test_a_shift_below_half_a_voxel_is_mended_with_a_note_as_in_training():
    """A reference whose header rounds: the prediction lies on the image, as training laid the reference on it."""
    for share, outcome in ((0.45, "compared"), (0.55, "failed")):
        moved = GRID.affine.copy()
        moved[:3, 3] += share * np.array(GRID.spacing_mm)
        predicted = label_map((1, 1, 1), grid=Geometry(GRID.shape, moved))
        facts = measure(Pair("a", predicted, HERE), LIVER, EvaluateOptions())
        assert facts.outcome == outcome
        if outcome == "compared":
            assert "0.45 voxels) off the reference; taken as one grid" in facts.notes[0]
            assert facts.confusion.overlap([1]).dice == pytest.approx(2 / 3), "one voxel of two"


@pytest.mark.parametrize("flipped", [(0,), (1, 2), (0, 1, 2)])
def test_a_prediction_along_other_axes_is_turned(flipped):
    """Some viewers write masks along axes of their own; the voxels lie where they lay."""
    predicted = label_map((1, 1, 1), (0, 2, 3))
    grid = GRID
    for axis in flipped:
        grid = grid.flip(axis)
    turned = LabelMap(np.flip(predicted.array, flipped), grid, predicted.labels, predicted.meta)
    expected, found = (measure(Pair("a", each, HERE), LIVER, EvaluateOptions()) for each in (predicted, turned))
    assert found.outcome == "compared"
    assert "it was turned" in found.notes[0]
    assert found.figures == expected.figures
    assert found.confusion.overlap([1]) == expected.confusion.overlap([1])


def test_a_picture_without_a_place_is_compared_by_its_shape():
    flat = Geometry.from_spacing((4, 4, 1), (0.5, 0.5, 1))
    unplaced = label_map((1, 1, 0), grid=Geometry((4, 4, 1), np.eye(4)), meta=Meta("png", placed=False))
    facts = measure(Pair("a", unplaced, label_map((1, 2, 0), grid=flat)), LIVER, EvaluateOptions())
    assert facts.outcome == "compared"
    assert facts.figures["liver"]["hd_mm"] == pytest.approx(0.5)


def test_values_that_nothing_declares_are_named_with_their_count():
    facts = measure(Pair("a", label_map((0, 0, 0), (0, 0, 1), value=7), HERE), LIVER, EvaluateOptions())
    assert unknown_values(facts, {0, 1}) == {7: 2}
    assert unknown_values(facts, {0, 1, 7}) == {}


def test_values_of_the_reference_that_no_label_declares_are_said():
    facts = measure(Pair("a", THERE, label_map((0, 0, 0), value=3)), LIVER, EvaluateOptions())
    assert facts.outcome == "compared"
    assert "no label declares: 3 (1 voxels)" in facts.notes[0]


def test_a_sentence_names_the_file_but_not_the_folder(tmp_path):
    io.write(HERE, tmp_path / "a.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:60])
    facts = measure(Pair("a", tmp_path / "cut.nii.gz", tmp_path / "a.nii.gz"), LIVER, EvaluateOptions())
    assert facts.outcome == "failed"
    assert "cut.nii.gz" in facts.reason
    assert str(tmp_path) not in facts.reason


def test_what_medseg_did_not_expect_is_a_row_too_and_keeps_its_traceback():
    broken = LabelMap(HERE.array, HERE.geometry)
    object.__setattr__(broken, "array", "no array")
    facts = measure(Pair("a", broken, HERE), LIVER, EvaluateOptions())
    assert facts.outcome == "failed"
    assert "did not expect" in facts.reason
    assert "Traceback" in facts.defect


def test_facts_and_options_can_be_sent_to_another_process():
    facts = measure(Pair("a", Path("none.nii"), Path("none.nii")), LIVER, EVERYTHING)
    assert pickle.loads(pickle.dumps((facts, EVERYTHING)))[0].outcome == "no_reference"


def test_two_voxels_in_a_sheared_grid_are_as_far_apart_as_the_affine_says():
    affine = np.eye(4)
    affine[1, 2] = 1.0
    grid = Geometry((4, 4, 4), affine)
    facts = measure(
        Pair("a", label_map((1, 1, 2), grid=grid), label_map((1, 1, 1), grid=grid)), LIVER, EvaluateOptions()
    )
    # One step along k is (0, 1, 1) mm: √2.
    assert facts.figures["liver"]["hd_mm"] <= sqrt(2) + 1e-9
    assert facts.figures["liver"]["nsd"] < 1


@pytest.mark.parametrize("predicted", [(), ((0, 0, 0),), None], ids=["nothing", "something", "no file"])
def test_a_reference_that_is_to_be_ignored_as_a_whole_judges_nothing(predicted):
    """Neither as both empty (a perfect score) nor as a false alarm: nobody looked."""
    labels = Labels({"liver": (1,)}, ignore=9)
    reference = LabelMap(np.full(GRID.shape, 9, np.uint8), GRID)
    prediction = None if predicted is None else label_map(*predicted)
    facts = measure(Pair("a", prediction, reference), labels, EvaluateOptions())
    rows = rows_of(facts, labels, EvaluateOptions())
    assert {row.status for row in rows} == {"not_annotated"}
    assert {row.counted for row in rows} == {None}
