"""Findings in order, and those that say the same as one."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from medseg.inspect.findings import KINDS, SEVERITIES, Finding, Kind, gathered, ordered

some = st.lists(
    st.builds(
        Finding,
        st.sampled_from(get_args(Kind)),
        st.sampled_from(SEVERITIES),
        st.sampled_from(["This.", "That."]),
        st.just("Do it."),
        st.lists(st.sampled_from(["a", "b10", "b9"]), max_size=2, unique=True).map(tuple),
    ),
    max_size=12,
)


def test_every_kind_has_words():
    assert set(KINDS) == set(get_args(Kind))


@given(some)
def test_gathering_loses_no_case_and_says_nothing_twice(findings):
    result = gathered(findings)
    said = [(f.kind, f.severity, f.text, f.remedy) for f in result]
    assert len(set(said)) == len(said)
    before = {(f.kind, f.severity, f.text, case) for f in findings for case in f.cases}
    assert before == {(f.kind, f.severity, f.text, case) for f in result for case in f.cases}


@given(some)
def test_the_gravest_come_first_and_cases_in_natural_order(findings):
    result = ordered(findings)
    assert sorted(map(repr, result)) == sorted(map(repr, findings))
    ranks = [SEVERITIES.index(finding.severity) for finding in result]
    assert ranks == sorted(ranks)
    note = ordered([Finding("island", "note", "x", "y", (case,)) for case in ("b10", "b9", "a")])
    assert [finding.case for finding in note] == ["a", "b9", "b10"]
