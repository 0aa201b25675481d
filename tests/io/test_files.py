"""Whole or not at all: what is left of a file after a good end, an exception and a full disk; digests; JSON."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError, MachineError, UsageError
from medseg.io.files import _rename, digest, read_json, replacing, write_json, write_text


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with replacing(path) as partial:
        partial.write_text("half")
        raise error


def write_on_a_full_disk(path):
    with replacing(path) as partial:
        partial.write_bytes(b"half")
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"no room")


def test_a_file_gets_its_name_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "weights.nii.gz"
    with replacing(path, fsync=True) as partial:
        assert partial.parent == path.parent
        assert partial.name.endswith(".nii.gz")
        partial.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert listing(path.parent) == ["weights.nii.gz"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error)
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_full_disk_is_a_sentence_that_names_the_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "mask.nii.gz"
    with pytest.raises(MachineError, match=r"disk is full: .*mask\.nii\.gz") as caught:
        write_on_a_full_disk(path)
    assert caught.value.exit_code == 4
    assert listing(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="needs the file size limit of POSIX")
def test_a_file_that_outgrows_its_limit_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(MachineError, match="disk is full"), replacing(tmp_path / "a.bin") as partial:
            partial.write_bytes(bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert listing(tmp_path) == []


def test_a_folder_or_a_path_through_a_file_is_wrong_use(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a folder"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(UsageError, match="a part of that path is a file"):
        write_text(tmp_path / "file" / "inside.txt", "text")
    assert listing(tmp_path) == ["file", "folder"]


def test_an_error_about_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        (tmp_path / "other.txt").read_text()


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("n" * 248 + ".nii.gz")
    write_text(path, "text")
    assert path.read_text() == "text"


def test_a_name_that_no_file_system_takes_is_wrong_use(tmp_path):
    for name in ("n" * 300 + ".nii.gz", "n" * 300 + "/a.nii.gz"):
        with pytest.raises(UsageError, match="the name is too long for this file system"):
            write_text(tmp_path / name, "text")


@pytest.mark.skipif(os.name != "posix", reason="asks POSIX how a file was opened")
def test_what_is_flushed_may_be_written_to_as_windows_wants_it(tmp_path, monkeypatch):
    import fcntl

    flushed = []

    def fsync(handle, system_fsync=os.fsync):
        flushed.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)
        system_fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "text", fsync=True)
    assert flushed == [os.O_RDWR, os.O_RDONLY], "the file, then (on POSIX alone) its folder"


def held(code):
    """What Windows raises of a file that is open elsewhere."""
    error = PermissionError(13, "Permission denied")
    error.winerror = code
    return error


def replaced_after(*errors):
    waiting = list(errors)

    def replace(source, target):
        if waiting:
            raise waiting.pop(0)
        source.replace(target)

    return replace


def test_a_rename_waits_for_others_to_let_go_of_the_file(tmp_path):
    (tmp_path / "part").write_text("new")
    (tmp_path / "a").write_text("old")
    _rename(tmp_path / "part", tmp_path / "a", replaced_after(held(32), held(5)), (0, 0, 0))
    assert (tmp_path / "a").read_text() == "new"
    assert listing(tmp_path) == ["a"]


def test_a_rename_waits_neither_for_ever_nor_for_other_reasons(tmp_path):
    for errors, waits in (([held(32)] * 9, (0, 0)), ([PermissionError(13, "Permission denied")], (9,))):
        with pytest.raises(PermissionError):
            _rename(tmp_path / "part", tmp_path / "a", replaced_after(*errors), waits)


def test_a_file_that_stays_open_elsewhere_is_a_sentence(tmp_path):
    with pytest.raises(MachineError, match=r"a\.txt cannot be replaced: another program has it open"):
        write_half(tmp_path / "a.txt", held(32))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(json_values)
def test_json_comes_back_with_its_keys_in_order(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, content)
    found = read_json(path, "the content")
    assert found == content
    assert json.dumps(found) == json.dumps(content)


def _has_no_whole_pair(text):
    """Two halves that make a character are that character to JSON, and to every file system."""
    return text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.text(st.characters(categories=["Cs", "Ll", "Po", "Cc"])).filter(_has_no_whole_pair))
def test_halves_of_characters_are_escaped_in_text_and_come_back_from_json(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, {text: [text]})
    assert read_json(path, "the content") == {text: [text]}
    write_text(path, text)
    assert path.read_bytes() == text.encode("utf-8", "backslashreplace")


def test_nan_has_no_place_in_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is missing; it should be the list of splits"),
        (b'{"a": 1,}', "not valid JSON: .* line 1, column"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(tmp_path, content, sentence):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_json(path, "the list of splits")


def test_a_digest_is_that_of_the_bytes():
    import hashlib

    here = Path(__file__)
    assert digest(here) == "sha256:" + hashlib.sha256(here.read_bytes()).hexdigest()


def test_a_folder_digest_sees_content_and_names_but_not_hidden_files(tmp_path):
    folder = tmp_path / "scan"
    (folder / "deep").mkdir(parents=True)
    (folder / "1.dcm").write_bytes(b"one")
    (folder / "deep" / "2.dcm").write_bytes(b"two")
    before = digest(folder)
    (folder / ".DS_Store").write_bytes(b"noise")
    assert digest(folder) == before
    (folder / "deep" / "2.dcm").rename(folder / "deep" / "3.dcm")
    renamed = digest(folder)
    (folder / "1.dcm").write_bytes(b"One")
    assert len({before, renamed, digest(folder)}) == 3


def test_a_missing_path_has_no_digest(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.nii does not exist"):
        digest(tmp_path / "nothing.nii")


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000 + "]" * 200_000, '{"a":' * 200_000, '{"schema": ' + "9" * 6000 + "}"],
    ids=["deep", "open", "long"],
)
def test_json_that_knows_no_end_is_refused_by_name(tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(InputError, match=r"odd\.json \(the plan\)"):
        read_json(tmp_path / "odd.json", "the plan")
