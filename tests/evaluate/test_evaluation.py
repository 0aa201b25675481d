"""Whole evaluations: means, files, tables, events, processes, thresholds, and real masks with published figures."""

import csv
import json
import re
import subprocess
import sys
from math import sqrt

import numpy as np
import pytest

import medseg.evaluate
from medseg import io, metrics
from medseg.core.errors import InputError, UsageError
from medseg.core.escapes import from_csv
from medseg.core.events import CaseFailed, CaseScored, Warned
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.evaluate import (
    EvaluateOptions,
    Evaluation,
    Pair,
    check,
    evaluate,
    parse_thresholds,
    render,
    run,
    run_pairs,
    tables,
)
from medseg.evaluate.engine import NSD_TOLERANCES_MM
from medseg.metrics.calibration import near, scores

GRID = Geometry.from_spacing((6, 5, 4), (1, 1, 3))
DIAGONAL = sqrt(36 + 25 + 144)
LABELS = Labels({"liver": (1,), "spleen": (2,)})


def boxed(liver=None, spleen=None, grid=GRID):
    """A map with a bar of each label along i, from the first to before the second index."""
    array = np.zeros(grid.shape, np.uint8)
    if liver:
        array[slice(*liver), 1, 1] = 1
    if spleen:
        array[slice(*spleen), 3, 2] = 2
    return LabelMap(array, grid)


@pytest.fixture
def folders(tmp_path):
    """Six cases: right, half right, missed, false alarm, missing, and on another grid; an extra and a broken file."""
    predicted, reference = tmp_path / "out", tmp_path / "ref"
    references = {name: boxed((0, 4), (0, 2)) for name in ("right", "half", "missed", "absent", "moved", "cut")}
    references["alarm"] = boxed((0, 4))
    predictions = {
        "right": boxed((0, 4), (0, 2)),
        "half": boxed((0, 2), (0, 2)),
        "missed": boxed((0, 4)),
        "alarm": boxed((0, 4), (0, 2)),
        "moved": boxed((0, 4), (0, 2), GRID.crop((1, 0, 0), (7, 5, 4))),
        "extra": boxed((0, 4)),
    }
    for folder, maps in ((predicted, predictions), (reference, references)):
        for name, each in maps.items():
            io.write(each, folder / f"{name}.nii.gz")
    (predicted / "cut.nii.gz").write_bytes((predicted / "right.nii.gz").read_bytes()[:70])
    (predicted / "predictions.json").write_text("{}")
    return predicted, reference


def test_no_case_is_dropped_whatever_happened_to_it(folders):
    found = evaluate(*folders, labels=LABELS)
    statuses = {(row.case, row.label): row.status for row in found.rows}
    assert {case: status for (case, label), status in statuses.items() if label == "spleen"} == {
        "absent": "missing",
        "alarm": "false_alarm",
        "cut": "failed",
        "extra": "no_reference",
        "half": "ok",
        "missed": "missed",
        "moved": "failed",
        "right": "ok",
    }
    assert (found.n_cases, found.n_failed, found.n_compared) == (8, 3, 4)
    assert {failure.case: failure.status for failure in found.failures} == {
        "absent": "missing",
        "cut": "failed",
        "extra": "no_reference",
        "moved": "failed",
    }
    assert "up to 1 mm away" in next(failure.reason for failure in found.failures if failure.case == "moved")


def test_two_means_stand_side_by_side(folders):
    found = evaluate(*folders, labels=LABELS)
    spleen = found.summary.figures["spleen"]
    # right and half are perfect; missed, false alarm, missing, moved and cut count as the worst: 7 cases.
    assert spleen["dice"].everywhere.mean == pytest.approx(2 / 7)
    assert spleen["dice"].found == 1.0
    assert spleen["hd95_mm"].everywhere.mean == pytest.approx(5 * DIAGONAL / 7)
    assert (spleen["hd95_mm"].found, spleen["hd95_mm"].n_found) == (0.0, 2)
    liver = found.summary.figures["liver"]
    assert liver["dice"].found == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)
    assert liver["dice"].everywhere.mean == pytest.approx((1 + 2 / 3 + 1 + 1) / 7)
    assert liver["dice"].everywhere.interval is not None
    # First over the cases of a label, then over labels.
    assert found.headline["dice"] == pytest.approx((2 / 7 + (3 + 2 / 3) / 7) / 2)


