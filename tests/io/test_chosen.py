"""Which structures of a file are read: what is not asked for is not judged, and a refusal names the way out."""

import re
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded
from medseg.core.volume import LabelMap
from medseg.data.cases import read_case
from medseg.data.dataset import Case
from medseg.evaluate.pairs import Pair
from medseg.evaluate.score import EvaluateOptions, measure
from medseg.inspect.reading import Job, inspect_case
from medseg.io import ReadOptions
from medseg.io.chosen import chosen, leave_out
from tests.io.dicom_files import write_series
from tests.io.label_files import write_rtstruct, write_seg

STORED = np.zeros((5, 8, 9), np.int16)


def series(folder):
    return write_series(folder / "image", STORED, spacing=(1, 1), step=(0, 0, 2.0), origin=(0, 0, 10))


def square(z, low=1, high=4, tilt_mm=0.0):
    a, b = low - 0.5, high - 0.5
    return [(a, a, z), (b, a, z), (b, b, z + tilt_mm), (a, b, z + tilt_mm)]


GOOD = {"GTV": [square(12), square(14)], "Liver": [square(14, 4, 7)]}
MISFITS = {
    "Couch": [square(8), square(6)],
    "External": [square(z) for z in (4, 10, 12, 14, 16, 18, 20)],
    "Dose 95 [%]": [square(11, tilt_mm=5.0)],
    "Ring 1,2 $x": [square(13.0)],
}


def options_in(refusal):
    """The options that a sentence offers, as a shell would take them apart."""
    words = shlex.split(refusal.replace(";", " ").removesuffix("."))
    return [ReadOptions.parse(dict([words[n + 1].split("=", 1)])) for n, word in enumerate(words) if word == "--read"]


@pytest.mark.parametrize("names", [["Couch"], ["External"], ["Dose 95 [%]"], ["Ring 1,2 $x"], list(MISFITS)])
def test_a_structure_that_does_not_fit_stops_only_who_asks_for_it(tmp_path, names):
    rois = [*GOOD.items(), *((name, MISFITS[name]) for name in names)]
    path = write_rtstruct(tmp_path / "rt.dcm", series(tmp_path), rois)
    truth = io.read_labels(write_rtstruct(tmp_path / "good" / "rt.dcm", series(tmp_path / "good"), list(GOOD.items())))
    found = io.read_labels(path, wanted=["gtv", "liver"])
    np.testing.assert_array_equal(found.array, truth.array)
    assert any(
        note.startswith(f"Structures that were not asked for are left out: {names[0]}") for note in found.meta.warnings
    )
    assert io.read_labels(path, wanted=["GTV"]).labels.names == ("GTV",)
    with pytest.raises(InputError) as refusal:
        io.read_labels(path)
    for option in options_in(str(refusal.value)):
        np.testing.assert_array_equal(
            io.read_labels(path, option).labels.mask(io.read_labels(path, option).array, "GTV"),
            truth.labels.mask(truth.array, "GTV"),
        )
    assert options_in(str(refusal.value))
    with pytest.raises(InputError, match=re.escape(names[0].split(",")[0])):
        io.read_labels(path, wanted=[names[0], "GTV"])


def test_where_nothing_fits_nothing_is_offered_to_be_left_out(tmp_path):
    path = write_rtstruct(tmp_path / "rt.dcm", series(tmp_path), [("a", [square(40)]), ("b", [square(42)]), ("c", [])])
    with pytest.raises(InputError, match=r"was drawn on other images\. Give those, or leave the file out\.$"):
        io.read_labels(path)


def test_twins_and_damage_matter_only_where_they_are_asked_for(tmp_path):
    def spoil(dataset):
        dataset.ROIContourSequence[3].ContourSequence[0].ContourData = ["1", "2"]

    rois = [*GOOD.items(), ("PTV", [square(12)]), ("Bad", [square(12)]), ("ptv", [square(14)])]
    path = write_rtstruct(tmp_path / "rt.dcm", series(tmp_path), rois, change=spoil)
    assert io.read_labels(path, wanted=["GTV"]).labels.names == ("GTV",)
    with pytest.raises(InputError, match=r"points of three \(1 more cannot be read either\)") as refusal:
        io.read_labels(path)
    (option,) = options_in(str(refusal.value))
    assert io.read_labels(path, option).labels.names == ("GTV", "Liver")
    with pytest.raises(InputError, match="two structures called ptv") as refusal:
        io.read_labels(path, ReadOptions(leave_out="Bad"))
    (option,) = options_in(str(refusal.value))  # it takes up what is left out already
    assert io.read_labels(path, option).labels.names == ("GTV", "Liver")


