"""The records of a folder that several fill at once: none is lost, claims are kept, what the dead leave is cleared."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.predict.ledger import Ledger
from medseg.predict.outputs import Record, facts_of

MODEL = "sha256:model"
OPTIONS = {"overlap": 0.5}


@pytest.fixture(scope="module")
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def opened(folder):
    ledger = Ledger(folder, MODEL)
    ledger.open()
    return ledger


def do(ledger, case, text="mask", digest="sha256:in"):
    """What predict does with a case: claim, write, record."""
    name = f"{case}.nii.gz"
    assert ledger.claim(case, [name])
    (ledger.folder / name).write_text(text)
    files = {name: facts_of(ledger.folder / name)}
    ledger.add(Record(case, "predicted", digest, MODEL, OPTIONS, (name,), files=files).stamped())


def recorded(folder):
    content = json.loads((folder / "predictions.json").read_text())
    assert content["schema"] == "medseg/predictions/1"
    return {facts["case"]: facts for facts in content["cases"]}


def killed(ledger, dead_pid):
    """The ledger's process dies here and now: its files stay as they are, and tell of a process that is no more."""
    ledger._presence.stop()
    for path in (ledger._presence.path, *ledger._hidden.glob("case-*")):
        first, *rest = path.read_text().splitlines()
        facts, stat = json.loads(first), path.stat()
        if facts.get("of", ledger._presence.path.name) == ledger._presence.path.name:
            # Of the same length: who reads along remembers how many bytes it has read.
            line = json.dumps({**facts, "pid": dead_pid}, separators=(",", ":")).ljust(len(first))
            assert len(line) == len(first)
            path.write_text("\n".join([line, *rest, ""]))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_two_who_work_at_once_lose_no_record(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    for number in range(3):
        do(one, f"a{number}")
        do(two, f"b{number}")
    one.close()
    assert {"a0", "a1", "a2", "b0", "b1", "b2"} == set(recorded(tmp_path)), "journals of the living count"
    do(two, "b3")
    two.close()
    assert set(recorded(tmp_path)) == {"a0", "a1", "a2", "b0", "b1", "b2", "b3"}
    assert not (tmp_path / ".predictions").exists()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["do", "open", "close"]), st.integers(0, 5)), max_size=25))
