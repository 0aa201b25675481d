"""Which prediction belongs to which reference; nobody is left out."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from medseg import io
from medseg.core.errors import AmbiguousError, InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.evaluate import EvaluateOptions, evaluate
from medseg.evaluate.pairs import (
    Pair,
    find_label_maps,
    lossy_note,
    match,
    modality_predicted,
    read_table,
    references,
)
from medseg.io.origin import is_our_page, schema_of
from tests.data.dicom_trees import put_structures
from tests.data.test_channel_series import examination

OTHER_BOX = slice(0, 2), slice(1, 3), slice(1, 3)


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_label_maps_are_found_by_case_id_in_natural_order(tmp_path):
    folder = touch(tmp_path, "s_10.nii.gz", "s_2.mha", "predictions.json", "._s_2.mha", "plans.json", "photo.jpg")
    assert list(find_label_maps(folder)) == ["s_2", "s_10"]


def test_what_predict_writes_beside_a_mask_is_no_case(tmp_path):
    folder = touch(
        tmp_path, "a.nii.gz", "a_probabilities.nii.gz", "a_uncertainty.nii.gz", "a_preview.png", "b_preview.png"
    )
    assert list(find_label_maps(folder)) == ["a", "b_preview"]


def test_of_several_forms_of_a_prediction_the_first_that_is_there_counts(tmp_path):
    def record(*outputs):
        (tmp_path / "predictions.json").write_text(json.dumps({"cases": [{"case": "knee", "outputs": outputs}]}))
        return {case: path.name for case, path in find_label_maps(tmp_path).items()}

    names = ("knee.nii.gz", "knee.labels.txt", "knee.seg.nrrd", "knee_preview.png")
    for name in (*names, "hip.nii.gz"):
        (tmp_path / name).touch()
    assert record(*names) == {"hip": "hip.nii.gz", "knee": "knee.nii.gz"}
    assert record("knee_seg.dcm", "knee.seg.nrrd", "knee.nii.gz") == {"hip": "hip.nii.gz", "knee": "knee.seg.nrrd"}


def test_two_files_of_one_case_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"'a': a\.mha and a\.nii\.gz"):
        find_label_maps(touch(tmp_path, "a.nii.gz", "a.mha"))


def test_missing_and_extra_predictions_are_pairs_too(tmp_path):
    here, there = tmp_path / "p", tmp_path / "r"
    pairs = match({"b": here, "c": here}, {"a": there, "b": there}, {"b": "patient 1"})
    assert pairs == (Pair("a", None, there), Pair("b", here, there, "patient 1"), Pair("c", here, None))
    assert [pair.group for pair in pairs] == ["a", "patient 1", "c"]


def test_names_that_have_nothing_in_common_are_refused_with_what_would_settle_it(tmp_path):
    with pytest.raises(InputError, match=r"predicted are x1, references are a, b\. .*case,predicted,reference"):
        match({"x1": tmp_path}, {"a": tmp_path, "b": tmp_path})


@pytest.mark.parametrize(
    ("mine", "theirs", "name"),
    [
        ("STS_003_4f3a2b1c", "STS_003", "STS_003"),
        ("STS_003", "STS_003_4f3a2b1c", "STS_003_4f3a2b1c"),
        ("frame", "frame_0000", "frame_0000"),
    ],
)
def test_an_id_with_a_digest_or_a_channel_number_meets_the_plain_name(tmp_path, mine, theirs, name):
    here, there = tmp_path / "p", tmp_path / "r"
    assert match({mine: here}, {theirs: there}) == (Pair(name, here, there),)


def test_two_series_of_one_folder_name_do_not_meet_nor_does_a_name_with_a_choice(tmp_path):
    here, there = tmp_path / "p", tmp_path / "r"
    pairs = match({"a_4f3a2b1c": here, "x": here}, {"a_50000000": there, "x": there})
    assert [(pair.case, pair.predicted is None, pair.reference is None) for pair in pairs] == [
        ("a_4f3a2b1c", False, True),
        ("a_50000000", True, False),
        ("x", False, False),
    ]
    two = match({"a_4f3a2b1c": here, "a_50000000": here, "x": here}, {"a": there, "x": there})
    assert sum(pair.predicted is None or pair.reference is None for pair in two) == 3


def test_a_table_settles_pairs_groups_and_what_was_annotated(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "case,predicted,reference,group,annotated\n"
        "a,out/a1.nii.gz,ref/a.nii.gz,p1,liver; spleen\n"
        "b,,ref/b.nii.gz,,\n"
        "c,out/c.nii.gz,,,\n"
    )
    assert read_table(table) == (
        Pair("a", tmp_path / "out/a1.nii.gz", tmp_path / "ref/a.nii.gz", "p1", frozenset({"liver", "spleen"})),
        Pair("b", None, tmp_path / "ref/b.nii.gz"),
        Pair("c", tmp_path / "out/c.nii.gz", None),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,predicted\na,b\n", "no column reference"),
        ("case,predicted,reference\na,b,c\na,d,e\n", "line 3: the case 'a' stands there for the second time"),
        ("case,predicted,reference\na,,\n", "line 2: a row needs a case"),
        ("case,predicted,reference\n", "lists no case"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_it_is_wrong(tmp_path, text, words):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_table(tmp_path / "pairs.csv")


def test_a_table_that_does_not_exist_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match=r"pairs\.csv does not exist"):
        read_table(tmp_path / "pairs.csv")


def test_a_folder_of_label_maps_takes_its_names_from_the_data_set_it_belongs_to(tmp_path):
    touch(tmp_path / "labelsTr", "a.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    found = references(tmp_path / "labelsTr")
    assert list(found.maps) == ["a"]
    assert found.labels.to_json() == {"liver": 1}


def test_a_stranger_above_the_folder_is_not_asked_for_names(tmp_path):
    touch(tmp_path / "elsewhere", "a.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    assert references(tmp_path / "elsewhere").labels is None


def test_the_folder_of_a_data_set_gives_label_maps_names_and_groups(tmp_path):
    grid = Geometry.from_spacing((3, 3, 3))
    for case in ("c_1", "c_2"):
        for folder, name in (("imagesTr", f"{case}_0000.nii.gz"), ("labelsTr", f"{case}.nii.gz")):
            io.write(LabelMap(np.ones(grid.shape, np.uint8), grid), tmp_path / folder / name)
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 2, '
        '"file_ending": ".nii.gz"}'
    )
    found = references(tmp_path)
    assert {case: path.name for case, path in found.maps.items()} == {"c_1": "c_1.nii.gz", "c_2": "c_2.nii.gz"}
    assert found.labels.to_json() == {"liver": 1}
    assert set(found.groups) == {"c_1", "c_2"}


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data set"):
        references(touch(tmp_path, "readme.txt"))


def test_jpeg_masks_are_told_and_count_where_one_says_so(tmp_path):
    mask = np.zeros((40, 48), np.uint8)
    mask[8:24, 8:32] = 255
    for folder, suffix in (("predicted", ".png"), ("reference", ".jpg")):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            Image.fromarray(mask).save(tmp_path / folder / f"{name}{suffix}")
    assert find_label_maps(tmp_path / "reference") == {}
    assert lossy_note(tmp_path / "reference") == (
        "2 files are JPEG and were left aside. For masks of black and white, --read lossy=threshold takes them.",
    )
    options = EvaluateOptions(read=io.ReadOptions(lossy="threshold"))
    found = evaluate(tmp_path / "predicted", tmp_path / "reference", options)
    assert [facts.pair.case for facts in found.facts] == ["a", "b"]
    assert [facts.outcome for facts in found.facts] == ["compared", "compared"]


def records(folder, *modalities):
    cases = [
        {"case": f"c{n}", "outputs": [], "options": {"read": m and {"modality": m}}} for n, m in enumerate(modalities)
    ]
    (folder / "predictions.json").write_text(json.dumps({"cases": cases}))


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [
        (("CT", "CT"), "CT"),
        (("CT+PT",), "CT+PT"),
        (("CT", "MR"), None),
        (({}, {}), None),
        (("CT", {}), None),
        ((), None),
    ],
)
def test_the_modality_that_all_predictions_were_made_from_is_known(tmp_path, modalities, expected):
    records(tmp_path, *modalities)
    assert modality_predicted(tmp_path) == expected


@pytest.mark.parametrize("content", ["", "[]", '{"cases": 3}', '{"cases": [{"options": null}]}', '{"cases": [7]}'])
def test_no_record_or_an_odd_one_says_no_modality(tmp_path, content):
    assert modality_predicted(tmp_path) is None
    (tmp_path / "predictions.json").write_text(content)
    assert modality_predicted(tmp_path) is None


def test_of_references_on_several_modalities_those_of_the_predictions_count(tmp_path):
    patients, out = tmp_path / "patients", tmp_path / "out"
    examination(patients / "A", "A")
    put_structures(patients / "A/rt_mr.dcm", sorted((patients / "A/mr").glob("*.dcm")), GTV=OTHER_BOX)
    truth = io.read_labels(patients / "A/rt/1.dcm", image=patients / "A/ct")
    io.write(LabelMap(truth.array, truth.geometry), out / "A.nii.gz")
    with pytest.raises(AmbiguousError):
        evaluate(out, patients, labels=Labels({"GTV": (1,)}))
    for modality in ("CT", "CT+MR"):
        records(out, modality)
        assert evaluate(out, patients, labels=Labels({"GTV": (1,)})).headline["dice"] == 1


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        f'{{"cases": [{"9" * 5000}]}}',
        json.dumps({"cases": [{"case": 1, "outputs": ["x" * 999, "a\0"]}]}),
        "\0",
    ],
)
def test_an_odd_record_beside_masks_is_none_of_ours(tmp_path, content):
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    (tmp_path / "predictions.json").write_text(content)
    assert list(find_label_maps(tmp_path)) == ["a", "b"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes among files")
def test_pipes_among_masks_are_not_opened(tmp_path):
    touch(tmp_path, "a.nii.gz")
    for name in ("predictions.json", "b.nii.gz", "c"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "d.nii.gz").symlink_to("/dev/zero")
    assert list(find_label_maps(tmp_path)) == ["a"]
    assert schema_of(tmp_path / "predictions.json") == ""
    assert not is_our_page(tmp_path / "c")


@pytest.mark.parametrize("row", ["x" * 200_000 + ",a.nii.gz,b.nii.gz", "9" * 5000 + ",,"])
def test_an_odd_table_of_pairs_is_refused_with_a_sentence(tmp_path, row):
    (tmp_path / "pairs.csv").write_text(f"case,predicted,reference\n{row}\n")
    with pytest.raises(InputError, match="line 2") as refused:
        read_table(tmp_path / "pairs.csv")
    assert len(str(refused.value)) < 500
