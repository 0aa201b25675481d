"""YAML by the core schema of YAML 1.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.yaml_text import parse_yaml, to_yaml
from medseg.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-7", -7),
        ("true", True),
        ("on", "on"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2026-11-25", "2026-11-25"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ('"1"', "1"),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
        ("1.2.3", "1.2.3"),
    ],
)
def test_numbers_are_numbers_and_the_rest_is_text(text, value):
    parsed = parse_yaml(text, "here")
    assert (type(parsed), parsed) == (type(value), value)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(st.dictionaries(st.text(), values))
def test_what_is_written_is_read_back(mapping):
    assert parse_yaml(to_yaml(mapping), "here") == (mapping or {})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3000 + "]" * 3000,
        "{a: " * 3000 + "1" + "}" * 3000,
        "[{a: " * 50_000,
        "- " * 3000 + "1",
        "? " * 3000 + "1",
        "\n".join(" " * level + "a:" for level in range(1000)),
        "a: [1, 2]\n" * 200_000,
        "9" * 6000,
        "a: " + "9" * 6000,
    ],
    ids=["lists", "mappings", "never closed", "dashes", "questions", "indented", "long", "digits", "digits of a key"],
)
def test_what_knows_no_end_is_refused_at_once(text):
    with pytest.raises(UsageError, match="here"):
        parse_yaml(text, "here")


def test_brackets_that_are_closed_again_are_no_depth():
    assert parse_yaml("[" + ", ".join(["[1, [2]]"] * 500) + "]", "here") == [[1, [2]]] * 500
