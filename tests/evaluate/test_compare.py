"""Runs against each other: the same run ties with itself, a better one wins, and every kind of run gives one answer."""

import json

import numpy as np
import pytest

from medseg.core.errors import InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.evaluate import EvaluateOptions, Evaluation, compare, evaluate, run, run_comparison, tables
from medseg.evaluate.compare import read_run, run_of
from medseg.evaluate.contests import MEAN
from medseg.io import write

GRID = Geometry.from_spacing((12, 10, 8), (1, 1, 2))
LABELS = Labels({"liver": (1,), "spleen": (2,)})
OPTIONS = EvaluateOptions(metrics=("dice", "iou", "hd95", "nsd"))


def reference(k):
    array = np.zeros(GRID.shape, np.uint8)
    array[1 : 6 + k % 3, 1:6, 1:5], array[8:11, 4:9, 2:6] = 1, 2
    return LabelMap(array, GRID)


def spoiled(k, by):
    """The truth with its first label eroded from one side; worse the larger `by` is."""
    array = reference(k).array.copy()
    array[1 : 1 + by] = 0
    return LabelMap(array, GRID)


def cases(by, n=8):
    return {f"case_{k}": spoiled(k, by + (k % 2)) for k in range(n)}


TRUTH = {f"case_{k}": reference(k) for k in range(8)}


def judged(predicted):
    return evaluate(predicted, TRUTH, OPTIONS, LABELS)


def contest(comparison, metric, label):
    return next(each for each in comparison.contests if (each.metric, each.label) == (metric, label))


def test_a_run_ties_with_itself():
    run = judged(cases(1))
    found = compare(run, [run_of(run, "again")])
    for each in found.contests:
        assert (each.result.wins, each.result.losses, each.result.p) == (0, 0, None)
        assert each.result.mean_difference == 0
    assert [each.rank for each in found.rankings["dice"]] == [1, 1]


def test_the_better_run_wins_every_patient_and_holm_counts_all_tests():
    found = compare(judged(cases(1)), [run_of(judged(cases(3)), "worse")], "better")
    dice = contest(found, "dice", "liver")
    assert (dice.result.wins, dice.result.ties, dice.result.losses) == (8, 0, 0)
    assert dice.result.p == pytest.approx(2 / 2**8)
    tested = [each for each in found.contests if each.result.p is not None]
    # The spleen is the same in both; liver and the mean over labels are tested in four metrics.
    assert {each.label for each in tested} == {"liver", MEAN}
    assert dice.p_holm == pytest.approx(len(tested) * dice.result.p)
    assert contest(found, "hd95_mm", "liver").result.wins == 8
    assert [each.run for each in found.rankings["hd95_mm"]] == ["better", "worse"]


def test_a_miss_counts_as_the_worst_and_is_no_way_to_win():
    missing = cases(2)
    missing["case_3"] = LabelMap(np.zeros(GRID.shape, np.uint8), GRID)
    found = compare(judged(cases(2)), [run_of(judged(missing), "one missed")])
    assert contest(found, "hd95_mm", "liver").result.wins == 1
    assert contest(found, "hd95_mm", "liver").result.losses == 0


def test_a_written_run_is_the_run(tmp_path):
    other = judged(cases(3))
    other.write(tmp_path / "other")
    first = judged(cases(1))
    live, written = run_of(other, "other"), read_run(tmp_path / "other", first, "other")
    assert written.counted == pytest.approx(live.counted)


def test_the_summary_of_nnunet_is_the_run_where_it_has_counts(tmp_path):
    predicted = cases(2)
    predicted["case_5"] = LabelMap(np.zeros(GRID.shape, np.uint8), GRID)
    entries = []
    for case, label_map in predicted.items():
        metrics = {}
        for key, values in {"1": [1], "(1, 2)": [1, 2]}.items():
            r, p = (np.isin(each.array, values) for each in (TRUTH[case], label_map))
            counts = {"TP": r & p, "FP": ~r & p, "FN": r & ~p, "TN": ~r & ~p}
            metrics[key] = {name: int(mask.sum()) for name, mask in counts.items()}
        entries.append({"prediction_file": f"/runs/x/{case}.nii.gz", "metrics": metrics})
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"metric_per_case": entries, "mean": {}, "foreground_mean": {}}))
    labels = Labels({"liver": (1,), "both": (1, 2)})
    first = evaluate(cases(1), TRUTH, OPTIONS, labels)
    live = run_of(evaluate(predicted, TRUTH, OPTIONS, labels), "nnunet")
    found = read_run(path, first, "nnunet")
    assert found.counted == pytest.approx({k: v for k, v in live.counted.items() if k[2] in ("dice", "iou")})


def folder(path, maps):
    for case, label_map in maps.items():
        write(label_map, path / f"{case}.nii.gz")
    return path


def test_folders_are_judged_by_the_same_options_and_end_in_the_summary(tmp_path):
    truth = folder(tmp_path / "truth", TRUTH)
    ours, theirs = folder(tmp_path / "ours", cases(1)), folder(tmp_path / "theirs", cases(3, n=6))
    evaluation = evaluate(ours, truth, OPTIONS, LABELS)
    *_, last = run_comparison(evaluation, [theirs, theirs], "ours")
    assert isinstance(last, Evaluation)
    assert last.comparison.runs == ("ours", "theirs", "theirs (2)")
    content = json.loads(json.dumps(last.to_json()))["comparison"]
    assert content["contests"][0]["wins"] == 8, "a missing prediction counts as the worst"
    text = "\n".join(" ".join(row) for table in tables(last) for row in table.rows)
    assert "theirs (2)" in text
    assert "too few" not in text


def test_other_runs_are_judged_by_what_all_readers_agree_on_as_the_first_is(tmp_path):
    # Two of three readers see what `ours` predicts; the first reader alone sees what `theirs` predicts.
    ours, theirs = folder(tmp_path / "ours", cases(1)), folder(tmp_path / "theirs", TRUTH)
    options = EvaluateOptions(metrics=("dice",), consensus="majority")
    readers = {"B": cases(1), "C": cases(1)}
    *_, evaluation = run(ours, TRUTH, options, LABELS, readers=readers)
    assert evaluation.headline["dice"] == 1
    *_, last = run_comparison(evaluation, [theirs], "ours")
    assert contest(last.comparison, "dice", "liver").result.wins == 8


def test_what_is_no_run_of_these_cases_is_refused(tmp_path):
    first = judged(cases(1))
    (tmp_path / "metrics.csv").write_text("case,label,metric,value,unit,status\nother,liver,dice,0.5,,ok\n")
    with pytest.raises(InputError, match="no case and metric of this evaluation"):
        read_run(tmp_path / "metrics.csv", first, "x")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match="no list 'metric_per_case'"):
        read_run(tmp_path / "summary.json", first, "x")
    with pytest.raises(UsageError, match="does not exist"):
        list(run_comparison(first, [tmp_path / "nowhere"], "x"))
