"""The verb `inspect`: what is printed, what is written, and how it ends."""

import json

import pytest

from medseg.cli import app
from tests.inspect.sets import case_name, make_set

CUT = case_name(2)


@pytest.fixture
def data(tmp_path):
    return make_set(tmp_path / "data", 6)


@pytest.fixture
def damaged(data):
    path = data / "imagesTr" / f"{CUT}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    return data


def run(capsys, *arguments):
    code = app.run(["inspect", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_a_clean_set_ends_with_0_and_says_how_it_is_read(capsys, data):
    code, out, _ = run(capsys, data)
    assert code == 0
    assert "Layout nnunet" in out
    assert "6 cases: 6 with a label map." in out
    assert out.endswith("Nothing found in 6 cases.\n")


def test_errors_end_with_3_and_are_said_with_a_remedy_even_when_quiet(capsys, damaged):
    code, out, _ = run(capsys, damaged, "-q")
    assert code == 3
    assert out.startswith(f"Error: Unreadable file [{CUT}]\n  imagesTr/{CUT}_0000.nii.gz is damaged")
    assert "→ Copy or export the file again" in out
    assert out.endswith("1 error found in 6 cases.\n")


def test_json_is_one_object_a_line_and_the_last_holds_everything(capsys, damaged):
    code, out, _ = run(capsys, damaged, "--json")
    assert code == 3
    *events, last = (json.loads(line) for line in out.splitlines())
    assert [event["event"] for event in events] == ["case_read"] * 6
    assert (last["event"], last["schema"], last["n_errors"]) == ("inspected", "medseg/inspection/1", 1)
    assert last["findings"][0]["case"] == CUT
    assert last["fingerprint"]["schema"] == "medseg/fingerprint/1"


def test_a_page_and_json_are_written_as_their_names_say(capsys, damaged, tmp_path):
    code, out, _ = run(capsys, damaged, "-o", tmp_path / "a.html", "-o", tmp_path / "a.json")
    assert code == 3
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "a.json").read_text())["n_errors"] == 1
    assert "Written:" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-o", "page.pdf"), ".html"),
        (("--layout", "bidz"), "bids"),
        (("--set", "data.grup=x"), "data.group"),
        (("--read", "geometri=sform"), "geometry"),
    ],
)
def test_wrong_use_ends_with_2_before_anything_is_read(capsys, data, monkeypatch, tmp_path, options, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, data, *options)
    assert code == 2, err
    assert says in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_groups_and_layout_are_taken_as_training_takes_them(capsys, data):
    code, out, _ = run(capsys, data, "--set", "data.group=^(case)", "--layout", "nnunet")
    assert code == 0
    assert "6 cases in 1 groups" in out
    assert "as layout says" in out


def test_what_cannot_be_opened_ends_with_3_in_words_and_in_json(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, _ = run(capsys, tmp_path / "empty")
    assert code == 3
    assert "Error: Cannot be opened" in out
    code, out, _ = run(capsys, tmp_path / "empty", "--json")
    (last,) = (json.loads(line) for line in out.splitlines())
    assert (code, last["n_errors"], last["findings"][0]["kind"]) == (3, 1, "layout")


def test_a_file_of_the_data_set_is_not_written_over(capsys, data):
    before = (data / "dataset.json").read_text()
    code, _, err = run(capsys, data, "-o", data / "dataset.json")
    assert code == 2
    assert "did not write it" in err
    assert (data / "dataset.json").read_text() == before
    assert run(capsys, data, "-o", data.parent / "new.json", "-o", data.parent / "new.html")[0] == 0
    assert run(capsys, data, "-o", data.parent / "new.json", "-o", data.parent / "new.html")[0] == 0
    (data.parent / "new.html").write_text("mine")
    assert run(capsys, data, "-o", data.parent / "new.html")[0] == 2
    assert run(capsys, data, "-o", data.parent / "new.html", "--overwrite")[0] == 0
