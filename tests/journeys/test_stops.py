"""A training that is killed, terminated or interrupted, and goes on."""

import json
import signal
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
    for n in range(60):
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
    assert 0 < len(done) < 60
    shell("predict", "scans/c59.nii.gz", "scans/c00.nii.gz", "-m", model, "-o", "out", "--device", "cpu", "--preview")
