"""docs/data.md tells of every layout, every key of --read with its values, and every column of a table."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from medseg.config.schema import DataConfig
from medseg.data.layouts import LAYOUTS
from medseg.data.layouts.table import open_table
from medseg.io.options import _ALLOWED, ReadOptions
from tests.data.folders import put_image, put_labels

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def table(head):
    body = TEXT.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in body.splitlines()[2:]]


def test_every_layout_has_its_section_in_the_order_of_looking():
    assert re.findall(r"^### (\w+):", TEXT, re.MULTILINE) == [layout.name for layout in LAYOUTS]


def test_every_layout_can_be_asked_for_by_name():
    assert [DataConfig(layout=layout.name).layout for layout in LAYOUTS] == [layout.name for layout in LAYOUTS]


def test_every_key_of_read_is_there_with_all_its_values():
    documented = {row[0].strip("`"): re.findall(r"`([^`]+)`", row[1]) for row in table("key")}
    assert list(documented) == [option.name for option in fields(ReadOptions)]
    for key, values in _ALLOWED.items():
        assert documented[key] == list(values)


@pytest.mark.parametrize("column", ["case", "image", "label", "fold", "split", "group", "annotated", "series", "read"])
def test_every_column_is_there(column):
    assert any(f"`{column}`" in row[0] for row in table("column"))


def test_the_table_of_a_refusal_is_valid(tmp_path):
    (tmp_path / "cases.csv").write_text(TEXT.rsplit("```\n", 2)[1])
    put_image(tmp_path / "p1/ct.nii.gz")
    put_labels(tmp_path / "p1/liver_mask.nii.gz")
    assert [case.id for case in open_table(tmp_path / "cases.csv", ReadOptions()).cases] == ["p1"]
