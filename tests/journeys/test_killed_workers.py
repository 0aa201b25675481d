"""A worker process that the system kills costs nobody a result, and no worker outlives a command that was killed."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc"),
]

GRID = Geometry.from_spacing((24, 24, 24), (1, 1, 1))
N_CASES = 16


def write_cases(folder):
    rng = np.random.default_rng(0)
    for number in range(N_CASES):
        labels = (rng.random(GRID.shape) > 0.5).astype(np.uint8)
        image = (100 * labels + rng.normal(0, 10, GRID.shape)).astype(np.int16)
        io.write(Volume(image[None], GRID), folder / "images" / f"c{number}.nii.gz")
        io.write(LabelMap(labels, GRID), folder / "labels" / f"c{number}.nii.gz")
    return folder


def workers_of(pid):
    """Its children that work: those of `multiprocessing`, its resource tracker left out."""
    found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in children_of(task)]
    return [child for child in found if b"spawn_main" in command_of(child)]


def children_of(task):
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for_workers(process, n=2):
    deadline = time.monotonic() + 120
    while len(found := workers_of(process.pid)) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("verb", ["evaluate", "inspect"])
@pytest.mark.parametrize("later_s", [0.0, 1.0])
def test_a_killed_worker_costs_no_case(shell, verb, later_s):
    data = write_cases(shell.folder / "data")
    if verb == "evaluate":
        process = shell.start("evaluate", data / "labels", data / "labels", "-o", "scores", "--jobs", "2")
    else:
        process = shell.start("inspect", data, "-o", "all.json", "--jobs", "2")
    victim, _ = wait_for_workers(process)
    time.sleep(later_s)
    os.kill(victim, signal.SIGKILL) if victim in workers_of(process.pid) else None
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    if verb == "evaluate":
        rows = csv.DictReader((shell.folder / "scores/metrics.csv").read_text().splitlines())
        assert {(row["case"], row["status"]) for row in rows} == {(f"c{n}", "ok") for n in range(N_CASES)}
    else:
        cases = json.loads((shell.folder / "all.json").read_text())["cases"]
        assert [case["case"] for case in cases if case["usable"]] == [f"c{n}" for n in range(N_CASES)]


def test_workers_end_with_a_command_that_was_killed(shell):
    data = write_cases(shell.folder / "data")
    process = shell.start("evaluate", data / "labels", data / "labels", "-o", "scores", "--jobs", "2")
    workers = wait_for_workers(process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(b"spawn_main" in command_of(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
