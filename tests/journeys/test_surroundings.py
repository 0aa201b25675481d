"""Commands where a system gives them little: a user id without an account, no home, none that can be written to."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.journeys.conftest import SAMPLE

pytestmark = pytest.mark.journey

NOBODY = 54_321
"""No account has this number."""


@pytest.fixture
def as_nobody(trained):
    """Runs the command for a user without an account, who may read everything and write into one folder."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        pytest.skip("needs setpriv, and root to use it")
    # pytest's own folders are for their owner alone.
    mine = Path(tempfile.mkdtemp())
    mine.chmod(0o777)
    shutil.copytree(trained, mine / "run")
    reading = ["-all,+dac_read_search"]
    become = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += [f"--{kind}-caps={caps}" for kind in ("inh", "ambient") for caps in reading]

    def run(*arguments, **environment):
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        command = [*become, sys.executable, "-m", "medseg", *map(str, arguments)]
        surroundings = {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment}
        # From the repository, so that the package is found that is tested.
        where = SAMPLE.parent
        return subprocess.run(
            command, env=surroundings, cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    yield run, mine
    shutil.rmtree(mine)


@pytest.mark.parametrize("environment", [{"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}])
def test_verbs_work_for_a_user_without_an_account_or_a_home(as_nobody, environment):
    run, mine = as_nobody
    calls = (
        ("predict", SAMPLE / "imagesTs", "-m", mine / "run", "-o", mine / "out", "--device", "cpu", "--preview", "-q"),
        ("evaluate", mine / "out", SAMPLE / "labelsTs", "-o", mine / "scores", "-q"),
        ("inspect", SAMPLE / "imagesTs", "-o", mine / "inspect.html", "-q"),
    )
    for call in calls:
        done = run(*call, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "no library speaks of its folders"