def test_the_files_hold_what_the_contract_says(folders, tmp_path):
    found = evaluate(*folders, labels=LABELS)
    table, summary = found.write(tmp_path / "result")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == ["case", "label", "metric", "value", "unit", "status"]
    assert len(rows) == 8 * 2 * len(found.options.metrics)
    cells = {(row["case"], row["label"], row["metric"]): (row["value"], row["unit"], row["status"]) for row in rows}
    assert cells["missed", "spleen", "hd95_mm"] == ("", "mm", "missed")
    assert float(cells["half", "liver", "dice"][0]) == 2 * 2 / 6
    content = json.loads(summary.read_text())
    assert content["schema"] == "medseg/summary/1"
    assert content["headline"] == found.headline
    assert (content["n_cases"], content["n_failed"]) == (8, 3)
    spleen = content["labels"]["spleen"]
    assert {"all", "found", "n", "interval"} <= spleen["dice"].keys()
    assert spleen["dice"]["n"] == 7
    assert spleen["status"] == {"ok": 2, "missed": 1, "false_alarm": 1, "missing": 1, "failed": 2, "no_reference": 1}
    assert str(tmp_path) not in summary.read_text()
    assert "NaN" not in summary.read_text()


def test_processes_give_the_numbers_of_one(folders):
    alone = evaluate(*folders, labels=LABELS)
    together = evaluate(*folders, EvaluateOptions(jobs=2, max_memory_bytes=2**30), LABELS)
    assert together.to_csv() == alone.to_csv()
    assert together.to_json() == alone.to_json()


def test_events_tell_of_every_case_and_end_with_the_result(folders):
    *events, result = run(*folders, labels=LABELS)
    assert isinstance(result, Evaluation)
    ended = [event for event in events if isinstance(event, CaseScored | CaseFailed)]
    assert [(event.done, event.total) for event in ended] == [(n + 1, 8) for n in range(8)]
    assert {event.case for event in ended if isinstance(event, CaseFailed)} == {"absent", "cut", "extra", "moved"}
    assert any("1 of 8 cases has no prediction" in event.text for event in events if isinstance(event, Warned))


def test_without_names_the_labels_are_the_values_of_all_references(folders):
    found = evaluate(*folders)
    assert found.labels.names == ("label 1", "label 2")
    assert found.headline == pytest.approx(evaluate(*folders, labels=LABELS).headline)


def test_a_value_that_only_another_reference_has_is_a_false_alarm_and_one_that_none_has_fails():
    predicted = {"a": boxed((0, 2), (0, 2)), "b": boxed((0, 2)), "c": boxed((0, 2))}
    predicted["c"].array[5, 4, 3] = 77
    found = evaluate(predicted, {"a": boxed((0, 2)), "b": boxed((0, 2), (0, 2)), "c": boxed((0, 2))})
    assert {row.status for row in found.rows if (row.case, row.label) == ("a", "label 2")} == {"false_alarm"}
    assert {row.status for row in found.rows if row.case == "c"} == {"failed"}
    assert "77 (1 voxels)" in found.failures[0].reason


CUBE = Geometry.from_spacing((40, 40, 40))


def image_among_masks(largest):
    """As many values as an image has: ascending from voxel to voxel, up to the largest, then anew."""
    return LabelMap((np.arange(64_000) % (largest + 1)).reshape(CUBE.shape).astype(np.uint16), CUBE)


@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("is_predicted", [True, False])
def test_an_image_among_masks_fails_by_itself_and_the_others_go_on(labels, is_predicted):
    good = boxed((0, 4), (0, 2), CUBE)
    sides = ({"a": image_among_masks(60_000), "b": good}, {"a": good, "b": good})
    evaluation = evaluate(*(sides if is_predicted else sides[::-1]), labels=labels)
    assert evaluation.n_compared == 1
    assert "60000 different values" in evaluation.failures[0].reason
    assert evaluation.headline["dice"] == (0.5 if is_predicted else 1.0)


def test_an_image_without_a_prediction_is_not_counted_by_the_square():
    good = boxed((0, 4), (0, 2), CUBE)
    evaluation = evaluate({"b": good}, {"a": image_among_masks(60_000), "b": good})
    assert [(failure.case, failure.status) for failure in evaluation.failures] == [("a", "no_reference")]
    assert "60000 different values" in evaluation.failures[0].reason


def test_an_image_of_few_shades_among_references_is_told():
    good = boxed((0, 4), (0, 2), CUBE)
    sides = {"a": good, "b": good}, {"a": image_among_masks(60), "b": good}
    evaluation = evaluate(*sides, EvaluateOptions(metrics=("dice",)))
    assert any("The reference of a holds 58 values that no other reference has" in w for w in evaluation.warnings)
    assert not any("is it an image" in w for w in evaluate(sides[0], sides[0]).warnings)


