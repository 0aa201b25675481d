"""Results replace results, and nothing else of their names."""

import json

import numpy as np
import pytest

from medseg.core.errors import UsageError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.evaluate import evaluate, refuse_foreign_results, write_results
from medseg.evaluate.results import RESULTS


@pytest.fixture(scope="module")
def evaluation():
    array = np.zeros((6, 6, 6), np.uint8)
    array[2:4, 2:5, 1:4] = 1
    mask = LabelMap(array, Geometry.from_spacing(array.shape, (1, 1, 2)), Labels({"a": (1,)}))
    return evaluate(mask, mask)


@pytest.mark.parametrize("name", [*RESULTS, "Summary.JSON", "TABLE.md"])
def test_a_file_that_medseg_did_not_write_is_refused(evaluation, tmp_path, name):
    (tmp_path / name).write_text("somebody's")
    for refused in (refuse_foreign_results, lambda folder: write_results(evaluation, folder)):
        with pytest.raises(UsageError, match=rf"{name} in .* it is not as medseg wrote it.*--overwrite"):
            refused(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["somebody's"]
    write_results(evaluation, tmp_path, overwrite=True)


def test_overwrite_makes_the_folder_medsegs_own(evaluation, tmp_path):
    for name in RESULTS:
        (tmp_path / name).write_text("somebody's")
    write_results(evaluation, tmp_path, overwrite=True)
    refuse_foreign_results(tmp_path)


def test_the_summary_of_another_tool_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": 0.9}, "mean": {}}))
    with pytest.raises(UsageError, match=r"summary\.json"):
        refuse_foreign_results(tmp_path)


def test_all_are_named_at_once(tmp_path):
    for name in ("table.md", "report.html", "notes.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=r"report\.html, table\.md in .* they are not as medseg wrote them"):
        refuse_foreign_results(tmp_path)


def test_results_replace_results_until_somebody_changes_one(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    write_results(evaluation, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(RESULTS)
    with (tmp_path / "table.tex").open("a") as file:
        file.write("% a caption of my own\n")
    with pytest.raises(UsageError, match=r"table\.tex in .*"):
        write_results(evaluation, tmp_path)
    assert "caption of my own" in (tmp_path / "table.tex").read_text()


def test_results_of_medseg_0_1_0_and_of_a_validation_are_replaced(evaluation, tmp_path):
    evaluation.write(tmp_path)
    for name in ("table.md", "table.tex", "report.html"):
        (tmp_path / name).write_text("of then")
    write_results(evaluation, tmp_path)
    assert "of then" not in (tmp_path / "table.md").read_text()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "scores").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        refuse_foreign_results(tmp_path / "scores")
