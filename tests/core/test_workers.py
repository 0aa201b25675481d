"""Work side by side gives the same results as one after the other; a process that dies costs what it had in work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.core.errors import InputError
from medseg.core.workers import side_by_side


def squared(number):
    return number * number


def lost(thing, reason):
    return f"{thing}: {reason}"


def dying_of_odd_numbers(number):
    if number % 2:
        os._exit(9)
    return number * number


def dying_once(path):
    if path is not None and not path.exists():
        path.touch()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return path


def refusing(number):
    raise InputError(f"{number} is no use.")


def unsendable(number):
    return lambda: number


def ended_by_a_group_signal(number):
    for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), sent)
    return number


def test_results_are_those_of_one_process():
    assert sorted(side_by_side(squared, range(7), 2, lost)) == list(side_by_side(squared, range(7), 1, lost))


def test_nothing_is_taken_ahead_of_need_in_one_process():
    assert next(side_by_side(squared, iter(int, 1), 1, lost)) == 0


def test_without_things_there_are_no_results():
    assert list(side_by_side(squared, (), 2, lost)) == []


def test_an_error_of_the_work_comes_back_as_it_is():
    with pytest.raises(InputError, match="is no use"):
        list(side_by_side(refusing, range(3), 2, lost))


def test_a_result_that_cannot_be_sent_is_an_error_and_no_dead_end():
    with pytest.raises(TypeError, match="cannot be sent"):
        list(side_by_side(unsendable, range(3), 2, lost))


def test_what_costs_its_process_its_life_twice_is_lost_and_the_rest_is_done():
    results = list(side_by_side(dying_of_odd_numbers, range(5), 2, lost))
    assert sorted(r for r in results if isinstance(r, int)) == [0, 4, 16]
    texts = sorted(r for r in results if isinstance(r, str))
    assert [text[0] for text in texts] == ["1", "3"]
    assert all("ended by the system" in text for text in texts)


def test_what_costs_its_process_its_life_once_is_done_the_second_time(tmp_path):
    things = [tmp_path / "once", None, None]
    assert sorted(side_by_side(dying_once, things, 2, lost), key=str) == sorted(things, key=str)


@pytest.mark.skipif(os.name != "posix", reason="Windows sends no signals to groups")
def test_what_is_sent_to_the_whole_group_ends_no_process():
    assert sorted(side_by_side(ended_by_a_group_signal, range(3), 2, lost)) == [0, 1, 2]


UNGUARDED = """
from medseg.core.workers import side_by_side
from medseg.core.errors import MachineError
try:
    print(list(side_by_side(abs, range(3), 2, lambda *_: None)))
except MachineError as error:
    print("refused:", error)
"""


def test_a_program_without_a_guard_is_told_so(tmp_path):
    (tmp_path / "program.py").write_text(UNGUARDED)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "refused: No process could be started" in done.stdout
    assert 'if __name__ == "__main__":' in done.stdout


KILLED = """
import os, sys, time
from pathlib import Path
from medseg.core.workers import side_by_side

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(side_by_side(work, [sys.argv[1]] * 2, 2, lambda *_: None))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "program.py").write_text(KILLED)
    (pids := tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, "program.py", str(pids)], cwd=tmp_path)
    try:
        while len(children := [int(path.name) for path in pids.iterdir()]) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in children):
        assert time.monotonic() < deadline, "the children outlive their parent"
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_left_when_the_caller_has_enough():
    results = side_by_side(squared, iter(int, 1), 2, lost)
    assert next(results) == 0
    results.close()
