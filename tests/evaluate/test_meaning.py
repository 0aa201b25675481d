"""Structures that have names are judged by name, whatever their values; labels without a grid find one."""

import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, union
from medseg.core.volume import LabelMap, Meta
from medseg.evaluate import EvaluateOptions, Pair, evaluate, run_pairs
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.meaning import agreed
from medseg.evaluate.pairs import Drawn
from medseg.evaluate.score import measure
from medseg.io.itksnap import described_labels, write_label_description
from tests.io.dicom_files import write_series
from tests.io.label_files import squares, write_rtstruct, write_seg

GRID = Geometry.from_spacing((6, 5, 4))
OPTIONS = EvaluateOptions(metrics=("dice",))


def named(**boxes):
    """A map of bars along i with names: {"liver": (0, 4)}; values count from 1."""
    array = np.zeros(GRID.shape, np.uint8)
    for value, (start, stop) in enumerate(boxes.values(), start=1):
        array[start:stop, value % 5, 1] = value
    return LabelMap(array, GRID, Labels({name: (n,) for n, name in enumerate(boxes, start=1)}))


def figures(evaluation):
    return {(row.case, row.label): (row.value, row.status) for row in evaluation.rows if row.metric == "dice"}


def judged(*pairs, labels=None, options=OPTIONS):
    """The evaluation of pairs of label maps, as of files that number their structures as they like."""
    *_, evaluation = run_pairs(pairs, options, labels)
    assert isinstance(evaluation, Evaluation)
    return evaluation


names = st.sampled_from(["liver", "spleen", "tumour"])


@settings(max_examples=40)
@given(st.permutations(["liver", "spleen", "tumour"]), st.permutations([1, 2, 3]), st.data())
def test_by_name_a_renumbered_prediction_is_the_same_prediction(order, values, data):
    cells = data.draw(st.lists(st.integers(0, 3), min_size=120, max_size=120))
    truth_cells = data.draw(st.lists(st.integers(0, 3), min_size=120, max_size=120))
    plain = Labels({"liver": (1,), "spleen": (2,), "tumour": (3,)})
    array, truth = (np.array(each, np.uint8).reshape(GRID.shape) for each in (cells, truth_cells))
    table = np.array([0, *values], np.uint8)
    renumbered = Labels({name.upper(): (int(table[plain.values[name][0]]),) for name in order})
    reference = LabelMap(truth, GRID, plain)
    expected = judged(Pair("a", LabelMap(array, GRID, plain), reference))
    found = judged(Pair("a", LabelMap(table[array], GRID, renumbered), reference))
    assert figures(found) == figures(expected)
    assert found.labels.names == plain.names


def test_what_a_reference_does_not_name_was_not_annotated():
    both, alone = named(liver=(0, 4), spleen=(0, 2)), named(liver=(0, 4))
    found = figures(judged(Pair("a", both, both), Pair("b", both, alone)))
    assert found["a", "spleen"] == (1.0, "ok")
    assert found["b", "spleen"] == (None, "not_annotated")
    assert found["b", "liver"] == (1.0, "ok")


def test_a_named_structure_without_voxels_is_annotated_and_empty():
    reference = named(liver=(0, 4), spleen=(0, 0))
    found = figures(judged(Pair("a", named(liver=(0, 4), spleen=(0, 2)), reference), Pair("b", reference, reference)))
    assert found["a", "spleen"] == (0.0, "false_alarm")
    assert found["b", "spleen"][1] == "both_empty"


def test_a_structure_that_the_prediction_lacks_is_missed():
    found = figures(judged(Pair("a", named(spleen=(0, 4)), named(liver=(0, 4), spleen=(0, 4)))))
    assert found["a", "liver"][1] == "missed"


def test_structures_that_only_predictions_have_are_told_and_not_judged():
    evaluation = judged(Pair("a", named(liver=(0, 4), cyst=(0, 2)), named(liver=(0, 4))))
    assert set(figures(evaluation)) == {("a", "liver")}
    assert "1 predicted structures are in no reference and were not judged: cyst." in evaluation.warnings


def test_where_no_name_agrees_nothing_is_compared():
    (failure,) = judged(Pair("a", named(cyst=(0, 2)), named(liver=(0, 4)))).failures
    assert failure.reason.startswith("The prediction holds cyst, the reference liver: no name agrees.")


def test_declared_labels_are_found_by_name_and_the_rest_is_left_out():
    labels = Labels({"liver": (4,), "abdomen": (4, 7), "spleen": (7,)})
    reference = named(body=(0, 6), Spleen=(0, 3), Liver=(0, 4))
    prediction = LabelMap(np.where(reference.array == 3, 4, 0).astype(np.uint8), GRID)
    found = figures(judged(Pair("a", prediction, reference), labels=labels))
    assert found["a", "liver"] == (1.0, "ok")
    assert found["a", "spleen"][1] == "missed"
    assert found["a", "abdomen"] == (pytest.approx(2 * 4 / (4 + 7)), "ok")


