"""One process a fold: the second is told who is there, the dead are taken over, other machines are respected."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from medseg.core.errors import UsageError
from medseg.io.presence import this_process
from medseg.train.folder import RunFolder
from medseg.train.lock import claimed


def left_by(folder, owner, since="2026-11-30 22:00"):
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.lock.write_text(json.dumps({**asdict(owner), "since": since}) + "\n")


def dead_process():
    """A number that no process has any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return replace(this_process(), pid=process.pid, born="1")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", "0")


def test_a_fold_is_for_one_and_its_sisters_are_free(folder):
    with claimed(folder):
        with pytest.raises(UsageError, match=rf"fold 0 is being trained by process {os.getpid()} on .* since \d{{4}}-"):
            claimed(folder).__enter__()
        with claimed(replace(folder, fold="1")):
            assert sorted(path.name for path in folder.root.iterdir()) == [".fold_0.lock", ".fold_1.lock"]


def test_nothing_is_left_of_a_claim_on_a_new_folder(folder):
    with claimed(folder):
        assert folder.lock.is_file()
    assert not folder.root.exists()


def test_a_claim_is_given_back_when_its_block_raises(folder):
    with pytest.raises(ZeroDivisionError), claimed(folder):
        raise ZeroDivisionError
    with claimed(folder):
        pass


def test_the_claim_of_a_dead_process_is_taken_over_with_its_leftovers(folder):
    dead = dead_process()
    left_by(folder, dead)
    for place in (folder.root, folder.fold_dir, folder.model):
        place.mkdir(parents=True, exist_ok=True)
        (place / f".part-{dead.machine}-{dead.pid}-0123456789ab.pt").write_bytes(b"half")
        (place / f".part-{dead.machine}-{os.getpid()}-0123456789ab.pt").write_bytes(b"in work")
        old = place / ".part-0123456789ab.pt"
        old.write_bytes(b"of medseg 0.1.0")
        os.utime(old, (time.time() - 10**6,) * 2)
    with claimed(folder):
        left = [path.name for path in folder.root.rglob(".part-*")]
        assert left == [f".part-{dead.machine}-{os.getpid()}-0123456789ab.pt"] * 3
    assert not folder.lock.exists()


def test_the_claim_of_another_machine_is_respected_however_old(folder):
    left_by(folder, replace(this_process(), host="node7", machine="ffff", pid=1))
    os.utime(folder.lock, (0, 0))
    with pytest.raises(UsageError, match=r"on node7 since 2026-11-30 22:00.*remove .*\.fold_0\.lock"):
        claimed(folder).__enter__()
    assert folder.lock.is_file()
    folder.lock.unlink()  # what the sentence says
    with claimed(folder):
        pass


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="nothing tells when this system was started")
def test_the_claim_of_this_machine_before_it_was_started_again_is_taken_over(folder):
    left_by(folder, replace(this_process(), machine="ffff", pid=1))
    os.utime(folder.lock, (0, 0))
    with claimed(folder):
        pass


@pytest.mark.parametrize("content", ["", "nonsense\n", "[]\n", '{"host": 1}\n'])
def test_a_claim_that_says_nothing_is_taken_over(folder, content):
    folder.root.mkdir()
    folder.lock.write_text(content)
    with claimed(folder):
        pass