def test_whatever_the_order_nothing_that_was_recorded_is_lost(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("out")
    ledgers, done = {}, set()
    for who, what, number in steps:
        if what == "open" and who not in ledgers:
            ledgers[who] = opened(folder)
        elif what == "close" and who in ledgers:
            ledgers.pop(who).close()
            assert done <= set(recorded(folder))
        elif what == "do" and who in ledgers:
            do(ledgers[who], f"c{number}", text=f"mask of {who}")
            done.add(f"c{number}")
    for ledger in ledgers.values():
        ledger.close()
    if done:
        assert set(recorded(folder)) == done
    for case in done:
        assert Ledger(folder, MODEL).ownership(f"{case}.nii.gz", case) == "ours"


def test_a_case_that_another_has_claimed_is_left_to_it(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    assert one.claim("Case", ["Case.nii.gz"])
    assert not two.claim("case", ["case.nii.gz"]), "names that some file system takes for one are one"
    assert two.claim("other", ["other.nii.gz"])
    one.release()
    two.release()
    assert two.claim("case", ["case.nii.gz"])


def test_what_another_has_recorded_meanwhile_needs_no_work(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    do(one, "a")
    assert two.current("a", "sha256:in", OPTIONS) is None
    two.refresh()
    assert two.current("a", "sha256:in", OPTIONS).case == "a"
    one.close()
    three = Ledger(tmp_path, MODEL)
    assert three.current("a", "sha256:in", OPTIONS).case == "a"


def test_the_claim_of_a_dead_process_is_taken_over_and_what_it_had_not_recorded_goes(tmp_path, dead_pid):
    one = opened(tmp_path)
    do(one, "a")
    assert one.claim("b", ["b.nii.gz", "b_preview.png"])
    (tmp_path / "b.nii.gz").write_text("written, not recorded")
    killed(one, dead_pid)
    two = Ledger(tmp_path, MODEL)
    assert two.record_of("a") is not None
    assert two.names_in_work() == {"b.nii.gz", "b_preview.png"}
    two.open()
    assert not (tmp_path / "b.nii.gz").exists()
    assert (tmp_path / "a.nii.gz").exists()
    assert set(recorded(tmp_path)) == {"a"}
    do(two, "b")
    two.close()
    assert set(recorded(tmp_path)) == {"a", "b"}
    assert not (tmp_path / ".predictions").exists()


def test_the_claim_of_one_who_dies_while_others_work_is_taken_over_too(tmp_path, dead_pid):
    one, two = opened(tmp_path), opened(tmp_path)
    do(one, "a")
    assert one.claim("b", ["b.nii.gz"])
    killed(one, dead_pid)
    do(two, "b")
    two.close()
    assert set(recorded(tmp_path)) == {"a", "b"}
    assert not (tmp_path / ".predictions").exists()


def test_who_leaves_last_clears_what_the_dead_have_left(tmp_path, dead_pid):
    one, two = opened(tmp_path), opened(tmp_path)
    do(one, "a")
    assert one.claim("b", ["b.nii.gz"])
    killed(one, dead_pid)
    two.close()
    assert set(recorded(tmp_path)) == {"a"}
    assert not (tmp_path / ".predictions").exists()


def test_an_older_mask_that_a_dead_process_did_not_come_to_replace_stays(tmp_path, dead_pid):
    do(first := opened(tmp_path), "a")
    first.close()
    one = opened(tmp_path)
    assert one.claim("a", ["a.nii.gz"])
    killed(one, dead_pid)
    two = opened(tmp_path)
    assert two.ownership("a.nii.gz", "a") == "ours"
    two.close()
    assert (tmp_path / "a.nii.gz").read_text() == "mask"


def test_a_line_that_was_cut_short_is_no_record_and_no_reason_to_stop(tmp_path, dead_pid):
    one = opened(tmp_path)
    do(one, "a")
    with one._presence.path.open("a") as file:
        file.write('{"case": "b", "stat')
    killed(one, dead_pid)
    two = opened(tmp_path)
    two.close()
    assert set(recorded(tmp_path)) == {"a"}


def test_what_is_given_up_leaves_nothing(tmp_path):
    ledger = opened(tmp_path)
    assert ledger.claim("a", ["a.nii.gz", "a.labels.txt"])
    (tmp_path / "a.nii.gz").write_text("half of it")
    ledger.close()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]


def test_files_are_ours_changed_foreign_or_absent(tmp_path):
    ledger = opened(tmp_path)
    do(ledger, "a")
    (tmp_path / "b.nii.gz").write_text("somebody's")
    assert [ledger.ownership(f"{name}.nii.gz", name) for name in "abc"] == ["ours", "foreign", "absent"]
    assert ledger.ownership("A.nii.gz", "A") in ("absent", "ours")
    (tmp_path / "a.nii.gz").write_text("task")
    assert ledger.ownership("a.nii.gz", "a") == "changed"
    (tmp_path / "a.nii.gz").write_text("mask")
    assert ledger.ownership("a.nii.gz", "a") == "ours", "the same bytes at another time are a copy"


def test_forms_of_an_earlier_call_stay_medsegs_own(tmp_path):
    ledger = opened(tmp_path)
    do(ledger, "a")
    assert ledger.claim("a", ["a.nrrd"])
    (tmp_path / "a.nrrd").write_text("another form")
    ledger.add(
        Record(
            "a", "predicted", "sha256:in", MODEL, {}, ("a.nrrd",), files={"a.nrrd": facts_of(tmp_path / "a.nrrd")}
        ).stamped()
    )
    ledger.close()
    again = Ledger(tmp_path, MODEL)
    assert [again.ownership(name, "a") for name in ("a.nrrd", "a.nii.gz")] == ["ours", "ours"]


def test_records_of_medseg_0_1_0_are_read_and_a_mask_changed_since_is_seen(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_text("mask")
    cases = [
        {"case": name, "status": "predicted", "input": "sha256:in", "model": MODEL, "options": OPTIONS,
         "outputs": [f"{name}.nii.gz"], "seconds": 1.0, "volumes_ml": {}, "warnings": []}
        for name in ("a", "b")
    ]  # fmt: skip
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps({"schema": "medseg/predictions/1", "model": MODEL, "cases": cases}))
    later = path.stat().st_mtime + 60
    os.utime(tmp_path / "b.nii.gz", (later, later))
    ledger = opened(tmp_path)
    ledger.close()
    for read in (ledger, Ledger(tmp_path, MODEL)):
        assert read.current("a", "sha256:in", OPTIONS) is not None
        assert [read.ownership(f"{name}.nii.gz", name) for name in "ab"] == ["ours", "changed"]


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"schema": "medseg/predictions/1", "cases": [1]}', '{"mine": 1}', "null"]
)
def test_a_record_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "predictions.json").write_text(text)
    with pytest.raises(InputError, match="no record of medseg predict"):
        Ledger(tmp_path, MODEL)
    assert (tmp_path / "predictions.json").read_text() == text


def test_each_record_says_when_and_by_which_version(tmp_path):
    ledger = opened(tmp_path)
    do(ledger, "a")
    ledger.close()
    facts = recorded(tmp_path)["a"]
    assert facts["time"].endswith("Z")
    assert facts["medseg"]


def test_a_name_that_differs_only_in_case_is_the_same_result(tmp_path):
    ledger = opened(tmp_path)
    do(ledger, "Case")
    ledger.close()
    again = Ledger(tmp_path, MODEL)
    assert again.current("case", "sha256:in", OPTIONS).case == "Case"
    assert again.holds_another("cASE", "sha256:other").case == "Case"
    assert again.ownership("Case.nii.gz", "case") == "ours"
    assert again.ownership("Case.nii.gz", "other") == "another"
