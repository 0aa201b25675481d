"""A training that is killed, terminated or interrupted, and goes on."""

import json
import signal
import time

import pytest

from tests.journeys.conftest import SAMPLE, TINY

pytestmark = pytest.mark.journey

SETS = [word for pair in (*TINY, "training.checkpoint_every_s=0.5") for word in ("--set", pair)]


def start_and_wait_for_checkpoint(shell):
    process = shell.start("train", SAMPLE, "-o", "run", "--device", "cpu", "--epochs", "30", *SETS)
    deadline = time.monotonic() + 240
    while not (shell.folder / "run/fold_0/last.pt").is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def go_on(shell):
    """Finish what was begun, shortened to what a test can wait for."""
    plan = json.loads((shell.folder / "run/plan.json").read_text())
    plan["schedule"]["steps"] = 80
    (shell.folder / "run/plan.json").write_text(json.dumps(plan))
    said = shell("train", SAMPLE, "-o", "run", "--resume", "--device", "cpu")
    assert "The model is" in said
    steps = [int(line.split(",")[2]) for line in (shell.folder / "run/fold_0/history.csv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))


def test_a_training_that_was_killed_goes_on(shell):
    process = start_and_wait_for_checkpoint(shell)
    process.kill()
    process.communicate()
    go_on(shell)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_save_and_say_how_to_go_on(shell, number, code):
    process = start_and_wait_for_checkpoint(shell)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "--resume" in out
    assert "Traceback" not in out + err
    assert list((shell.folder / "run").rglob(".part-*")) == []