def test_two_label_maps_two_files_and_the_plain_functions_agree(tmp_path):
    predicted, reference = boxed((0, 3)), boxed((1, 5))
    io.write(predicted, tmp_path / "mine.nii.gz")
    io.write(reference, tmp_path / "theirs.mha")
    in_memory = medseg.evaluate(predicted, reference)
    from_files = medseg.evaluate(tmp_path / "mine.nii.gz", str(tmp_path / "theirs.mha"))
    assert in_memory.headline == pytest.approx(from_files.headline)
    assert from_files.rows[0].case == "theirs"
    affine = reference.geometry.affine
    assert in_memory.headline["dice"] == metrics.dice(predicted.array, reference.array)
    assert in_memory.headline["hd95_mm"] == metrics.hausdorff95(predicted.array, reference.array, affine=affine)
    assert in_memory.headline["nsd"] == metrics.nsd(predicted.array, reference.array, affine=affine)


def test_one_file_beside_a_folder_means_its_case_alone(folders):
    predicted, reference = folders
    assert evaluate(predicted / "half.nii.gz", reference).n_cases == 1
    assert evaluate(predicted, reference / "half.nii.gz").n_cases == 1
    with pytest.raises(UsageError, match="no reference for the case 'extra'"):
        evaluate(predicted / "extra.nii.gz", reference)


def test_pictures_are_judged_by_lines(tmp_path):
    flat = Geometry((8, 6, 1), np.eye(4))
    for name, first in (("p/a.png", 2), ("r/a.png", 3)):
        array = np.zeros(flat.shape, np.uint8)
        array[first : first + 3, 1:4] = 1
        io.write(LabelMap(array, flat), tmp_path / name)
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert found.headline["hd_mm"] == 1.0
    assert found.headline["dice"] == pytest.approx(2 / 3)


def test_patients_of_several_cases_are_one_to_an_interval():
    pairs = [Pair(f"c{n}", boxed((0, 2 + n % 3)), boxed((0, 4)), group=f"p{n // 4}") for n in range(20)]
    alone = [Pair(pair.case, pair.predicted, pair.reference) for pair in pairs]
    *_, grouped = run_pairs(pairs)
    *_, single = run_pairs(alone)
    assert single.summary.figures["label 1"]["dice"].everywhere.method == "bca"
    assert grouped.summary.figures["label 1"]["dice"].everywhere.method is None


def test_a_tolerance_below_half_a_voxel_is_warned_of():
    assert "below half the voxel spacing of 1 of 1 case " in evaluate(boxed((0, 2)), boxed((0, 2))).warnings[0]
    assert evaluate(boxed((0, 2)), boxed((0, 2)), EvaluateOptions(tolerance_mm=1.5)).warnings == ()


