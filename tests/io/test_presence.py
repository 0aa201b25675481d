"""Who is at work in a folder: the living, the dead, those of other machines, and one at a time."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from medseg.io.files import remove_leftovers, replacing
from medseg.io.presence import (
    LOST_AFTER_S,
    Presence,
    alive,
    exclusive,
    is_running,
    make_owned,
    owner_of,
    this_process,
)


@pytest.fixture(scope="module")
def dead_pid():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(path, **changes):
    """A file as another process would have made it."""
    path.write_text(json.dumps(asdict(replace(this_process(), **changes))) + "\n")
    return path


def aged(path, seconds):
    stat = path.stat()
    os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))
    return path


def test_this_process_is_alive_until_it_says_that_it_has_gone(tmp_path):
    presence = Presence(tmp_path / "a")
    assert owner_of(presence.path) == this_process()
    assert alive(aged(presence.path, 10 * LOST_AFTER_S)), "on this machine the process counts, not the time"
    presence.close()
    assert not alive(presence.path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_ended_is_dead_at_once(tmp_path, dead_pid):
    assert not is_running(dead_pid)
    assert not alive(left_by(tmp_path / "a", pid=dead_pid))


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path):
    if not this_process().born:
        pytest.skip("the system does not tell when processes began")
    assert not alive(left_by(tmp_path / "a", born="1"))


def test_a_process_of_another_machine_lives_as_long_as_its_file_is_touched(tmp_path, dead_pid):
    path = left_by(tmp_path / "a", machine="another", host="there", pid=dead_pid)
    assert alive(path)
    assert not alive(aged(path, LOST_AFTER_S + 5))


def test_a_file_that_says_nothing_yet_was_made_this_moment(tmp_path):
    path = tmp_path / "a"
    path.touch()
    assert alive(path)
    assert not alive(aged(path, LOST_AFTER_S + 5))
    assert not alive(tmp_path / "gone")


def test_a_file_is_made_once_and_in_a_folder_that_went_meanwhile(tmp_path):
    path = tmp_path / "gone" / "a"
    assert make_owned(path, {"of": "me"})
    assert not make_owned(path, {"of": "you"})
    assert json.loads(path.read_text())["of"] == "me"


def test_one_at_a_time_is_in_the_block(tmp_path):
    counted, inside = [], []

    def count():
        for _ in range(20):
            with exclusive(tmp_path / "lock"):
                inside.append(1)
                counted.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [1] * 80
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_is_taken_away(tmp_path, dead_pid):
    left_by(tmp_path / "lock", pid=dead_pid)
    with exclusive(tmp_path / "lock"):
        assert owner_of(tmp_path / "lock") == this_process()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_block_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / "lock"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_had_begun_to_write_is_removed_and_what_is_in_work_stays(tmp_path, dead_pid):
    machine = this_process().machine
    left = [tmp_path / f".part-{machine}-{dead_pid}-abc.nii.gz", aged(_touched(tmp_path / ".part-0a1b2c"), 100_000)]
    left[0].touch()
    kept = [_touched(tmp_path / name) for name in (".part-0a1b2d", f".part-elsewhere-{dead_pid}-x.json", "a.json")]
    with replacing(tmp_path / "mask.nii.gz") as partial:
        partial.touch()
        remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "mask.nii.gz"])


def _touched(path: Path) -> Path:
    path.touch()
    return path
