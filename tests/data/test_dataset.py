"""Cases and data sets as values: ids that can be file names, order, and labels found by looking."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key, resolve_labels, safe_id


def dataset(*ids, **more):
    cases = tuple(Case(name, (Path(f"images/{name}.nii.gz"),), Path(f"labels/{name}.nii.gz")) for name in ids)
    return Dataset(Path("somewhere"), "paired", cases, None, ("image",), **more)


@given(st.text(max_size=30))
def test_a_safe_id_is_a_file_name_and_making_it_safe_again_changes_nothing(name):
    once = safe_id(name)
    assert once == safe_id(once)
    assert once == Path(once).name
    assert not once.startswith(".")


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_in_names_sort_as_numbers(numbers):
    names = [f"slice_{number}.x" for number in numbers]
    assert sorted(names, key=natural_key) == [f"slice_{number}.x" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_have_one_order(names):
    assert len({natural_key(name) for name in names}) == len(set(names))
    backwards = list(reversed(names))
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_a_case_is_a_group_of_its_own_unless_told_otherwise():
    assert Case("a", (Path("a.png"),)).group == "a"
    assert Case("a", (Path("a.png"),), group="patient 7").group == "patient 7"


def test_two_cases_of_one_id_are_refused_with_both_files():
    one, two = Case("a", (Path("left/a.nii"),)), Case("a", (Path("right/a.nii"),))
    with pytest.raises(InputError, match=r"'a': left/a\.nii and right/a\.nii"):
        Dataset(Path("d"), "msd", (one, two), None, ("image",))


def test_a_data_set_without_a_case_forgets_what_was_wrong_with_it():
    whole = dataset("a", "b", problems=(BadCase("c", "no image"),))
    assert whole.without({"a", "c"}).ids == ("b",)
    assert whole.without({"a", "c"}).problems == ()
    assert whole.ids == ("a", "b")


def test_a_list_of_names_says_how_many_it_leaves_out():
    assert listed(["b", "a"]) == "a, b"
    assert listed([f"c{n}" for n in range(12)], at_most=3) == "c0, c1, c2 and 9 more"


def test_labels_that_nobody_declared_are_named_after_their_values():
    labels, notes = resolve_labels(dataset("a"), {0, 4, 2})
    assert labels.to_json() == {"label 2": 2, "label 4": 4}
    assert notes == ()


def test_white_alone_is_a_mask_and_beside_other_values_it_is_asked_about():
    assert resolve_labels(dataset("a"), {0, 255}) == (resolve_labels(dataset("a"), {255})[0], ())
    labels, (note,) = resolve_labels(dataset("a"), {0, 1, 255})
    assert labels.classes == (0, 1, 255)
    assert '"ignore": 255' in note


def test_maps_of_nothing_or_of_an_image_are_refused():
    with pytest.raises(InputError, match="nothing but background"):
        resolve_labels(dataset("a"), {0})
    with pytest.raises(InputError, match=r"hold 900 different values .* they look like images"):
        resolve_labels(dataset("a"), set(range(901)))
