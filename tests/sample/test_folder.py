"""The sample data set on disk: as committed, as made again, as others read it."""

import filecmp
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.core.errors import UsageError
from medseg.core.events import CaseRead, Finished
from medseg.sample import N_PHANTOMS, N_TRAINING, make_sample

COMMITTED = Path(__file__).resolve().parents[2] / "sample_data"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data set made once, and what was said meanwhile."""
    out = tmp_path_factory.mktemp("sample") / "new" / "data"
    return out, list(make_sample(out))


def names(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_the_committed_data_are_what_the_function_makes(made):
    out, _ = made
    assert names(out) == names(COMMITTED)
    for name in names(out):
        if name.endswith(".nii.gz"):
            new, old = nib.load(out / name), nib.load(COMMITTED / name)
            assert new.header.get_data_dtype() == old.header.get_data_dtype(), name
            np.testing.assert_array_equal(np.asarray(new.dataobj), np.asarray(old.dataobj), err_msg=name)
            np.testing.assert_array_equal(new.affine, old.affine, err_msg=name)
        else:
            assert filecmp.cmp(out / name, COMMITTED / name, shallow=False), name


def test_progress_is_told_case_by_case_and_the_end_says_where(made):
    out, events = made
    assert [event.done for event in events if isinstance(event, CaseRead)] == list(range(1, N_PHANTOMS + 1))
    assert isinstance(events[-1], Finished)
    assert events[-1].output == str(out)


def test_no_hidden_folder_is_left(made):
    assert not [path for path in made[0].iterdir() if path.name.startswith(".")]


def test_the_committed_data_stay_below_6_mb():
    assert sum((COMMITTED / name).stat().st_size for name in names(COMMITTED)) <= 6_000_000


def test_the_description_names_every_file_and_label():
    description = json.loads((COMMITTED / "dataset.json").read_text(encoding="utf-8"))
    pairs = description["training"]
    assert len(pairs) == description["numTraining"] == N_TRAINING >= 12
    assert len(description["test"]) == description["numTest"] == N_PHANTOMS - N_TRAINING == 2
    named = {path for pair in pairs for path in pair.values()} | set(description["test"])
    named |= {path.replace("imagesTs", "labelsTs") for path in description["test"]}
    assert {f"./{name}" for name in names(COMMITTED) if name.endswith(".nii.gz")} == named
    assert description["labels"] == {"0": "background", "1": "liver", "2": "spleen", "3": "kidneys"}


def test_image_and_label_of_a_case_lie_on_one_grid_and_labels_hold_all_values():
    for image_path in sorted(COMMITTED.glob("images*/*.nii.gz")):
        image = nib.load(image_path)
        labels = nib.load(str(image_path).replace("/images", "/labels"))
        np.testing.assert_array_equal(image.affine, labels.affine)
        assert image.header["sform_code"] > 0
        assert set(np.unique(np.asarray(labels.dataobj))) == {0, 1, 2, 3}, image_path.name


def test_a_folder_with_files_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match=r"is not empty; .* Give a new name, or remove it\."):
        list(make_sample(tmp_path))
    assert names(tmp_path) == ["mine.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("keep me")
    with pytest.raises(UsageError, match=r"is a file; .* Give another name\."):
        list(make_sample(tmp_path / "out"))


def test_an_interrupted_run_leaves_nothing_and_can_be_repeated_in_the_same_folder(tmp_path):
    events = make_sample(tmp_path)
    next(events)
    assert [path.name for path in tmp_path.iterdir()] == [".part"]
    events.close()
    assert not list(tmp_path.iterdir())
    (tmp_path / ".part").mkdir()  # what a killed run leaves
    events = make_sample(tmp_path)
    assert next(events) == CaseRead("phantom_01", 1, N_PHANTOMS, "making")
    events.close()


def test_two_who_make_it_in_one_folder_do_not_spoil_each_other(tmp_path):
    first = make_sample(tmp_path / "data")
    next(first)
    with pytest.raises(UsageError, match="Another process is making sample data"):
        next(make_sample(tmp_path / "data"))
    next(first)
    first.close()
    assert list((tmp_path / "data").iterdir()) == []