def test_a_region_is_annotated_where_all_its_parts_are():
    labels = Labels({"liver": (1,), "spleen": (2,), "abdomen": (1, 2)})
    found = figures(judged(Pair("a", named(liver=(0, 4)), named(liver=(0, 4))), labels=labels))
    assert {label: status for (_, label), (_, status) in found.items()} == {
        "liver": "ok",
        "spleen": "not_annotated",
        "abdomen": "not_annotated",
    }


def test_structures_that_overlap_are_judged_whole():
    overlapping = Labels({"liver": (1, 3), "tumour": (3,)})
    array = np.zeros(GRID.shape, np.uint8)
    array[:4, 1, 1], array[:2, 1, 1] = 1, 3
    reference, prediction = LabelMap(array, GRID, overlapping), named(liver=(0, 4), tumour=(0, 1))
    found = figures(judged(Pair("a", prediction, reference)))
    assert found["a", "liver"] == (1.0, "ok")
    assert found["a", "tumour"][0] == 0.0


def test_codes_go_before_names_unless_they_are_generic():
    from medseg.io.codes import Code, Meaning

    def coded(label_map, **codes):
        tissue = Code("85756007", "SCT", "Tissue")
        meanings = {name: Meaning(tissue, Code(code, "SCT", "")) for name, code in codes.items()}
        return LabelMap(label_map.array, GRID, label_map.labels, Meta("dicom", header={"codes": meanings}))

    reference = coded(named(liver=(0, 4), spleen=(0, 2)), liver="10200004", spleen="78961009")
    same = coded(named(Leber=(0, 4), Milz=(0, 2)), Leber="10200004", Milz="78961009")
    assert figures(judged(Pair("a", same, reference)))["a", "spleen"] == (1.0, "ok")
    generic = coded(named(liver=(0, 4), Milz=(0, 2)), liver="85756007", Milz="85756007")
    assert figures(judged(Pair("a", generic, reference)))["a", "spleen"][1] == "missed"


def test_both_sides_get_one_numbering():
    ours, theirs = named(liver=(0, 4), spleen=(0, 2)), named(Spleen=(0, 3), cyst=(0, 1))
    meant = agreed(ours, theirs, (ours, theirs), None)
    assert meant.labels == union([ours.labels, theirs.labels])
    assert meant.annotated == {"liver", "spleen"}
    for side, before in ((meant.reference, ours), (meant.predicted, theirs)):
        for name in before.labels.names:
            own = next(n for n in meant.labels.names if n.lower() == name.lower())
            np.testing.assert_array_equal(meant.labels.mask(side.array, own), before.labels.mask(before.array, name))


SHAPE = (6, 5, 4)
MASK = np.zeros(SHAPE, bool)
MASK[1:4, 1:4, 1:3] = True


@pytest.fixture
def scan(tmp_path):
    """A series in `scan/image`, an RTSTRUCT and a SEG of MASK beside it, and a NIfTI of it in `masks/`."""
    series = write_series(tmp_path / "scan" / "image", np.zeros((4, 5, 6), np.int16))
    grid = io.read_geometry(tmp_path / "scan" / "image")[0]
    contours = [grid.to_world(square) * (-1, -1, 1) for k in range(SHAPE[2]) for square in squares(MASK[..., k], k)]
    write_rtstruct(tmp_path / "scan" / "rt.dcm", series, [("Liver", contours), ("Spleen", [])])
    frames = MASK.transpose(2, 1, 0)[..., None].astype(np.uint8)
    write_seg(tmp_path / "scan" / "seg.dcm", series, frames, labels=["liver"])
    io.write(LabelMap(MASK.astype(np.uint8), grid), tmp_path / "masks" / "rt.nii.gz")
    return tmp_path


def test_a_segmentation_is_judged_by_a_structure_set(scan):
    found = figures(evaluate(scan / "scan" / "seg.dcm", scan / "scan" / "rt.dcm", OPTIONS))
    assert found == {("rt", "Liver"): (1.0, "ok"), ("rt", "Spleen"): (None, "both_empty")}


def test_a_structure_set_without_images_lies_on_the_grid_of_the_prediction(scan):
    shutil.rmtree(scan / "scan" / "image")
    found = figures(evaluate(scan / "masks" / "rt.nii.gz", scan / "scan" / "rt.dcm", OPTIONS, Labels({"liver": (1,)})))
    assert found == {("rt", "liver"): (1.0, "ok")}


