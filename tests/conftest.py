"""What all tests share: where the real scans are, and hypothesis without a clock."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# At a desk examples are new each time; in CI they are the same, so that a change is judged by what it changed.
settings.register_profile(
    "medseg",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("medseg")


def shared_data_dir() -> Path | None:
    """The folder of real scans: $MEDSEG_SHARED_DATA, else `../shared/data` beside the repository; None if absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MEDSEG_SHARED_DATA", beside))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans, or a skip where this machine has none."""
    folder = shared_data_dir()
    if folder is None:
        pytest.skip("the shared real scans are not here (set MEDSEG_SHARED_DATA)")
    return folder
