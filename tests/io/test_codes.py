"""Names of labels → codes: what is known is found however it is written, and nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.schema import LabelConfig
from medseg.io.codes import CATEGORIES, SIDES, Code, meaning_of, meanings

LIVER = Code("10200004", "SCT", "Liver")
KIDNEY = Code("64033007", "SCT", "Kidney")


@pytest.mark.parametrize(
    "name", ["left kidney", "kidney_left", "kidney left", "Kidney (L)", "LEFT-KIDNEY", "kidneys left", "l_kidney"]
)
def test_a_left_kidney_is_one_however_it_is_written(name):
    found = meaning_of(name)
    assert (found.category, found.kind, found.side) == (CATEGORIES["anatomy"], KIDNEY, SIDES["left"])
    assert found.color == (185, 102, 83)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("kidneys", "Kidney"),
        ("Tumour", "Neoplasm"),
        ("urinary_bladder", "Bladder"),
        ("brainstem", "Brain stem"),
        ("left ventricle", "Left ventricle"),
        ("heart_atrium_left", "Left atrium"),
        ("pancreas", "Pancreas"),
        ("vertebrae", "Vertebra"),
        ("masses", "Mass"),
    ],
)
def test_plurals_and_other_words_for_the_same_thing_are_known(name, meaning):
    found = meaning_of(name)
    assert (found.kind.meaning, found.side, found.is_known) == (meaning, None, True)


@pytest.mark.parametrize(
    "name",
    ["lung_upper_lobe_left", "left liver", "rib_left_4", "vertebrae_L1", "liver tumour", "label 3", "", "左腎"],
)
def test_what_the_table_does_not_hold_is_not_guessed(name):
    found = meaning_of(name)
    assert not found.is_known
    assert found.category == found.kind == CATEGORIES["anatomy"]


def test_each_category_has_its_structures():
    assert meaning_of("edema").category == CATEGORIES["abnormality"]
    assert meaning_of("body fat").category == CATEGORIES["tissue"]


def test_a_declaration_goes_before_the_name():
    declared = LabelConfig(code="39607008", meaning="Lung", side="left", color=(1, 2, 3))
    found = meaning_of("lung_upper_lobe_left", declared)
    assert found.is_known
    assert (found.kind, found.side, found.color) == (Code("39607008", "SCT", "Lung"), SIDES["left"], (1, 2, 3))


def test_a_declared_colour_leaves_the_code_of_the_name():
    found = meaning_of("liver", LabelConfig(color=(1, 2, 3)))
    assert (found.kind, found.color) == (LIVER, (1, 2, 3))


def test_a_declared_category_alone_says_what_kind_of_thing_it_is():
    found = meaning_of("blob", LabelConfig(category="abnormality"))
    assert found.category == found.kind == CATEGORIES["abnormality"]


def test_names_without_a_code_are_told_once_with_the_key_that_helps():
    found, (sentence,) = meanings(["liver", "blob", "spot"])
    assert found["liver"].kind == LIVER
    assert "No code is known for blob, spot:" in sentence
    assert "data.labels.blob={code: …, meaning: …}" in sentence
    assert meanings(["liver"])[1] == ()


@given(st.text(max_size=30))
def test_any_name_has_a_meaning_that_fits_into_dicom(name):
    found = meaning_of(name)
    for code in (found.category, found.kind):
        assert 0 < len(code.value) <= 16
        assert 0 < len(code.meaning) <= 64
