"""A training that is killed, terminated or interrupted, and goes on."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.journeys.conftest import SAMPLE, TINY
from tests.predict.test_batch import make_model, write_scan

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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_prediction_that_is_stopped_keeps_its_records_and_goes_on(shell, tmp_path, number, code):
    model = make_model(tmp_path / "model")
    for n in range(30):
        write_scan(tmp_path / "scans" / f"c{n:02}.nii.gz", seed=n, shape=(24, 24, 24))
    call = ("predict", "scans", "-m", model, "-o", "out", "--device", "cpu", "--preview", "--jobs", "1")
    process = shell.start(*call)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*.nii.gz"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "done and recorded in out; the same command goes on with the rest." in err
    assert "Traceback" not in out + err
    done = [record["case"] for record in json.loads((tmp_path / "out/predictions.json").read_text())["cases"]]
    assert sorted(path.name.split(".")[0] for path in (tmp_path / "out").glob("*.nii.gz")) == done
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert 0 < len(done) < 30


POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has neither groups of processes nor such terminals")


def start_and_wait_for(shell, sign, *more, **options):
    """A long training, and the moment when `sign()` is true of its folder of the fold."""
    process = shell.start("train", SAMPLE, "-o", "run", "--epochs", "300", *SETS, *more, **options)
    wait_for(process, sign, shell.folder / "run/fold_0")
    return process


def wait_for(process, sign, fold):
    deadline = time.monotonic() + 240
    while not sign(fold):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_preparing(fold):
    return (fold / "cache/cache.json").is_file()


def takes_steps(fold):
    return (fold / "last.pt").is_file()


@POSIX
@pytest.mark.parametrize(
    ("sign", "number", "code"),
    [(is_preparing, signal.SIGTERM, 143), (takes_steps, getattr(signal, "SIGHUP", signal.SIGTERM), 129)],
)
def test_a_signal_to_all_processes_of_a_training_ends_it_saved(shell, sign, number, code):
    process = start_and_wait_for(shell, sign, "--set", "training.workers=1", start_new_session=True)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    assert "--resume" in out
    assert list((shell.folder / "run").rglob(".part-*")) == []


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


def read_until(told, terminal):
    """Be somebody who watches: a terminal that nobody reads is full soon."""
    while not told.is_set():
        if select.select([terminal], [], [], 0.1)[0]:
            os.read(terminal, 4096)


@POSIX
def test_a_training_whose_terminal_is_closed_is_saved(shell):
    fold = shell.folder / "run/fold_0"
    ours, theirs = os.openpty()
    train = [sys.executable, "-m", "medseg", "train", str(SAMPLE), "-o", "run", "--epochs", "300", *SETS]
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *train],
        cwd=shell.folder,
        env=shell.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    told = threading.Event()
    reader = threading.Thread(target=read_until, args=(told, ours))
    reader.start()
    try:
        wait_for(process, takes_steps, fold)
        before = (fold / "last.pt").stat().st_mtime_ns
    finally:
        told.set()
        reader.join()
        os.close(ours)
    assert process.wait(timeout=120) == 129
    assert (fold / "last.pt").stat().st_mtime_ns > before
    assert list((shell.folder / "run").rglob(".part-*")) == []


def test_of_two_predictions_into_one_folder_one_is_killed_and_no_record_is_lost(shell, tmp_path):
    model = make_model(tmp_path / "model")
    for n in range(20):
        write_scan(tmp_path / "scans" / f"c{n:02}.nii.gz", seed=n, shape=(24, 24, 24))
    call = ("predict", "scans", "-m", model, "-o", "out", "--device", "cpu", "--jobs", "1", "--json")
    one, other = shell.start(*call), shell.start(*call)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("*.nii.gz"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    one.kill()
    one.communicate()
    out, err = other.communicate(timeout=200)
    assert other.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["summary"]["failed"] == 0
    records = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    assert [record["case"] for record in records] == [f"c{n:02}" for n in range(20)]
    assert {record["status"] for record in records} == {"predicted"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert '"summary": {"predicted": 0, "current": 20, "failed": 0}' in shell(*call)