def test_an_empty_reference_alone_leaves_nothing_to_judge_and_says_so():
    found = evaluate(boxed(), boxed())
    assert found.rows == ()
    assert "No label could be judged" in found.warnings[0]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_wrong_paths_and_names_are_wrong_use(tmp_path, folders):
    with pytest.raises(UsageError, match="does not exist"):
        evaluate(tmp_path / "nowhere", folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no label map"):
        evaluate(tmp_path / "empty", folders[1])
    with pytest.raises(InputError, match="No prediction has the name of a reference"):
        evaluate({"x": boxed((0, 1))}, {"y": boxed((0, 1))})


def test_thresholds_are_met_or_named():
    found = evaluate(boxed((0, 2)), boxed((0, 4)))
    assert check(found, {"dice": 0.6}) == ()
    unmet = check(found, parse_thresholds(["dice=0.85", "hd95=0.5"]))
    assert unmet == ("Dice is 0.6667, below 0.85.", "HD95 is 2 mm, above 0.5 mm.")
    with pytest.raises(UsageError, match="'masd_mm' was not measured"):
        check(found, {"masd_mm": 1.0})
    with pytest.raises(UsageError, match="Did you mean 'dice'"):
        parse_thresholds(["dise=0.85"])
    with pytest.raises(UsageError, match="METRIC=NUMBER"):
        parse_thresholds(["dice=high"])


def test_tables_put_failures_first_and_both_means_side_by_side(folders):
    found = evaluate(*folders, labels=LABELS)
    failures, scores, statuses = tables(found)
    assert failures.title == "Not compared: 4 of 8 cases"
    assert [row[0] for row in failures.rows] == ["absent", "cut", "extra", "moved"]
    assert scores.headers[:5] == ("label", "mean of", "n", "Dice", "IoU")
    assert [row[:2] for row in scores.rows[2:4]] == [("spleen", "all"), ("", "found")]
    assert scores.rows[2][3] == "0.286"
    assert any("grows with the field of view" in note for note in scores.notes)
    assert statuses.headers == ("label", "ok", "missed", "false_alarm", "missing", "failed", "no_reference")
    assert statuses.rows[1] == ("spleen", "2", "1", "1", "1", "2", "1")


def test_tables_are_written_in_four_forms(folders):
    found = tables(evaluate(*folders, labels=Labels({"50% | fat_liver": (1,), "spleen": (2,)})))
    assert "50% | fat_liver" in render(found, "text")
    assert "| 50% \\| fat_liver | all | 7 | 0.524 |" in render(found, "markdown")
    assert r"50\% \textbar{} fat\_liver & all & 7 & 0.524" in render(found, "latex")
    rows = list(csv.reader(render(found[1:2], "csv").splitlines()))
    assert rows[0][:4] == ["label", "mean of", "n", "Dice"]
    assert len({len(row) for row in rows}) == 1
    with pytest.raises(UsageError, match="not as 'html'"):
        render(found, "html")


@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_text_that_is_laid_into_a_screen_breaks_no_number(folders, width):
    evaluation = evaluate(*folders, labels=LABELS)
    shown = render(tables(evaluation), "text", width)
    assert max(map(len, shown.splitlines())) <= width
    wide = render(tables(evaluation), "text")
    assert render(tables(evaluation), "text", 1000) == wide
    numbers = {word for word in wide.split() if re.fullmatch(r"[-+]?\d+\.\d+", word)}
    assert numbers <= set(shown.split()), "each is whole"


EVIL = '=HYPERLINK("http://evil")|<script>\\input{x}\n% \x1b[31m'


def test_names_are_no_commands_in_any_form_of_a_table(tmp_path):
    labels = Labels({EVIL: (1,), "-liver": (2,)})
    one, other = {EVIL: boxed((0, 4), (0, 2)), "+b": boxed((0, 2))}, {EVIL: boxed((0, 3), (0, 2)), "+b": boxed((0, 4))}
    evaluation = evaluate(one, other, EvaluateOptions(metrics=("dice", "volume_error_ml")), labels)
    found = tables(evaluation)
    markdown, latex, text = (render(found, form) for form in ("markdown", "latex", "csv"))
    assert "<script>" not in markdown
    assert "\n% \x1b" not in markdown + latex
    assert r"\input" not in latex
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert not any(cell.startswith(("=", "@", "\t")) for cell in cells)
    assert "'-liver" in cells

    evaluation.write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines(keepends=True)))
    assert {from_csv(row["case"]) for row in rows} == {EVIL, "+b"}
    assert {from_csv(row["label"]) for row in rows} == {EVIL, "-liver"}
    assert all(row["case"].startswith("'") and row["label"].startswith("'") for row in rows)
    assert min(float(row["value"]) for row in rows if row["value"]) < 0, "numbers stay numbers"


def test_the_room_loads_without_torch():
    loaded = "import sys, medseg.evaluate; print(sorted({'torch', 'monai', 'SimpleITK', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_public_is_listed():
    assert all(hasattr(medseg.evaluate, name) for name in medseg.evaluate.__all__)


@pytest.mark.data
def test_the_chaos_sample_has_its_published_figures(shared_data):
    folder = shared_data / "fullsize"
    found = evaluate(
        folder / "predictions" / "chaos_ct_03.nii.gz",
        folder / "labelsTr" / "chaos_ct_03.nii.gz",
        EvaluateOptions(metrics=("dice", "volume_error_percent", "hd")),
    )
    values = {row.metric: row.value for row in found.rows if row.status == "ok"}
    assert values["dice"] == pytest.approx(0.978, abs=5e-4)
    assert abs(values["volume_error_percent"]) == pytest.approx(0.665, abs=5e-4)
    assert values["hd_mm"] == pytest.approx(14.0, abs=0.5)


@pytest.mark.data
def test_real_label_maps_against_themselves_are_perfect(shared_data):
    folder = shared_data / "cord_gm"
    found = evaluate(folder / "labelsTr", folder)
    assert found.n_cases == 8
    assert found.headline["dice"] == found.headline["nsd"] == 1.0
    assert found.headline["hd_mm"] == 0.0


