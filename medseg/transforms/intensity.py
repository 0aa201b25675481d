"""Intensities of images to the numbers that a network sees, channel by channel.

Arrays are (channels, i, j, k), real numbers without NaN, on any grid; results are new float32 arrays. Statistics are
taken in float64: in float32 the squares of a PET's counts (1.7e6) would drown their own spread. A channel without
spread becomes 0. The module must never know of files, geometry or other cases.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.transforms.preprocessing import ChannelNormalisation

__all__ = ["normalise"]

PERCENTILES = (0.5, 99.5)
"""Percentiles of a channel that "percentile" brings to 0 and 1."""

_CHUNK = 1 << 20
"""Voxels whose statistics are taken at a time, so that float64 copies stay small."""


def normalise(array: NDArray[Any], normalisations: Sequence[ChannelNormalisation]) -> NDArray[np.float32]:
    """`array` with each channel brought to the range of its normalisation: a new C-contiguous float32 array.

    Raises:
        InputError: There are not as many normalisations as channels.
    """
    if len(array) != len(normalisations):
        raise InputError(
            f"The image has {len(array)} channels, but {len(normalisations)} are planned for. "
            "Give the channels the plan was made for, in its order."
        )
    out = np.array(array, np.float32, order="C")
    for channel, how in zip(out, normalisations, strict=True):
        _SCHEMES[how.scheme](channel.reshape(-1), how)
    return out


def _zscore(voxels: NDArray[np.float32], how: ChannelNormalisation) -> None:
    _standardise(voxels, *_mean_and_sd(voxels, how.nonzero), keep_zeros=how.nonzero)


def _ct(voxels: NDArray[np.float32], how: ChannelNormalisation) -> None:
    low, high, mean, sd = how.required("low", "high", "mean", "sd")
    np.clip(voxels, low, high, out=voxels)
    _standardise(voxels, mean, sd)


def _percentile(voxels: NDArray[np.float32], how: ChannelNormalisation) -> None:
    seen = voxels[voxels != 0] if how.nonzero else voxels
    low, high = (float(v) for v in np.percentile(seen, PERCENTILES)) if seen.size else (0.0, 0.0)
    _standardise(voxels, low, high - low, keep_zeros=how.nonzero)
    np.clip(voxels, 0, 1, out=voxels)


def _rescale(voxels: NDArray[np.float32], how: ChannelNormalisation) -> None:
    low, high = how.required("low", "high")
    _standardise(voxels, low, high - low)


def _none(voxels: NDArray[np.float32], how: ChannelNormalisation) -> None:
    """As it is."""


_SCHEMES: dict[str, Callable[[NDArray[np.float32], ChannelNormalisation], None]] = {
    "zscore": _zscore,
    "ct": _ct,
    "percentile": _percentile,
    "rescale": _rescale,
    "none": _none,
}


def _standardise(voxels: NDArray[np.float32], centre: float, spread: float, keep_zeros: bool = False) -> None:
    """(v - centre) / spread in place; 0 where there is no spread. With `keep_zeros`, voxels that are 0 stay 0."""
    # A spread below the resolution of float32 about its centre is the rounding of a constant.
    if spread <= np.finfo(np.float32).eps * abs(centre):
        voxels[:] = 0
        return
    for chunk in _chunks(voxels):
        zeros = chunk == 0
        # In float64: a centre of 1.7e6 rounded to float32 may be off by 0.06.
        chunk[:] = (chunk.astype(np.float64) - centre) / spread
        if keep_zeros:
            chunk[zeros] = 0


def _mean_and_sd(voxels: NDArray[np.float32], nonzero: bool) -> tuple[float, float]:
    """Mean and standard deviation in two passes of float64; (0, 0) where no voxel counts."""

    def seen() -> Iterator[NDArray[np.float64]]:
        return ((chunk[chunk != 0] if nonzero else chunk).astype(np.float64) for chunk in _chunks(voxels))

    count = sum(chunk.size for chunk in seen())
    if count == 0:
        return 0.0, 0.0
    mean = sum(float(chunk.sum()) for chunk in seen()) / count
    variance = sum(float(((chunk - mean) ** 2).sum()) for chunk in seen()) / count
    return mean, float(np.sqrt(variance))


def _chunks(voxels: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Views of `voxels` (a vector), one after the other."""
    return (voxels[start : start + _CHUNK] for start in range(0, voxels.size, _CHUNK))
