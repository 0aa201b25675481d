"""Series go into a model of several channels by what they are called: in their headers or by their folders."""

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import AmbiguousError
from medseg.data.case_ids import plain_name
from medseg.data.cases import read_image
from medseg.data.inputs import find_inputs
from tests.data.dicom_trees import put_series

MODEL = ("T2", "T1 post")


def put(root, patient="A", **descriptions):
    """A series for each folder, with its description (or none)."""
    for seed, (folder, description) in enumerate(descriptions.items()):
        more = {"SeriesDescription": description} if description else {}
        put_series(root / folder, patient, seed, Modality="MR", StudyInstanceUID=f"2.{ord(patient)}", **more)
    return root


def read(case):
    return read_image(case, io.ReadOptions()).array


@pytest.mark.parametrize(
    "descriptions",
    [{"s1": "t1_POST", "s2": "T2"}, {"T1-post": None, "t2": None}, {"T1post": "", "s2": "t2"}],
)
def test_series_are_channels_by_their_description_or_their_folder(tmp_path, descriptions):
    root = put(tmp_path / "p1", **descriptions)
    (case,) = find_inputs([root], MODEL).cases
    post, t2 = (io.read(root / folder).array for folder in descriptions)
    np.testing.assert_array_equal(read(case), np.concatenate([t2, post]))
    assert plain_name(case.id) == ("s2" if "s2" in descriptions else "p1")


def test_series_of_one_folder_are_told_by_their_descriptions(tmp_path):
    root = put(tmp_path / "p1", a="T1 post", b="T2", c="localizer")
    expected = np.concatenate([io.read(root / name).array for name in ("b", "a")])
    (root / "all").mkdir()
    for name in ("a", "b", "c"):
        for file in (root / name).iterdir():
            file.rename(root / "all" / f"{name}_{file.name}")
        (root / name).rmdir()
    inputs = find_inputs([root], MODEL)
    (case,) = inputs.cases
    np.testing.assert_array_equal(read(case), expected)
    assert "1 series that are called as none of T2, T1 post were left out." in inputs.notes[0]


def test_a_patient_who_lacks_a_channel_or_has_it_twice_fails_by_name(tmp_path):
    put(tmp_path / "A", "A", x="T2", y="T1 post")
    put(tmp_path / "B", "B", x="T2", y="FLAIR")
    put(tmp_path / "C", "C", x="T2", y="T1 post", z="T2")
    inputs = find_inputs([tmp_path], MODEL)
    assert len(inputs.cases) == 1
    reasons = [problem.reason for problem in inputs.problems]
    assert len(reasons) == 2
    assert any("has no series called T1 post" in reason for reason in reasons)
    assert any("has several series called T2" in reason for reason in reasons)


def test_names_that_no_series_has_are_asked_for_with_a_table(tmp_path):
    put(tmp_path, x="foo", y="bar")
    with pytest.raises(AmbiguousError, match="say which series is which"):
        find_inputs([tmp_path], MODEL)
    with pytest.raises(AmbiguousError, match="say which series is which"):
        find_inputs([tmp_path], 2)


def test_no_description_reaches_a_sentence(tmp_path):
    put(tmp_path / "A", "A", x="T2", y="T1 post", z="Doe^Jane")
    put(tmp_path / "B", "B", x="T2", y="Doe^Jane")
    inputs = find_inputs([tmp_path], MODEL)
    sentences = [*inputs.notes, *inputs.remarks, *(problem.reason for problem in inputs.problems)]
    assert sentences
    assert not any("Doe" in sentence for sentence in sentences)
    assert not any("Doe" in repr(case) for case in inputs.cases)