def test_pictures_are_said_to_be_measured_in_pixels():
    grid = Geometry.from_spacing((6, 5, 1))
    picture = LabelMap(np.ones(grid.shape, np.uint8), grid, meta=Meta(kind="png", placed=False))
    assert any("a mm is a pixel" in warning for warning in evaluate(picture, picture).warnings)
    scan = LabelMap(picture.array, grid)
    assert not any("a mm is a pixel" in warning for warning in evaluate(scan, scan).warnings)


def ball(shift, grid):
    x, y, z = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    return ((x - 8 - shift) ** 2 + (y - 8) ** 2 + (z - 6) ** 2 <= 20).astype(np.uint8)


def test_probabilities_beside_the_masks_are_judged_without_being_asked_for(tmp_path):
    grid = Geometry.from_spacing((18, 16, 12))
    predicted, reference = tmp_path / "predicted", tmp_path / "reference"
    io.write(LabelMap(ball(0, grid), grid), reference / "a.nii.gz")
    io.write(LabelMap(ball(1, grid), grid), predicted / "a.nii.gz")
    said = np.clip(ball(1, grid) * 0.8 + 0.1, 0, 1).astype(np.float32)
    io.write(Volume(np.stack([1 - said, said]), grid), predicted / "a_probabilities.nii.gz")
    labels = Labels({"ball": (1,)})
    found = evaluate(predicted, reference, EvaluateOptions(), labels)
    domain = near(ball(0, grid) > 0, ball(1, grid) > 0, grid)
    expected = scores(np.stack([1 - said, said]), ball(0, grid), domain)
    assert found.headline["brier"] == pytest.approx(expected.brier, rel=1e-6)
    assert found.headline["nll"] == pytest.approx(expected.nll, rel=1e-6)
    assert sum(found.facts[0].curves["ball"].counts) == domain.sum()
    # Asked for something else, calibration stays out.
    assert "brier" not in evaluate(predicted, reference, EvaluateOptions(metrics=("dice",)), labels).headline


def test_probabilities_of_other_classes_are_left_out_with_a_word(tmp_path):
    grid = Geometry.from_spacing((18, 16, 12))
    for side in ("predicted", "reference"):
        io.write(LabelMap(ball(0, grid), grid), tmp_path / side / "a.nii.gz")
    io.write(Volume(np.zeros((3, *grid.shape), np.float32), grid), tmp_path / "predicted" / "a_probabilities.nii.gz")
    found = evaluate(tmp_path / "predicted", tmp_path / "reference", EvaluateOptions(), Labels({"ball": (1,)}))
    assert "brier" not in found.headline
    assert "holds 3 classes, the labels are 2 with background" in found.facts[0].notes[0]


def test_volumes_agree_within_their_limits_and_nsd_has_a_curve():
    grid = Geometry.from_spacing((18, 16, 12))
    truth = {f"c{n}": LabelMap(ball(0, grid), grid) for n in range(4)}
    shrunk = {}
    for n, case in enumerate(truth):
        array = ball(0, grid)
        array[: 6 + n] = 0
        shrunk[case] = LabelMap(array, grid)
    found = evaluate(shrunk, truth, EvaluateOptions())
    differences = np.array([(p - r) for _, p, r in found.volume_pairs("label 1")])
    agreement = found.to_json()["volume_agreement"]["label 1"]
    assert agreement["bias_ml"] == pytest.approx(differences.mean())
    assert agreement["limits_ml"][0] == pytest.approx(differences.mean() - 1.96 * differences.std(ddof=1))
    curve = found.facts[0].nsd_curves["label 1"]
    nsd = next(row.value for row in found.rows if (row.case, row.metric) == ("c0", "nsd"))
    assert curve[NSD_TOLERANCES_MM.index(1.0)] == nsd
    assert list(curve) == sorted(curve)


def test_cases_of_a_patient_are_one_group_by_a_pattern_of_their_ids(tmp_path):
    grid = Geometry.from_spacing((18, 16, 12))
    for case in ("p1_a", "p1_b", "p2_a"):
        for side in ("predicted", "reference"):
            io.write(LabelMap(ball(0, grid), grid), tmp_path / side / f"{case}.nii.gz")
    *_, found = run(tmp_path / "predicted", tmp_path / "reference", group=r"^(p\d+)")
    assert [facts.pair.group for facts in found.facts] == ["p1", "p1", "p2"]
