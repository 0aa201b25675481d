"""Groups: what belongs together, by a pattern, by neighbourhood, or by a column."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import UsageError
from medseg.data.dataset import Case, natural_key
from medseg.data.groups import by_patient, divided_patients, grouped


def cases(*ids, **columns):
    return tuple(
        Case(name, (Path(name),), attributes={key: values[n] for key, values in columns.items()})
        for n, name in enumerate(ids)
    )


def groups(found):
    return [case.group for case in found]


def test_a_pattern_groups_by_what_its_parentheses_match():
    found, (note,) = grouped(cases("ms07_R", "ms07_L", "ms19_R"), r"^(ms\d+)")
    assert groups(found) == ["ms07", "ms07", "ms19"]
    assert "3 cases in 2 groups" in note


def test_a_case_that_the_pattern_does_not_match_is_its_own_group_and_is_counted():
    found, (note,) = grouped(cases("ms07_R", "other", "ms07_L"), r"^(ms\d+)")
    assert groups(found) == ["ms07", "other", "ms07"]
    assert "It matches 1 of them not" in note


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60, unique=True), st.integers(1, 7))
def test_blocks_are_runs_of_neighbours_whatever_order_the_cases_come_in(numbers, size):
    names = [f"slice_{number}" for number in numbers]
    found, _ = grouped(cases(*names), f"block:{size}")
    assert [case.id for case in found] == names
    ordered = [case.group for case in sorted(found, key=lambda case: natural_key(case.id))]
    starts = [n for n, group in enumerate(ordered) if n == 0 or group != ordered[n - 1]]
    assert starts == list(range(0, len(names), size))
    assert len(set(ordered)) == len(starts)


def test_a_column_of_the_table_groups():
    found, _ = grouped(cases("a", "b", "c", patient=["p1", "p2", "p1"]), "patient")
    assert groups(found) == ["p1", "p2", "p1"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("^ms", "has 0 groups in parentheses and must have one"),
        (r"(a)(b)", "has 2 groups"),
        ("(unclosed", "no valid pattern"),
        ("block:x", 'after "block:" goes how many'),
        ("block:0", 'after "block:" goes how many'),
        (r"^(nobody\d+)", "matches no case id"),
    ],
)
def test_a_rule_that_cannot_work_says_why(rule, message):
    with pytest.raises(UsageError, match=message):
        grouped(cases("a", "b"), rule)


def test_cases_of_one_patient_are_one_group_called_after_the_first():
    found, notes = by_patient(cases("a", "b", "c"), {"a": "digest", "c": "digest", "b": "else"})
    assert [case.group for case in found] == ["a", "b", "a"]
    assert notes == ("2 cases are of 1 patients by their DICOM headers and stay together.",)


def test_groups_that_were_given_stay_and_a_divided_patient_is_told():
    divided = [Case("a", (Path("a"),), group="x"), Case("b", (Path("b"),), group="y")]
    found, notes = by_patient(divided, {"a": "digest", "b": "digest"})
    assert ([case.group for case in found], notes) == (["x", "y"], ())
    (note,) = divided_patients(found, {"a": "digest", "b": "digest"})
    assert "in different groups (a, b)" in note
    assert "digest" not in note


def test_cases_without_a_cell_in_the_column_are_groups_of_their_own():
    some = [Case("a", (Path("a"),), attributes={"site": "s"}), Case("b", (Path("b"),))]
    found, (note,) = grouped(some, "site")
    assert [case.group for case in found] == ["s", "b"]
    assert note == '1 cases have nothing in "site" and are a group each: b.'