def test_of_one_structure_only_it_is_taken_whatever_it_is_called(tmp_path):
    path = write_rtstruct(tmp_path / "rt.dcm", series(tmp_path), [("Mass", [square(12)])])
    assert io.read_labels(path, wanted=["GTV"]).labels.names == ("Mass",)
    assert io.read_structures({"GTV": path}).labels.names == ("GTV",)


def test_patterns_never_make_another_structure_the_only_one(tmp_path):
    path = write_rtstruct(tmp_path / "rt.dcm", series(tmp_path), [*GOOD.items(), ("Couch", MISFITS["Couch"])])
    with pytest.raises(InputError, match="holds GTV, Liver, Couch, and none of them is called PTV"):
        io.read_labels(path, ReadOptions(leave_out="Couch,Liver"), wanted=["PTV"])
    with pytest.raises(InputError, match="none of them is called 'PTV'|is called PTV"):
        io.read_structures({"PTV": path}, ReadOptions(leave_out="Couch"))
    with pytest.raises(InputError, match="leave none of them"):
        io.read_labels(path, ReadOptions(structures="PTV*"))


def seg_with_misfits(folder, change):
    files = series(folder)
    masks = np.zeros((*STORED.shape, 3), np.uint8)
    masks[1, 1:3, 1:3, 0] = masks[2, 4:6, 4:6, 1] = masks[3, 1:7, 1:7, 2] = 1
    return write_seg(folder / "seg.dcm", files, masks, labels=["GTV", "Liver", "Couch"], change=change), masks


def couch_frame(dataset):
    return next(
        frame
        for frame in dataset.PerFrameFunctionalGroupsSequence
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
    )


def beyond(dataset):
    couch_frame(dataset).PlanePositionSequence[0].ImagePositionPatient = ["0", "0", "-30"]


def beside(dataset):
    couch_frame(dataset).PlanePositionSequence[0].ImagePositionPatient = ["0.4", "0", "16"]


def outside(dataset):
    couch_frame(dataset).PlanePositionSequence[0].ImagePositionPatient = ["-4", "0", "16"]


def without_place(dataset):
    del couch_frame(dataset).PlanePositionSequence


def twin(dataset):
    couch = dataset.SegmentSequence[2]
    couch.SegmentLabel = "liver"
    couch.SegmentedPropertyTypeCodeSequence[0].CodeValue = codes.SCT.Kidney.value
    couch.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Kidney"


@pytest.mark.parametrize("change", [beyond, beside, outside, without_place, twin])
def test_a_segment_that_does_not_fit_stops_only_who_asks_for_it(tmp_path, change):
    path, masks = seg_with_misfits(tmp_path, change)
    found = io.read_labels(path, wanted=["GTV"])
    np.testing.assert_array_equal(found.array > 0, masks[..., 0].transpose(2, 1, 0) > 0)
    with pytest.raises(InputError) as refusal:
        io.read_labels(path)
    offered = options_in(str(refusal.value))
    assert bool(offered) == (change is not without_place)
    for option in offered or [ReadOptions(leave_out="couch")]:
        assert "GTV" in io.read_labels(path, option).labels.names


