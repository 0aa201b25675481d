"""Names with the files: .seg.nrrd as Slicer has it, label descriptions for ITK-SNAP, and names that files can hold."""

import re

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded
from medseg.core.volume import LabelMap, Meta
from medseg.io.codes import MEANINGS, meaning_of
from medseg.io.compare import difference, value_pairs
from medseg.io.itksnap import label_description
from medseg.io.names import unique_names
from tests.strategies import geometries

LABELS = Labels({"liver": (1,), "left kidney": (4,), "blob": (7,)})
OVERLAPPING = Labels({"organ": (1, 4), "tumour": (4, 7), "cyst": (7,)})


@pytest.fixture
def small():
    array = np.random.default_rng(0).choice(np.array([0, 1, 4, 7], np.uint8), (5, 6, 3))
    return LabelMap(array, Geometry.from_spacing(array.shape, (1, 2, 3), (4, 5, 6)), LABELS)


def texts(path):
    image = sitk.ImageFileReader()
    image.SetFileName(str(path))
    image.ReadImageInformation()
    return {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}


def test_a_segmentation_names_its_segments_with_values_colours_and_codes(small, tmp_path):
    io.write(small, tmp_path / "a.seg.nrrd")
    said = texts(tmp_path / "a.seg.nrrd")
    assert [said[f"Segment{n}_Name"] for n in range(3)] == ["liver", "left kidney", "blob"]
    assert [said[f"Segment{n}_LabelValue"] for n in range(3)] == ["1", "4", "7"]
    assert {said[f"Segment{n}_Layer"] for n in range(3)} == {"0"}
    assert said["Segment0_Color"] == "0.866667 0.509804 0.396078"
    assert "~SCT^91723000^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~" in said["Segment1_Tags"]
    assert said["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    plain = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.seg.nrrd")))
    np.testing.assert_array_equal(plain.T, small.array)


def test_the_extent_of_a_segment_is_its_box_and_an_empty_one_has_none(tmp_path):
    array = np.zeros((5, 6, 3), np.uint8)
    array[1:3, 2:6, 1] = 4
    io.write(LabelMap(array, Geometry.from_spacing(array.shape), LABELS), tmp_path / "a.seg.nrrd")
    said = texts(tmp_path / "a.seg.nrrd")
    assert (said["Segment0_Extent"], said["Segment1_Extent"]) == ("0 -1 0 -1 0 -1", "1 2 2 5 1 1")


def test_regions_that_overlap_lie_in_layers(small, tmp_path):
    io.write(LabelMap(small.array, small.geometry, OVERLAPPING), tmp_path / "a.seg.nrrd")
    said = texts(tmp_path / "a.seg.nrrd")
    assert [said[f"Segment{n}_Layer"] for n in range(3)] == ["0", "1", "0"]
    head = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0]
    assert b"\nkinds: list domain domain domain\n" in head
    assert b"\nsizes: 2 5 6 3\n" in head


@settings(max_examples=30)
@given(geometries(), st.sampled_from([LABELS, OVERLAPPING, Labels({"both": (1, 7), "x": (4,)})]), st.integers(0, 999))
def test_a_segmentation_reads_back_by_its_names(tmp_path_factory, grid, labels, seed):
    path = tmp_path_factory.getbasetemp() / "any.seg.nrrd"
    array = np.random.default_rng(seed).choice(np.array([0, 1, 4, 7], np.uint8), grid.shape)
    io.write(LabelMap(array, grid, labels), path)
    back = io.read_labels(path)
    assert back.geometry.same_as(grid)
    for name in labels.names:
        np.testing.assert_array_equal(back.labels.mask(back.array, name), labels.mask(array, name))


def test_a_plain_nrrd_has_no_segments(small, tmp_path):
    io.write(small, tmp_path / "a.nrrd")
    assert not any(key.startswith("Segment") for key in texts(tmp_path / "a.nrrd"))


