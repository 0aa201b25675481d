"""Which names are a pair of sides."""

import pytest

from medseg.inspect.sides import pairs_of


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Left Hippocampus", "Right Hippocampus"),
        ("kidney_left", "kidney_right"),
        ("kidney-l", "kidney-r"),
        ("LeftKidney", "RightKidney"),
        ("lung_lower_lobe_left", "lung_lower_lobe_right"),
        ("Hippocampus L", "Hippocampus R"),
        ("lh cortex", "rh cortex"),
    ],
)
def test_names_that_differ_in_the_side_alone_are_a_pair(left, right):
    assert pairs_of([right, "liver", left]) == ((left, right),)


@pytest.mark.parametrize(
    "names",
    [
        ["left", "right"],
        ["left kidney", "right lung"],
        ["liver", "brighter"],
        ["left kidney"],
        ["kidney left left", "kidney right right"],
    ],
)
def test_other_names_are_none(names):
    assert pairs_of(names) == ()
