"""A case that would not fit on the plan grid is named before anything is prepared."""

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.core.events import Warned
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from medseg.train.setup import TrainOptions, set_up
from medseg.train.sizes import too_large
from tests.train.conftest import SMALL, ball_case, write_balls


def put_odd_one(folder, spacing_mm):
    """A ball whose header says that its voxels are enormous."""
    image, labels = ball_case(np.random.default_rng(9))
    grid = Geometry.from_spacing(image.shape, spacing_mm)
    io.write(Volume(image[None], grid), folder / "images/odd.nii.gz")
    io.write(LabelMap(labels, grid), folder / "labels/odd.nii.gz")


def ended(work):
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as stop:
            return events, stop.value


def test_what_fits_is_not_mentioned(measured, plan):
    assert list(too_large(measured.fingerprint, plan, None)) == []
    assert list(too_large(measured.fingerprint, plan, 2**30)) == []
    assert len(list(too_large(measured.fingerprint, plan, 1000))) == len(measured.fingerprint.cases)


@pytest.mark.parametrize("spacing_mm", [(100.0, 100.0, 100.0), (1.0, 99.0, 99.0)])
def test_a_case_with_an_outlying_spacing_is_refused_with_its_figures_or_left_out(spacing_mm, tmp_path):
    put_odd_one(write_balls(tmp_path, n=5), spacing_mm)
    options = TrainOptions(config=SMALL, max_memory_bytes=2**29, device="cpu")
    with pytest.raises(
        InputError, match=r"1 of 6 cases cannot be used:\n  odd: It has 20 × 24 × 16 voxels of"
    ) as refused:
        ended(set_up(tmp_path, options))
    assert "but only 512 MiB are allowed (--max-memory). Check its spacing" in str(refused.value)
    events, setup = ended(set_up(tmp_path, TrainOptions(**{**vars(options), "skip_bad": True})))
    assert any("1 of 6 cases are left out" in event.text for event in events if isinstance(event, Warned))
    assert "odd" not in {*setup.fold.train, *setup.fold.validation}
    assert "odd" not in {case for each in setup.splits.folds for case in (*each.train, *each.validation)}
