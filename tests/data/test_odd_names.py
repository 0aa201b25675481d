"""Names and descriptions that nobody writes by hand: a sentence, never a defect."""

import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.schema import DataConfig
from medseg.core.errors import MedsegError
from medseg.data.dataset import natural_key, safe_id
from medseg.data.inputs import find_cases
from medseg.data.layouts import open_dataset
from medseg.data.splits import load_splits, make_splits, save_splits
from medseg.evaluate.pairs import find_label_maps
from medseg.io.files import read_json
from tests.data.folders import paired, put_image, put_labels

LONG = "9" * 5000

DESCRIPTIONS = {
    "nested lists": "[" * 100_000,
    "nested objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "a value of thousands of digits": f'{{"labels": {{"a": {LONG}}}}}',
    "the same as a text": f'{{"labels": {{"a": "{LONG}"}}}}',
    "the same as a key": f'{{"labels": {{"{LONG}": "a"}}}}',
    "a label of no number": '{"labels": {"a": [[1]], "b": null}}',
    "channels of no kind": '{"channel_names": 5}',
    "null": "null",
    "no text": "\0" * 100,
    "a long path": json.dumps({"training": [{"image": "x" * 5000, "label": "y"}]}),
    "a path with a null": json.dumps({"training": [{"image": "a\0b", "label": "c\0"}]}),
    "paths that are numbers": '{"training": [{"image": 3, "label": 4}]}',
    "half of a letter": '{"training": [{"image": "\\ud800.nii.gz", "label": "\\udcfc.nii.gz"}]}',
    "nnU-Net's list of anything": json.dumps(
        {"channel_names": {"0": "a"}, "dataset": {"x": {"images": ["a\0", 3, "z" * 999], "label": "q"}}}
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_an_odd_description_is_refused_with_a_sentence(tmp_path, name):
    (paired(tmp_path) / "dataset.json").write_text(DESCRIPTIONS[name])
    with pytest.raises(MedsegError) as refused:
        make_splits(open_dataset(tmp_path, DataConfig()), 5, 0)
    assert len(str(refused.value)) < 1000


TABLES = {
    "an id": f"case,image,label\n{LONG},images/c_0.nii.gz,labels/c_0.nii.gz\n",
    "a fold": f"case,image,label,fold\na,images/c_0.nii.gz,labels/c_0.nii.gz,{LONG}\n",
    "a path": f"case,image,label\na,images/{LONG},labels/c_0.nii.gz\n",
    "a path with a null": "case,image,label\na,images/a\0b.nii.gz,labels/c_0.nii.gz\n",
    "a volume": f"case,image,label,read\na,images/c_0.nii.gz,labels/c_0.nii.gz,volume={LONG}\n",
    "a fraction": f"case,image,label,read.fraction\na,images/c_0.nii.gz,labels/c_0.nii.gz,{LONG}\n",
    "a cell": f"case,image,label\n{'x' * 200_000},images/c_0.nii.gz,labels/c_0.nii.gz\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_an_odd_table_is_refused_with_a_sentence(tmp_path, name):
    (paired(tmp_path) / "cases.csv").write_text(TABLES[name])
    with pytest.raises(MedsegError) as refused:
        open_dataset(tmp_path, DataConfig())
    assert len(str(refused.value)) < 7000


@pytest.mark.parametrize("text", ["[" * 5000, f'[{{"train": ["{LONG}"], "val": [3]}}]', f"[{LONG}]"])
def test_odd_folds_are_refused_with_a_sentence(tmp_path, text):
    (paired(tmp_path) / "splits_final.json").write_text(text)
    with pytest.raises(MedsegError):
        make_splits(open_dataset(tmp_path, DataConfig()), 5, 0)


@pytest.mark.parametrize("group", [f"block:{LONG}", "block:²", "block:0"])
def test_an_odd_rule_of_groups_is_refused(tmp_path, group):
    with pytest.raises(MedsegError, match="how many neighbouring cases"):
        open_dataset(paired(tmp_path), DataConfig(group=group))


def test_json_that_python_cannot_hold_is_named(tmp_path):
    (tmp_path / "a.json").write_text(f'{{"a": {LONG}}}')
    with pytest.raises(MedsegError, match="holds a number of thousands of digits"):
        read_json(tmp_path / "a.json", "a record")


@given(st.lists(st.text("a0129_", max_size=6), max_size=8))
def test_natural_order_is_that_of_numbers_of_any_length(names):
    import re

    def as_numbers(name):
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], name

    few = sorted(set(names), key=lambda name: (as_numbers(name)[0], name))
    assert [as_numbers(name)[0] for name in sorted(set(names), key=natural_key)] == [as_numbers(n)[0] for n in few]
    assert sorted([f"a{LONG}1", f"a{LONG}", "a2"], key=natural_key) == ["a2", f"a{LONG}", f"a{LONG}1"]


needs_bytes = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no UTF-8")

BYTES = (b"M\xfcller", b"M\xf6ller", b"z")


def put_bytes(folder, put):
    """A scan for each of the names, as old archives unpack them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(BYTES):
        plain = put(folder / "plain.nii.gz") if put is put_labels else put(folder / "plain.nii.gz", seed=number)
        plain.rename(folder / os.fsdecode(name + b".nii.gz"))
    return folder


@needs_bytes
def test_names_that_are_no_utf_8_become_ids_that_differ(tmp_path):
    put_bytes(tmp_path / "images", put_image)
    put_bytes(tmp_path / "labels", put_labels)
    dataset = open_dataset(tmp_path, DataConfig())
    assert dataset.ids == ("Mxf6ller", "Mxfcller", "z")
    assert [case.id for case in find_cases([tmp_path / "images"])] == list(dataset.ids)
    assert list(find_label_maps(tmp_path / "labels")) == list(dataset.ids)
    for note in dataset.notes:
        note.encode(errors="backslashreplace")
    splits = make_splits(dataset, 3, 0)
    save_splits(splits, tmp_path / "splits.json")
    assert load_splits(tmp_path / "splits.json") == splits


@needs_bytes
@pytest.mark.parametrize("layout", ["folders", "msd", "nnunet", "bids"])
def test_every_layout_takes_such_names(tmp_path, layout):
    name = os.fsdecode(b"M\xfcller")
    if layout == "folders":
        put_image(tmp_path / name / "t1.nii.gz")
        put_labels(tmp_path / name / "seg.nii.gz")
    elif layout == "bids":
        put_image(tmp_path / f"sub-{name}/anat/sub-{name}_T1w.nii.gz")
        put_labels(tmp_path / f"sub-{name}/anat/sub-{name}_dseg.nii.gz")
    else:
        put_image(tmp_path / f"imagesTr/{name}_0000.nii.gz")
        put_labels(tmp_path / f"labelsTr/{name}.nii.gz")
        declared = {"labels": {"background": 0, "a": 1, "b": 2}, "channel_names": {"0": "x"}, "file_ending": ".nii.gz"}
        pair = {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"}
        declared = declared if layout == "nnunet" else {"training": [pair], "modality": {"0": "x"}}
        (tmp_path / "dataset.json").write_text(json.dumps(declared))
    dataset = open_dataset(tmp_path, DataConfig(layout=layout))
    assert len(dataset.cases) == 1
    assert safe_id(dataset.ids[0]) == dataset.ids[0]
    dataset.ids[0].encode()


@needs_bytes
@pytest.mark.parametrize("written", [rb"M\udcfcller", b"M\xfcller"])
def test_a_table_names_such_files_as_a_screen_shows_them_or_by_their_bytes(tmp_path, written):
    put_bytes(tmp_path / "images", put_image)
    put_bytes(tmp_path / "labels", put_labels)
    row = b"images/" + written + b".nii.gz,labels/" + written + b".nii.gz\n"
    (tmp_path / "cases.csv").write_bytes(b"image,label\n" + row)
    (case,) = open_dataset(tmp_path, DataConfig()).cases
    assert os.fsencode(case.images[0]).endswith(b"M\xfcller.nii.gz")


@needs_bytes
def test_folds_of_nnunet_name_such_cases(tmp_path):
    put_bytes(tmp_path / "images", put_image)
    put_bytes(tmp_path / "labels", put_labels)
    names = [os.fsdecode(name) for name in BYTES]
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": names[:2], "val": names[2:]}]))
    splits = make_splits(open_dataset(tmp_path, DataConfig()), 5, 0)
    assert splits.folds[0].train == ("Mxf6ller", "Mxfcller")
