"""Channels go into a model by name wherever both sides have names; what differs is refused with both lists."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.data.cases import read_image
from medseg.data.channel_order import ModelChannels, are_names, channel_key
from medseg.data.inputs import find_inputs
from medseg.data.layouts import open_dataset
from tests.data.folders import declare, image, nnunet, put_image, put_labels

MODEL = ("T2", "ADC")


def arrays(paths, channels=MODEL):
    """Case id → its channels as the model gets them, and what was said."""
    inputs = find_inputs(paths, channels)
    return {case.id: read_image(case, io.ReadOptions()).array for case in inputs.cases}, inputs


def expected(n_channels=2):
    """Channel n is `image(seed=n)`, in the order of MODEL."""
    return np.concatenate([image(seed=n).array for n in range(n_channels)])


def put_channels(folder, name="k{}.nii.gz", **suffixes):
    for suffix, seed in suffixes.items():
        put_image(folder / name.format(suffix), seed=seed)
    return folder


@pytest.mark.parametrize(
    "suffixes",
    [
        {"_t2": 0, "_adc": 1},
        {"-ADC": 1, "-T2": 0},
        {"_A-D C": 1, "_t_2": 0},
        {"_0000": 0, "_0001": 1},
    ],
)
def test_files_go_in_by_the_names_of_their_channels(tmp_path, suffixes):
    found, inputs = arrays([put_channels(tmp_path, **suffixes)])
    np.testing.assert_array_equal(found["k"], expected())
    assert len(inputs.remarks) == ("_0000" in suffixes)
    found, _ = arrays(sorted(tmp_path.iterdir()))
    np.testing.assert_array_equal(found["k"], expected())


def test_a_folder_of_files_called_by_channels_alone_is_a_case_called_by_the_folder(tmp_path):
    found, _ = arrays([put_channels(tmp_path / "X7", "{}.nii.gz", adc=1, t2=0)])
    np.testing.assert_array_equal(found["X7"], expected())


def test_pet_and_ct_go_in_by_what_archives_call_them(tmp_path):
    found, _ = arrays([put_channels(tmp_path, _ct=0, _pt=1)], ("CT", "PET"))
    np.testing.assert_array_equal(found["k"], expected())


def test_the_longest_name_that_ends_a_file_counts(tmp_path):
    model = ("T1", "post T1")
    found, _ = arrays([put_channels(tmp_path, _T1=0, _post_T1=1)], model)
    np.testing.assert_array_equal(found["k"], expected())


@pytest.mark.parametrize("inside", ["", "imagesTr"])
def test_numbers_go_in_by_the_names_that_the_data_set_declares(tmp_path, inside):
    root = nnunet(tmp_path, 1, channels=("ADC", "T2"))
    found, inputs = arrays([root / inside])
    np.testing.assert_array_equal(found["c_0"], read_channels(root, 1, 0))
    assert not inputs.remarks


def read_channels(root, *numbers):
    return np.concatenate([io.read(root / f"imagesTr/c_0_{n:04d}.nii.gz").array for n in numbers])


@pytest.mark.parametrize("inside", ["", "imagesTr"])
def test_layers_of_one_file_go_in_by_the_names_that_the_data_set_declares(tmp_path, inside):
    put_image(tmp_path / "imagesTr/c.nii.gz", n_channels=2)
    pair = {"image": "./imagesTr/c.nii.gz", "label": "./labelsTr/c.nii.gz"}
    declare(tmp_path, modality={"0": "ADC", "1": "T2"}, labels={"0": "background", "1": "a"}, training=[pair])
    found, _ = arrays([tmp_path / inside])
    np.testing.assert_array_equal(found["c"], image(n_channels=2).array[::-1])


def test_columns_of_a_table_go_in_by_name(tmp_path):
    put_channels(tmp_path, _x=1, _y=0)
    (tmp_path / "list.csv").write_text("case,image_adc,image_T2\nk,k_x.nii.gz,k_y.nii.gz\n")
    found, _ = arrays([tmp_path / "list.csv"])
    np.testing.assert_array_equal(found["k"], expected())


@pytest.mark.parametrize(
    ("suffixes", "words"),
    [
        ({"_t2": 0, "_flair": 1}, ["ADC is missing", "the model knows no flair"]),
        ({"_t2": 0}, ["has 1 channel (t2)", "ADC is missing"]),
        ({"_t2": 0, "_adc": 1, "_flair": 2}, ["has 3 channels", "the model knows no flair"]),
        ({"_t2": 0, "_T2": 1, "_adc": 2}, ["are one channel"]),
        ({"_t2": 0, "-t2": 1, "_adc": 2}, ["t2 and t2 are one channel"]),
        ({"_a": 0, "_b": 1}, ["T2 is missing; ADC is missing; the model knows no a"]),
        ({"_0000": 0, "_0002": 1}, ["channels 0000, 0002", "are 0000, 0001"]),
        ({"_0001": 0, "_0002": 1}, ["channels 0001, 0002", "are 0000, 0001"]),
        ({"_0000": 0, "_0001": 1, "_0002": 2}, ["3 files of channels", "instead of 0000, 0001"]),
        ({"_0000": 0}, ["1 file of channels, but the model has 2 channels (T2, ADC)"]),
    ],
)
def test_channels_that_are_not_the_models_are_a_bad_case_with_both_lists(tmp_path, suffixes, words):
    put_channels(tmp_path, **suffixes)
    put_channels(tmp_path, "good{}.nii.gz", _0000=0, _0001=1)
    found, inputs = arrays([tmp_path])
    assert list(found) == ["good"]
    (problem,) = inputs.problems
    assert problem.id == "k"
    assert "T2, ADC" in problem.reason
    assert all(word in problem.reason for word in words), problem.reason


@pytest.mark.parametrize("columns", ["image_T2", "image_T2,image_FLAIR", "image_T2,image_ADC,image_FLAIR"])
def test_a_table_whose_columns_are_not_the_models_is_refused(tmp_path, columns):
    put_image(tmp_path / "x.nii.gz")
    n_columns = columns.count(",") + 1
    (tmp_path / "list.csv").write_text(f"case,{columns}\nk" + ",x.nii.gz" * n_columns + "\n")
    with pytest.raises(InputError, match=r"T2, ADC.*(is missing|knows no FLAIR)"):
        find_inputs([tmp_path / "list.csv"], MODEL)


def test_a_declaration_of_other_channels_is_refused(tmp_path):
    nnunet(tmp_path, 1, channels=("FLAIR", "T2"))
    with pytest.raises(InputError, match=r"\(FLAIR, T2\).*\(T2, ADC\): ADC is missing; the model knows no FLAIR"):
        find_inputs([tmp_path], MODEL)
    (problem,) = find_inputs([tmp_path / "imagesTr"], MODEL).problems
    assert "knows no FLAIR" in problem.reason


def test_order_counts_where_one_side_has_no_names_and_that_is_said_once(tmp_path):
    for number in range(3):
        put_channels(tmp_path, f"k{number}{{}}.nii.gz", _0000=0, _0001=1)
    found, inputs = arrays([tmp_path])
    assert all((array == expected()).all() for array in found.values())
    assert inputs.remarks == [
        "3 cases have no names for the channels: their order counts, and they are taken for T2, ADC."
    ]
    put_channels(tmp_path / "named", _t1=0, _t2=1)
    found, inputs = arrays([tmp_path / "named"], 2)
    np.testing.assert_array_equal(found["k"], expected())
    (remark,) = inputs.remarks
    assert "The model has no names for its 2 channels" in remark
    assert not arrays([put_image(tmp_path / "one/a.nii.gz")], ("CT",))[1].remarks


def test_another_name_for_the_one_channel_is_told(tmp_path):
    put_image(tmp_path / "x.nii.gz")
    (tmp_path / "list.csv").write_text("case,image_FLAIR\nk,x.nii.gz\n")
    assert "FLAIR" in find_inputs([tmp_path / "list.csv"], ("T1",)).notes[0]
    assert not find_inputs([tmp_path / "list.csv"], ("flair",)).notes
    assert not find_inputs([tmp_path / "list.csv"], ("image",)).notes


def test_beside_the_file_of_the_models_one_channel_others_are_left_out_by_name(tmp_path):
    put_channels(tmp_path, _ct=0, _pet=1)
    put_image(tmp_path / "other_b.nii.gz")
    inputs = find_inputs([tmp_path], ("CT",))
    assert [case.id for case in inputs.cases] == ["k", "other_b"]
    assert "1 files lie beside" in inputs.notes[0]
    assert "k_pet.nii.gz" in inputs.notes[0]


def test_frames_in_colour_are_no_channels_of_each_other(tmp_path):
    for number in range(3):
        put_image(tmp_path / f"f_{number:04d}.nii.gz", n_channels=3)
    assert [case.id for case in find_inputs([tmp_path], ("red", "green", "blue")).cases] == ["f", "f_0001", "f_0002"]


def test_a_dataset_json_of_something_else_is_no_declaration(tmp_path):
    put_channels(tmp_path, _0000=0, _0001=1)
    for content in ({"name": "x"}, [1], {"channel_names": {"0": "a", "7": "b"}}):
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        try:
            inputs = find_inputs([tmp_path], MODEL)
        except InputError:  # recognised as nnU-Net's, and refused by that layout
            continue
        assert [case.id for case in inputs.cases] == ["k"]


@pytest.mark.parametrize("ends", [("_adc", "_t2"), ("_0001", "_0000")])
@pytest.mark.parametrize("kind", ["msd", "nnunet"])
def test_in_training_a_list_of_files_goes_by_their_names_and_not_by_its_order(tmp_path, ends, kind):
    adc, t2 = ends
    put_channels(tmp_path / "imagesTr", **{t2: 0, adc: 1})
    put_labels(tmp_path / "labelsTr/k.nii.gz")
    images = [f"imagesTr/k{end}.nii.gz" for end in ends]
    entry = {"label": "labelsTr/k.nii.gz"}
    if kind == "msd":
        training = [{**entry, "image": images}]
        declare(tmp_path, modality={"0": "T2", "1": "ADC"}, labels={"0": "b", "1": "x", "2": "y"}, training=training)
    else:
        dataset = {"k": {**entry, "images": images}}
        labels = {"background": 0, "x": 1, "y": 2}
        declare(tmp_path, channel_names={"0": "T2", "1": "ADC"}, labels=labels, dataset=dataset, file_ending=".nii.gz")
    opened = open_dataset(tmp_path, DataConfig())
    assert (opened.layout, opened.channels) == (kind, MODEL)
    np.testing.assert_array_equal(read_image(opened.cases[0], io.ReadOptions()).array, expected())
    found, _ = arrays([tmp_path], ("ADC", "T2"))
    np.testing.assert_array_equal(found["k"], expected()[::-1])


@pytest.mark.parametrize("labels", [True, False])
def test_folders_of_cases_go_in_by_name_whatever_the_order_of_training(tmp_path, labels):
    for case in ("k1", "k2"):
        put_channels(tmp_path / case, "{}.nii.gz", adc=1, t2=0)
        if labels:
            put_labels(tmp_path / case / "seg.nii.gz")
    found, _ = arrays([tmp_path])
    assert list(found) == ["k1", "k2"]
    assert all((array == expected()).all() for array in found.values())
    if labels:
        dataset = open_dataset(tmp_path, DataConfig())
        assert (dataset.channels, dataset.ids) == (("adc", "t2"), ("k1", "k2"))


def test_a_model_without_names_takes_the_files_of_a_case_folder_in_their_order(tmp_path):
    for case in ("k1", "k2"):
        put_channels(tmp_path / case, "{}.nii.gz", a=0, b=1)
    found, inputs = arrays([tmp_path], 2)
    assert list(found) == ["k1", "k2"]
    assert all((array == expected()).all() for array in found.values())
    assert "The model has no names for its 2 channels" in inputs.remarks[0]
    for case in ("w1", "w2"):
        for name in ("a", "b"):
            put_image(tmp_path / f"whole/{case}/{name}.nii.gz", n_channels=2)
    assert [case.id for case in find_inputs([tmp_path / "whole"], 2).cases] == ["w1_a", "w1_b", "w2_a", "w2_b"]


NAMES = st.lists(st.text("abc12-_ ", min_size=1, max_size=5), min_size=2, max_size=5)


@given(names=NAMES, data=st.data())
def test_any_order_of_the_same_names_is_put_right(names, data):
    model = ModelChannels(tuple(names))
    given_names = data.draw(st.permutations(names))
    order = model.order(given_names, "It")
    if are_names(names):
        assert [channel_key(given_names[n]) for n in order] == [channel_key(name) for name in names]
    else:
        assert order is None
