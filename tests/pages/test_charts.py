"""Charts put values where they belong, name their marks, and let no name become markup."""

import re
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.pages import charts, number
from medseg.pages.charts import Axis
from tests.pages.reader import Reader

values = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=20)


def test_a_value_half_way_is_drawn_half_way():
    assert Axis(0, 10, 100, 300).at(5) == 200
    assert Axis(0, 10, 300, 100).at(2.5) == 250
    assert Axis(1, 100, 0, 10, is_log=True).at(10) == pytest.approx(5)


@given(values)
def test_an_axis_around_values_holds_them_all_and_marks_round_numbers_inside(numbers):
    axis = Axis.around(numbers, 0, 100)
    assert all(-1e-6 <= axis.at(value) <= 100 + 1e-6 for value in numbers)
    marks = axis.marks()
    assert 1 <= len(marks) <= charts.MOST_MARKS + 1
    assert all(axis.low - 1e-6 * abs(axis.low) <= mark <= axis.high + 1e-6 * abs(axis.high) for mark in marks)


def test_marks_are_what_a_hand_would_write():
    assert Axis(0, 1, 0, 100).marks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Axis(-0.4, 3.4, 0, 100, is_counted=True).marks() == [0, 1, 2, 3]
    assert Axis(0.5, 2000, 0, 100, is_log=True).marks() == [1, 10, 100, 1000]


def test_equal_values_have_an_axis_too():
    axis = Axis.around([3.0, 3.0], 0, 100)
    assert axis.low < 3 < axis.high
    assert Axis.around([0.0], 0, 100).at(0) == pytest.approx(50)


def test_names_are_text_and_never_markup():
    evil = '<script>x</script>&"'
    parts = [
        charts.circle("a", 0, 0, 1, evil),
        charts.cross("a", 0, 0, 1, evil),
        charts.line("a", 0, 0, 1, 1, evil),
        charts.box("a", 0, 0, 1, 1, evil),
        charts.text(0, 0, evil),
    ]
    svg = charts.picture(10, 10, evil, evil, parts)
    assert "<script" not in svg
    reader = Reader(svg)
    assert reader.open == []
    assert reader.texts.count(evil) == len(parts) + 2


def test_a_chart_says_in_words_what_it_shows():
    svg = charts.picture(10, 10, "Dice", "From 0 to 1.", [], told=True)
    (attributes,) = Reader(svg).all("svg")
    assert attributes["role"] == "img"
    assert "told-by-keys" in attributes["class"]
    assert "<title>Dice</title><desc>From 0 to 1.</desc>" in svg


def test_many_dots_take_few_bytes_and_keep_their_places():
    dots = charts.dots("d", [(1.25, 2), (30, 40)])
    assert re.findall(r"M([\d.]+) ([\d.]+)h0", dots) == [("1.2", "2.0"), ("30.0", "40.0")]


def test_the_scale_of_an_upright_axis_stands_at_its_left():
    parts = charts.scale(Axis(0, 1, 100, 0), 50, 200)
    (first, *_) = Reader("<svg>" + "".join(parts) + "</svg>").all("line")
    assert (float(first["x1"]), float(first["x2"]), float(first["y1"])) == (50, 250, 100)


@given(st.floats(1e-3, 1e9))
def test_a_number_for_people_keeps_four_digits(value):
    assert isclose(float(number(value).replace(",", "")), value, rel_tol=5.1e-4)
