"""Patterns that names suggest are patterns that `data.group` takes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.data import Case, grouped
from medseg.inspect.twins import pattern_of


@pytest.mark.parametrize(
    ("ids", "pattern"),
    [
        (["ms07_L_z016", "ms07_R_z016", "ms19_L_z016"], "^(ms[0-9]+)"),
        (["cord_9418", "cord_9709Ses1", "cord_9709Ses2"], "^(cord_[0-9]+)"),
        (["BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"], "^(BraTS\\-GLI\\-[0-9]+)"),
        (["a1_pat2_t1", "a1_pat2_t2", "a1_pat3_t1", "a1_pat3_t2"], "^(a[0-9]+_pat[0-9]+)"),
    ],
)
def test_the_longest_shared_beginning_is_taken(ids, pattern):
    assert pattern_of(ids)[0] == pattern


@pytest.mark.parametrize(
    "ids", [["hippocampus_001", "hippocampus_003"], ["rtg_01_WT", "rtg_03_UT"], ["a", "b"], ["x1"], [], ["s0001", "s2"]]
)
def test_running_numbers_are_no_patients(ids):
    assert pattern_of(ids) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=25, unique=True))
def test_a_suggested_pattern_makes_the_groups_that_were_named(numbers):
    ids = [f"p{patient}_v{visit}" for patient, visit in numbers]
    found = pattern_of(ids)
    patients = {patient for patient, _ in numbers}
    if found is None:
        assert len(patients) in (1, len(ids))
        return
    pattern, groups = found
    cases = [Case(name, (Path("x"),)) for name in ids]
    result, _ = grouped(cases, pattern)
    assert {case.group for case in result} == set(groups)
    assert sorted(map(sorted, groups.values())) == sorted(
        sorted(case.id for case in result if case.group == group) for group in groups
    )
