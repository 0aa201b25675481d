"""Slicer's .seg.nrrd: names, layers and values of the header become one label map; what was cut is put back."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.io import ReadOptions

SHAPE = (4, 3, 2)


def seg_nrrd(path, layers, segments, texts=(), origin=(10, 20, 30)):
    """A segmentation as Slicer writes it: `layers` (n, i, j, k), `segments` a mapping of keys each."""
    layers = np.asarray(layers, np.uint8)
    is_flat = len(layers) == 1
    lines = ["NRRD0004", "type: uint8", f"dimension: {3 if is_flat else 4}", "space: left-posterior-superior"]
    sizes = layers.shape[1:] if is_flat else layers.shape
    lines += [f"sizes: {' '.join(map(str, sizes))}", "encoding: gzip"]
    lines += [f"space directions: {'' if is_flat else 'none '}(2,0,0) (0,3,0) (0,0,4)"]
    lines += [
        f"kinds: {'' if is_flat else 'list '}domain domain domain",
        f"space origin: ({','.join(map(str, origin))})",
    ]
    lines += [f"Segment{n}_{key}:={text}" for n, said in enumerate(segments) for key, text in said.items()]
    lines += list(texts)
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(layers.tobytes(order="F")))
    return path


def said(name, value=1, layer=0):
    return {"ID": f"Segment_{value}", "Name": name, "LabelValue": value, "Layer": layer, "Tags": "|"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slicer")


@given(npst.arrays(np.uint8, (2, *SHAPE), elements=st.integers(0, 2)))
def test_layers_that_overlap_become_one_map(folder, layers):
    segments = [said("liver", 1, 0), said("spleen", 2, 0), said("tumour", 1, 1), said("cyst", 2, 1)]
    label_map = io.read_labels(seg_nrrd(folder / "a.seg.nrrd", layers, segments))
    assert label_map.labels.names == ("liver", "spleen", "tumour", "cyst")
    for name, layer, value in (("liver", 0, 1), ("spleen", 0, 2), ("tumour", 1, 1), ("cyst", 1, 2)):
        np.testing.assert_array_equal(label_map.labels.mask(label_map.array, name), layers[layer] == value)


def test_the_order_of_overlaps_is_the_readers_choice(folder):
    layers = np.ones((2, *SHAPE), np.uint8)
    path = seg_nrrd(folder / "b.seg.nrrd", layers, [said("liver", 1, 0), said("tumour", 1, 1)])
    assert io.read_labels(path, ReadOptions(overlaps="tumour,liver")).array.max() == 2
    with pytest.raises(InputError, match="'liver' and 'tumour' overlap in 24 voxels"):
        io.read_labels(path, ReadOptions(overlaps="refuse"))


def test_a_single_layer_keeps_its_values(folder):
    layers = np.zeros((1, *SHAPE), np.uint8)
    layers[0, 0], layers[0, 1] = 7, 3
    label_map = io.read_labels(seg_nrrd(folder / "c.seg.nrrd", layers, [said("liver", 7), said("Tumour ä", 3)]))
    assert label_map.labels.to_json() == {"liver": 7, "Tumour ä": 3}
    np.testing.assert_array_equal(label_map.array, layers[0])


def test_older_files_have_a_layer_a_segment(folder):
    layers = np.random.default_rng(0).integers(0, 2, (3, *SHAPE))
    label_map = io.read_labels(seg_nrrd(folder / "d.seg.nrrd", layers, [{"Name": name} for name in "abc"]))
    for n, name in enumerate("abc"):
        np.testing.assert_array_equal(label_map.labels.mask(label_map.array, name), layers[n] == 1)


def test_a_segment_without_a_name_is_called_by_its_identifier(folder):
    segments = [{"ID": "Segment_1", "LabelValue": 1}]
    assert io.read_labels(seg_nrrd(folder / "e.seg.nrrd", np.ones((1, *SHAPE)), segments)).labels.names == (
        "Segment_1",
    )


def test_segments_of_one_name_are_one_structure(folder):
    layers = np.zeros((1, *SHAPE), np.uint8)
    layers[0, 0], layers[0, 1] = 1, 2
    label_map = io.read_labels(seg_nrrd(folder / "f.seg.nrrd", layers, [said("Lesion", 1), said("lesion", 2)]))
    assert label_map.labels.to_json() == {"Lesion": [1, 2]}
    assert "2 segments called Lesion are one structure." in label_map.meta.warnings


@pytest.mark.parametrize(
    ("segments", "sentence"),
    [
        ([said("liver", 1)], r"holds the value 2 \(6 voxels\), which no segment of its header has"),
        (
            [said("liver", 1), said("spleen", 2, 3)],
            "has 1 layers, counted from 0, and puts the segment 'spleen' into layer 3",
        ),
        ([said("liver", "one")], "segment 0 has no whole number"),
    ],
)
def test_a_header_that_does_not_fit_the_voxels_is_refused(folder, segments, sentence):
    layers = np.zeros((1, *SHAPE), np.uint8)
    layers[0, 0] = 2
    with pytest.raises(InputError, match=sentence):
        io.read_labels(seg_nrrd(folder / "g.seg.nrrd", layers, segments))


def test_a_file_that_was_cut_to_its_segments_is_put_back(folder):
    layers = np.random.default_rng(1).integers(0, 2, (1, *SHAPE)).astype(np.uint8)
    # In RAS, of an image of 10 × 8 × 6 voxels that counts from 0; the voxels begin at (2, 1, 3).
    geometry = "-2;0;0;-6;0;-3;0;-17;0;0;4;18;0;0;0;1;0;9;0;7;0;5;"
    texts = [
        "Segmentation_ReferenceImageExtentOffset:=2 1 3",
        f"Segmentation_ConversionParameters:=Oversampling factor|1|how much&Reference image geometry|{geometry}|what&",
    ]
    path = seg_nrrd(folder / "h.seg.nrrd", layers, [said("liver")], texts)
    label_map = io.read_labels(path)
    assert label_map.geometry.shape == (10, 8, 6)
    np.testing.assert_array_equal(label_map.array[2:6, 1:4, 3:5], layers[0])
    assert np.count_nonzero(label_map.array) == np.count_nonzero(layers)
    assert io.read_geometry(path)[0] == label_map.geometry
    # What the header says of another place is not believed.
    elsewhere = seg_nrrd(folder / "i.seg.nrrd", layers, [said("liver")], texts, origin=(11, 20, 30))
    assert io.read_labels(elsewhere).geometry.shape == SHAPE


def test_the_grid_is_that_of_the_file(folder):
    label_map = io.read_labels(
        seg_nrrd(folder / "j.seg.nrrd", np.ones((2, *SHAPE)), [said("a", 1, 0), said("b", 1, 1)])
    )
    assert label_map.geometry == Geometry(SHAPE, [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])
