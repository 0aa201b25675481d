"""Distances between slices: which slices are missing is found, and nothing uneven passes for even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.io import ReadOptions
from medseg.io.dicom.gaps import lay

steps_mm = st.floats(0.3, 10)


@given(st.integers(2, 60), steps_mm, st.integers(0, 2**32 - 1))
def test_jitter_below_one_percent_is_even(n, step_mm, seed):
    along = (np.arange(n) + np.random.default_rng(seed).uniform(-0.002, 0.002, n)) * step_mm
    laid = lay(along, "5", ReadOptions())
    assert laid.n_slices == n
    assert laid.interpolation is None


@given(st.data(), st.integers(4, 40), steps_mm)
def test_missing_slices_are_found_wherever_they_are(data, n, step_mm):
    gone = data.draw(st.lists(st.integers(1, n - 2), min_size=1, max_size=(n - 2) // 2, unique=True))
    kept = np.setdiff1d(np.arange(n), gone)
    if len(set(np.diff(kept))) == 1:
        return  # every other slice: that is a series of twice the step
    with pytest.raises(InputError, match=rf"Series 5 lacks {len(gone)} slices? \(between"):
        lay(kept * step_mm, "5", ReadOptions())
    laid = lay(kept * step_mm, "5", ReadOptions(missing="fill"))
    np.testing.assert_array_equal(laid.places, kept)
    assert [n for n, source in enumerate(laid.interpolation.sources()) if source is None] == sorted(gone)
    along = np.broadcast_to(kept * step_mm, (1, 1, len(kept)))
    np.testing.assert_allclose(laid.interpolation.apply(along)[0, 0], np.arange(n) * step_mm, rtol=1e-12)
    run = lay(kept * step_mm, "5", ReadOptions(missing="largest-run")).kept
    lengths = [len(part) for part in np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1)]
    assert (np.diff(kept[run]) == 1).all()
    assert len(run) == max(lengths)


@given(st.lists(st.floats(1, 4), min_size=3, max_size=20))
def test_what_is_uneven_is_refused_or_interpolated_in_place(gaps):
    along = np.concatenate([[0], np.cumsum(gaps)])
    try:
        laid = lay(along, "5", ReadOptions(missing="fill", uneven="resample"))
    except InputError:
        return
    step = along[-1] / (laid.n_slices - 1)
    off = np.abs(along - laid.places * step).max()
    if laid.interpolation is None or "lacks" in laid.notes[0]:
        assert off <= 0.051 * step
    else:
        assert off < 1e-9
        filled = laid.interpolation.apply(np.broadcast_to(along, (1, 1, len(along))))[0, 0]
        np.testing.assert_allclose(filled, np.arange(laid.n_slices) * step, atol=0.0101 * max(gaps))


def test_one_missing_slice_of_a_hundred_hardly_moves_the_mean_and_is_found():
    along = np.delete(np.arange(101) * 1.0, 50)
    with pytest.raises(InputError, match=r"lacks 1 slice \(between 49\.0 and 51\.0 mm"):
        lay(along, "5", ReadOptions())
