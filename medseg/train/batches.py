"""Which patches a step of training sees: a pure function of the seed and the step's number.

So a run that was stopped goes on with the very batches it would have seen, and any number of loader processes gives
the same ones. A share of the patches is centred on a labelled voxel, each label equally often (a small organ would
otherwise hardly be seen); the rest lie anywhere. Where a case is smaller than the patch it is centred and padded with
zeros, as prediction pads (`predict.windows`). Augmentation comes later, on the device, by the batch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medseg.plan.plan import Plan
from medseg.predict.windows import window_box
from medseg.train.cache import Cache, CachedCase

__all__ = ["Batch", "PatchBatches", "step_generator", "step_seed"]

Batch = tuple[Tensor, Tensor]
"""Images float32 (batch, channels, *patch) and class indices uint8 (batch, *patch)."""


class PatchBatches(Dataset[Batch]):
    """Item `step` is the batch of that step. Cases come in shuffled rounds, so that each is seen equally often."""

    def __init__(self, cache: Cache, cases: Sequence[str], plan: Plan, foreground: float, seed: int) -> None:
        self._cache = cache
        self._cases = tuple(cases)
        self._plan = plan
        self._foreground = foreground
        self._seed = seed
        self._box = window_box(plan.patch, plan.slice_axis)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self._seed, 0, step))
        images, classes = zip(
            *(self._patch(self._case(step, slot), rng) for slot in range(self._plan.batch)), strict=True
        )
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(classes))

    def _case(self, step: int, slot: int) -> CachedCase:
        turn, place = divmod(step * self._plan.batch + slot, len(self._cases))
        # Each round is a permutation drawn from its own number: no state to keep, no case favoured.
        order = np.random.default_rng((self._seed, 1, turn)).permutation(len(self._cases))
        return self._cache.get(self._cases[order[place]])

    def _patch(self, case: CachedCase, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[Any]]:
        start = _start(case, self._box, self._foreground, rng)
        image = _cut(case.image, start, self._box)
        classes = _cut(case.classes[None], start, self._box)[0]
        if self._plan.slice_axis is None:
            return image, classes
        return image.squeeze(self._plan.slice_axis + 1), classes.squeeze(self._plan.slice_axis)


def step_seed(seed: int, step: int, purpose: int) -> int:
    """A seed for one purpose in one step (patches 0, rounds 1, augmentation 2, dropout 3)."""
    words = np.random.SeedSequence((seed, purpose, step)).generate_state(2)
    return int(words[0]) << 31 ^ int(words[1])


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of all random numbers of one step's augmentation, on the CPU, the same on every device."""
    return torch.Generator().manual_seed(step_seed(seed, step, 2))


def _start(
    case: CachedCase, box: tuple[int, int, int], foreground: float, rng: np.random.Generator
) -> tuple[int, int, int]:
    """The first voxel of a patch; negative where the case is smaller than the patch and is centred in it."""
    shape = case.classes.shape
    free = [n - side for n, side in zip(shape, box, strict=True)]
    anywhere = [int(rng.integers(0, room + 1)) if room >= 0 else -(-room // 2) for room in free]
    if case.places and rng.random() < foreground:
        label = sorted(case.places)[int(rng.integers(len(case.places)))]
        places = case.places[label]
        centre = places[int(rng.integers(len(places)))]
        anywhere = [
            min(max(int(voxel) - side // 2, 0), room) if room >= 0 else start
            for voxel, side, room, start in zip(centre, box, free, anywhere, strict=True)
        ]
    i, j, k = anywhere
    return i, j, k


def _cut(array: NDArray[Any], start: Sequence[int], box: Sequence[int]) -> NDArray[Any]:
    """`array` (channels, i, j, k) from `start` on, of the sides `box`; zeros outside. A copy."""
    patch = np.zeros((array.shape[0], *box), array.dtype)
    source, target = [], []
    for first, side, n in zip(start, box, array.shape[1:], strict=True):
        low, high = max(first, 0), min(first + side, n)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    patch[(slice(None), *target)] = array[(slice(None), *source)]
    return patch