def test_segments_of_slicer_and_folders_of_masks_are_chosen_by_the_same_words(tmp_path):
    grid = Geometry.from_spacing((4, 3, 2), (1, 1, 1))
    array = np.zeros(grid.shape, np.uint8)
    array[0], array[1], array[2] = 1, 2, 3
    labels = Labels({"GTV": (1,), "Couch top": (2,), "Ring": (3,)})
    io.write(LabelMap(array, grid, labels), tmp_path / "a.seg.nrrd")
    masks = {name: tmp_path / f"{name}.nii.gz" for name in labels.names}
    for name, path in masks.items():
        io.write(LabelMap(labels.mask(array, name).astype(np.uint8), grid), path)
    masks["Couch top"].write_bytes(b"no scan")
    for options, wanted in (
        (ReadOptions(leave_out="couch*,ring"), None),
        (ReadOptions(structures="G?V"), None),
        (ReadOptions(structures="*", leave_out="*o*, ring"), None),
        (None, ["gtv"]),
    ):
        for found in (
            io.read_labels(tmp_path / "a.seg.nrrd", options, wanted=wanted),
            io.read_structures(masks, options, wanted=wanted),
        ):
            assert found.labels.names == ("GTV",)
            np.testing.assert_array_equal(found.array, array == 1)


def test_declared_labels_spare_a_case_in_training_inspection_and_evaluation(tmp_path):
    files = series(tmp_path)
    path = write_rtstruct(tmp_path / "rt.dcm", files, [*GOOD.items(), ("Couch", MISFITS["Couch"])])
    case, labels = Case("a", (tmp_path / "image",), path), Labels({"GTV": (1,)})
    _, label_map, notes = read_case(case, labels, ReadOptions())
    assert np.count_nonzero(label_map.array) == 18
    assert any("Liver, Couch" in note for note in notes)
    report = inspect_case(Job(case, "training", labels, ("CT",), ReadOptions(), 100, 0))
    assert not [finding for finding in report.findings if finding.severity == "error"]
    undeclared = inspect_case(Job(case, "training", None, ("CT",), ReadOptions(), 100, 0))
    (error,) = [finding for finding in undeclared.findings if finding.severity == "error"]
    assert error.text.endswith("--read leave_out=Couch leaves it out.")
    assert "option" in error.remedy
    assert "Copy" not in error.remedy
    predicted = tmp_path / "a.nii.gz"
    io.write(label_map, predicted)
    facts = measure(Pair("a", path, predicted), labels, EvaluateOptions())
    assert facts.outcome == "compared", facts.reason


def test_a_named_prediction_judges_what_it_names_where_the_rest_does_not_fit(tmp_path):
    files = series(tmp_path)
    truth = write_rtstruct(tmp_path / "rt.dcm", files, [*GOOD.items(), ("Couch", MISFITS["Couch"])])
    (tmp_path / "out").mkdir()
    predicted = write_rtstruct(tmp_path / "out" / "a.dcm", files, [("GTV", GOOD["GTV"])])
    facts = measure(Pair("a", predicted, truth), None, EvaluateOptions())
    assert facts.outcome == "compared", facts.reason
    assert facts.labels.names == ("GTV", "Liver")
    assert facts.notes[0] == "Structures that were not asked for are left out: Couch."
    names = measure(Pair("a", predicted, truth), None, EvaluateOptions(labels=("GTV",)))
    assert names.labels.names == ("GTV",)
    asked = write_rtstruct(tmp_path / "out" / "b.dcm", files, [("GTV", GOOD["GTV"]), ("couch", [square(12)])])
    facts = measure(Pair("a", asked, truth), None, EvaluateOptions())
    assert (facts.outcome, "leave_out=Couch" in facts.reason) == ("no_reference", True)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda name: name.strip())


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_the_option_that_is_offered_takes_just_the_names(names):
    words = leave_out(names, ReadOptions()).split(" ", 1)[1].strip('"')
    key, _, value = words.partition("=")
    options = ReadOptions.parse({key: value})
    assert not any(options.takes(name) for name in names)
    assert all(options.takes(name) for name in ("something else entirely, and longer",))


@given(st.lists(NAMES, min_size=1, max_size=5, unique_by=folded), st.data())
def test_what_is_wanted_is_read_and_nothing_else(names, data):
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    found = chosen(
        names,
        "file",
        ReadOptions(),
        [name.upper() if folded(name.upper()) == folded(name) else name for name in wanted],
    )
    assert found.names == {folded(name) for name in wanted}
    assert bool(found.notes) == (len(wanted) < len(names))