def test_a_predicted_segmentation_lies_on_the_grid_of_the_reference(scan):
    shutil.rmtree(scan / "scan" / "image")
    found = figures(evaluate(scan / "scan" / "seg.dcm", scan / "masks" / "rt.nii.gz", OPTIONS, Labels({"liver": (1,)})))
    assert found == {("rt", "liver"): (1.0, "ok")}


def test_names_against_values_are_refused_with_what_would_settle_it(scan):
    (failure,) = evaluate(scan / "masks" / "rt.nii.gz", scan / "scan" / "seg.dcm", OPTIONS).failures
    assert failure.status == "failed"
    assert "say which is which with --labels liver=1." in failure.reason


def test_a_folder_of_dicom_labels_is_a_folder_of_references(scan):
    evaluation = evaluate({"rt": scan / "scan" / "seg.dcm"}, scan / "scan", OPTIONS)
    found = figures(evaluation)
    assert found["rt", "Liver"] == (1.0, "ok")
    assert found["seg", "Liver"][1] == "missing"


def test_cases_with_names_and_cases_with_values_do_not_mix(scan):
    grid = io.read_geometry(scan / "masks" / "rt.nii.gz")[0]
    plain = LabelMap(MASK.astype(np.uint8), grid)
    evaluation = judged(Pair("a", scan / "scan" / "seg.dcm", scan / "scan" / "rt.dcm"), Pair("b", plain, plain))
    (failure,) = evaluation.failures
    assert failure.case == "b"
    assert "only values, while those of other cases call their structures by name" in failure.reason
    assert figures(evaluation)["a", "Liver"] == (1.0, "ok")


def test_pairs_and_facts_can_be_sent_between_processes(scan):
    drawn = Drawn(scan / "scan" / "rt.dcm", scan / "scan" / "image", {"overlaps": "refuse"})
    pair = pickle.loads(pickle.dumps(Pair("a", scan / "scan" / "seg.dcm", drawn)))
    facts = pickle.loads(pickle.dumps(measure(pair, None, OPTIONS)))
    assert facts.outcome == "compared"
    assert facts.labels.names == ("Liver", "Spleen")


def test_a_data_set_tells_where_its_structure_sets_belong(scan):
    """The images lie far from the label, and a table says so."""
    (scan / "far").mkdir()
    shutil.move(scan / "scan" / "rt.dcm", scan / "far" / "rt.dcm")
    (scan / "cases.csv").write_text("case,image,label\nrt,scan/image,far/rt.dcm\n")
    found = figures(evaluate({"rt": scan / "scan" / "seg.dcm"}, scan / "cases.csv", OPTIONS))
    assert found["rt", "Liver"] == (1.0, "ok")


def test_values_that_a_description_beside_the_mask_names_are_judged_by_name(tmp_path):
    """As `medseg predict` writes NIfTI: the names of the values lie beside it, and the truth has names alone."""
    truth = named(liver=(0, 4), spleen=(2, 6))
    values = Labels({"spleen": (7,), "liver": (9,)})
    array = np.select([truth.array == 1, truth.array == 2], [9, 7]).astype(np.uint8)
    mask = tmp_path / "a.nii.gz"
    io.write(LabelMap(array, GRID), mask)
    # The same truth as a Slicer segmentation, whose numbers are its own.
    io.write(truth, tmp_path / "truth.seg.nrrd")
    pair = Pair("a", mask, tmp_path / "truth.seg.nrrd")
    (failed,) = {status for _, status in figures(judged(pair)).values()}
    assert failed == "failed"
    write_label_description(LabelMap(array, GRID, values), values, tmp_path / "a.labels.txt")
    dice = {label: value for (_, label), (value, _) in figures(judged(pair)).items()}
    assert dice == {"liver": 1, "spleen": 1}


def test_a_description_of_regions_gives_their_values_back(tmp_path):
    labels = Labels({"tumour": (2,), "whole": (1, 2)})
    label_map = LabelMap(np.array([[[0, 1, 2]]], np.uint8), Geometry.from_spacing((1, 1, 3)), labels)
    write_label_description(label_map, labels, tmp_path / "m.labels.txt")
    assert described_labels(tmp_path / "m.nii.gz").values == {"tumour": (2,), "whole": (1, 2)}


@pytest.mark.parametrize("content", [None, "", "nonsense", '70000 1 2 3 1 1 1 "x"', '1 1 1 1 "x"', "\xff"])
def test_what_is_no_description_names_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "m.labels.txt").write_bytes(content.encode("latin-1"))
    assert described_labels(tmp_path / "m.nii.gz") is None
