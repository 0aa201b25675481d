"""Sentences name files from the given path on: folders above may bear a patient's name."""

from pathlib import Path

import pytest

from medseg.core.given import as_given, as_kept


def test_a_path_below_the_given_one_is_seen_from_there(tmp_path):
    data = tmp_path / "Doe^Jane" / "data"
    (data / "images").mkdir(parents=True)
    assert as_given(f"{data}/images/a.nii is damaged.", data) == "images/a.nii is damaged."
    assert as_given(f"{data} holds nothing.", data) == "The folder holds nothing."
    assert as_given(f"Nothing was found in {data}.", data) == "Nothing was found in the folder."


def test_a_given_file_is_seen_from_its_folder(tmp_path):
    scan = tmp_path / "Doe^Jane" / "a.nii"
    scan.parent.mkdir()
    scan.touch()
    assert as_given(f"{scan} is damaged.", scan) == "a.nii is damaged."


def test_the_whole_path_is_known_however_it_was_given(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for said in (f"{tmp_path}/data/a.nii", "data/a.nii"):
        assert as_given(f"{said} is damaged.", Path("data")) == "a.nii is damaged."


def test_of_several_given_paths_each_is_known(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    text = f"{folders[0]}/a.nii and {folders[1]}/b.nii differ."
    assert as_given(text, folders) == "a.nii and b.nii differ."


@pytest.mark.parametrize("text", ["The mask is empty.", "Give another mydata/x.nii.", "see /elsewhere/data/x"])
def test_words_that_only_look_like_the_path_stay(text, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert as_given(text, Path("data")) == text
    assert as_given(text, Path("empty")) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("[Errno 5] Input/output error: '/home/Jane Doe/out/a.nii.gz'", "[Errno 5] Input/output error: 'a.nii.gz'"),
        ("'/home/Jane' -> '/home/Jane Doe/b'", "'Jane' -> 'b'"),
        ("/home/jane/x/a.nii.gz is damaged.", "a.nii.gz is damaged."),
        ("It is full (/tmp/q/w.txt).", "It is full (w.txt)."),
        ("[WinError 5] denied: 'C:\\\\Users\\\\Jane Doe\\\\a.nii'", "[WinError 5] denied: 'a.nii'"),
        ("D:\\jane\\a.nii is damaged.", "a.nii is damaged."),
        (
            "\\\\server\\share and 5/6 mm, and/or https://a.org/b/c",
            "\\\\server\\share and 5/6 mm, and/or https://a.org/b/c",
        ),
        ("imagesTr/a.nii.gz, 3 × 3 / 2", "imagesTr/a.nii.gz, 3 × 3 / 2"),
    ],
)
def test_what_is_kept_names_no_folder_of_the_machine(text, kept):
    assert as_kept(text, ()) == kept


def test_what_is_kept_knows_the_given_path_first(tmp_path):
    (tmp_path / "data").mkdir()
    assert as_kept(f"{tmp_path}/data/images/a.nii is damaged.", tmp_path / "data") == "images/a.nii is damaged."