def test_a_sheared_segmentation_is_refused_by_name(small, tmp_path):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    sheared = LabelMap(small.array, Geometry(small.array.shape, affine), LABELS)
    with pytest.raises(InputError, match=r"a\.seg\.nrrd is sheared .*write NIfTI"):
        io.write(sheared, tmp_path / "a.seg.nrrd")


def test_colours_that_a_label_map_knows_are_written(small, tmp_path):
    known = LabelMap(small.array, small.geometry, LABELS, Meta(header={MEANINGS: {"blob": meaning_of("aorta")}}))
    io.write(known, tmp_path / "a.seg.nrrd")
    assert texts(tmp_path / "a.seg.nrrd")["Segment2_Color"] == "0.878431 0.380392 0.298039"


def described(text):
    row = re.compile(r'^ *(\d+) +(\d+) +(\d+) +(\d+) +([01]) +([01]) +([01]) +"([^"]*)"$')
    return [match.groups() for line in text.splitlines() if (match := row.match(line))]


def test_a_label_description_has_a_line_a_value(small):
    assert described(label_description(small, LABELS)) == [
        ("0", "0", "0", "0", "0", "0", "0", "Clear Label"),
        ("1", "221", "130", "101", "1", "1", "1", "liver"),
        ("4", "185", "102", "83", "1", "1", "1", "left kidney"),
        ("7", "242", "61", "220", "1", "1", "1", "blob"),
    ]


def test_a_value_of_several_names_has_them_all_and_the_colour_of_the_narrowest(small):
    nested = Labels({"whole tumour": (1, 4), "edema": (4,)})
    lines = described(label_description(LabelMap(small.array, small.geometry, nested), nested))
    assert [line[-1] for line in lines] == ["Clear Label", "whole tumour", "whole tumour + edema"]
    assert lines[2][1:4] == ("140", "224", "228")


@given(st.text(max_size=80))
def test_any_name_gives_one_readable_line(name):
    array = np.ones((1, 1, 1), np.uint8)
    labels = Labels({name: (1,)})
    lines = described(label_description(LabelMap(array, Geometry.from_spacing((1, 1, 1)), labels), labels))
    assert len(lines) == 2


@given(st.lists(st.text(max_size=70), unique=True, max_size=6))
def test_names_become_different_short_and_printable(names):
    written = unique_names(names)
    assert list(written) == names
    assert len({folded(name) for name in written.values()}) == len(names)
    assert all(0 < len(name) <= 64 and name.isprintable() and "\\" not in name for name in written.values())


def test_good_names_stay_what_they_are():
    assert unique_names(["liver", "left kidney", "左腎"]) == {n: n for n in ("liver", "left kidney", "左腎")}


def test_maps_are_compared_by_names_not_by_values():
    ours = np.array([0, 1, 4], np.uint8).reshape(3, 1, 1)
    theirs = np.array([0, 9, 2], np.uint8).reshape(3, 1, 1)
    labels, other = Labels({"a": (1,), "b": (4,)}), Labels({"a": (9,), "b": (2,)})
    assert value_pairs(ours, theirs, [0]) == [(0, 0), (1, 9), (4, 2)]
    assert difference(ours, labels, theirs, other) is None
    assert difference(ours, labels, theirs, Labels({"A": (9,), "b": (2,)}), {"a": "A"}) is None
    assert difference(ours, labels, theirs, Labels({"b": (9,), "a": (2,)})) == "a became b"
    assert difference(ours, labels, np.zeros_like(ours), None) == "a became background"


def test_an_empty_label_map_without_names_is_a_segmentation_without_segments(tmp_path):
    path = tmp_path / "empty.seg.nrrd"
    io.write(LabelMap(np.zeros((4, 3, 2), np.uint8), Geometry.from_spacing((4, 3, 2))), path)
    back = io.read_labels(path)
    assert back.array.shape == (4, 3, 2)
    assert not back.array.any()
