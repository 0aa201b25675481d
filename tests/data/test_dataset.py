"""Cases and data sets as values: ids that can be file names, order, and labels found by looking."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.data.dataset import (
    BadCase,
    Case,
    Dataset,
    listed,
    natural_key,
    refuse_twins,
    resolve_labels,
    safe_id,
    too_long,
)

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)", re.IGNORECASE)


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


@pytest.mark.parametrize("twin", ["case", "CASE", "cAsE"])
def test_ids_that_differ_only_in_case_are_one_name(twin):
    one, two = Case("Case", (Path("a/1.nii"),)), Case(twin, (Path("b/2.nii"),))
    with pytest.raises(InputError, match=rf"'Case' and '{twin}', which are one name .*: a/1\.nii and b/2\.nii"):
        refuse_twins([one, two])


def test_ids_of_composed_and_decomposed_letters_are_one_name():
    with pytest.raises(InputError, match="one name on many systems"):
        refuse_twins([Case("M\u00fcller", (Path("1.nii"),)), Case("Mu\u0308ller", (Path("2.nii"),))])


@pytest.mark.parametrize("name", ["CON", "con", "Nul.x", "COM1", "lpt9", "aux.1.2", "COM\u00b9", "CONIN$", "prn "])
def test_names_of_devices_become_names_of_files(name):
    assert not RESERVED.fullmatch(safe_id(name).split(".")[0].strip())
    assert safe_id(name).casefold().startswith(name.split(".")[0].strip().casefold())


@pytest.mark.parametrize("name", ["console", "control", "com", "com10", "nullable", "a.con"])
def test_names_that_only_look_like_devices_stay(name):
    assert safe_id(name) == name


def test_bytes_that_are_no_text_have_no_place_in_an_id():
    safe_id("M\udcfcller").encode("utf-8")


def test_a_name_is_too_long_where_the_longest_suffix_no_longer_fits():
    assert too_long(Case("x" * 224, (Path("x.nii"),))) is None
    assert "has 225 letters" in too_long(Case("x" * 225, (Path("x.nii"),)))
    assert "has 120 letters" in too_long(Case("ü" * 120, (Path("x.nii"),)))
    assert len(("x" * 224 + "_probabilities.nii.gz").encode()) <= 255


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
