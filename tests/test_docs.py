"""docs/files.md describes what the code writes: every key of every table, and no key that is not there."""

import csv
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from medseg.core.events import EpochEnded
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.data.fingerprint import CaseGrid, ChannelFacts, Fingerprint, LabelFacts
from medseg.evaluate import evaluate
from medseg.evaluate.score import STATUSES
from medseg.inspect import Finding, Inspection
from medseg.inspect.report import CaseReport
from medseg.io import suffix_for
from medseg.model.store import MODEL_SCHEMA, _Description
from medseg.plan.plan import Plan, Schedule
from medseg.predict.outputs import FORMATS, PREDICTIONS_SCHEMA, Record
from medseg.transforms.preprocessing import Preprocessing

CASES = {case: LabelMap(np.ones((2, 2, 2), np.uint8), Geometry.from_spacing((2, 2, 2))) for case in "abc"}
EVALUATION = evaluate(CASES, CASES, labels=Labels({"a": (1,)})).to_json()
INSPECTION = Inspection("msd", (), (Finding("blank", "warning", "x", "y"),), reports=(CaseReport("a", "labelled"),))
ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")


def documented(section, head):
    """The names in the first column of the table under `## section` whose first head is `head`."""
    body = TEXT.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    table = body.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def keys(model):
    return [name for name in model.model_fields if name != "schema_"]


@pytest.mark.parametrize(
    ("section", "head", "names"),
    [
        ("fingerprint.json", "key", keys(Fingerprint)),
        ("fingerprint.json", "key of a case", keys(CaseGrid)),
        ("fingerprint.json", "key of a channel", keys(ChannelFacts)),
        ("fingerprint.json", "key of a label", keys(LabelFacts)),
        ("plan.json", "key", keys(Plan)),
        ("plan.json", "key of preprocessing", keys(Preprocessing)),
        ("plan.json", "key of the schedule", keys(Schedule)),
        ("fold_N/history.csv", "column", [field.name for field in fields(EpochEnded)]),
        ("MODEL/model.json", "key", keys(_Description)),
        ("OUT/predictions.json", "key of a case", [field.name for field in fields(Record)]),
        ("metrics.csv", "status", STATUSES),
        ("summary.json", "key", [*(key for key in EVALUATION if key != "schema"), "readers", "comparison"]),
        ("summary.json", "key of figures", list(EVALUATION["labels"]["a"]["dice"])),
        ("summary.json", "key of volume_agreement", list(EVALUATION["volume_agreement"]["a"])),
        ("inspect.json", "key", [key for key in INSPECTION.to_json() if key != "schema"]),
        ("inspect.json", "key of a finding", list(INSPECTION.findings[0].to_json())),
        ("inspect.json", "key of an inspected case", list(INSPECTION.to_json()["cases"][0])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_tables_list_the_keys_that_are_written(section, head, names):
    assert sorted(documented(section, head)) == sorted(names)


def test_every_form_of_a_mask_is_described_with_its_file():
    table = TEXT.split("\n| form | file |", 1)[1].split("\n\n", 1)[0]
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]
    files = {form: file for forms, names in rows for form, file in zip(forms, names, strict=True)}
    assert files == {form: f"CASE{suffix_for(form)}" for form in FORMATS}


def test_every_schema_in_the_code_is_described_with_its_number():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "medseg").rglob("*.py"))
    written = set(re.findall(r"\"(medseg/[a-z]+/\d+)\"", source)) - {"medseg/cache/2"}  # gone when training ends
    assert {MODEL_SCHEMA, PREDICTIONS_SCHEMA} <= written
    assert written == set(re.findall(r"`(medseg/[a-z]+/\d+)`", TEXT))


def test_the_golden_table_of_combinations_is_in_the_documentation():
    lines = (ROOT / "tests" / "golden" / "combinations.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    shown = {row.split("|")[1].strip(" `"): row for row in text.splitlines() if row.startswith("| `") and " / " in row}
    for row in rows:
        cells = [cell.strip() for cell in shown[row.pop("metric")].strip("|").split("|")[1:]]
        assert cells == [" / ".join(_rounded(number) for number in cell.split("/")) for cell in row.values()]


def _rounded(number):
    return "–" if number == "" else f"{float(number):.3f}".rstrip("0").rstrip(".")


def test_links_between_the_papers_lead_somewhere():
    papers = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for paper in papers:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", paper.read_text(encoding="utf-8")):
            assert (paper.parent / target).exists(), f"{paper.name}: {target}"
