"""Whole commands as a user types them, in a process of their own, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "sample_data"

TINY = (
    "plan.patch=[32,32,32]",
    "plan.batch=2",
    "plan.spacing_mm=[4,4,4]",
    "network.features=[8,16,32]",
    "training.steps_an_epoch=20",
    "training.arithmetic=float32",
)
"""A network that trains in seconds: journeys show that the way is whole, not how good it can be."""


class Shell:
    """Runs `medseg` in a folder; what it prints must never be a traceback."""

    def __init__(self, folder):
        self.folder = folder

    @property
    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MEDSEG_")}
        return {**kept, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120"}

    def start(self, *arguments, **options):
        command = [sys.executable, "-m", "medseg", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def __call__(self, *arguments, code=0, timeout=300, **options):
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=timeout)
        assert "Traceback" not in out + err, err
        assert process.returncode == code, out + err
        return out + err

    def train(self, data, run, *arguments, **options):
        sets = [word for pair in TINY for word in ("--set", pair)]
        return self("train", data, "-o", run, "--device", "cpu", *sets, *arguments, **options)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of a few seconds on the sample data, for journeys that begin with a model."""
    folder = tmp_path_factory.mktemp("journey")
    Shell(folder).train(SAMPLE, "run", "--epochs", "3")
    return folder / "run"
