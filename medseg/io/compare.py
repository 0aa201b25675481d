"""Whether two label maps of one shape say the same: voxel by voxel, by the names that their values stand for.

Values of a file mean nothing by themselves where a format numbers structures anew; names do.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import Labels

__all__ = ["difference", "value_pairs"]


def difference(
    ours: NDArray[Any],
    labels: Labels,
    theirs: NDArray[Any],
    their_labels: Labels | None,
    called: Mapping[str, str] | None = None,
    slices: Iterable[int] | None = None,
) -> str | None:
    """How the second map differs from the first, in words; None if it does not.

    Args:
        ours: (i, j, k), whole numbers.
        labels: What its values mean.
        theirs: Of the same shape.
        their_labels: What its values mean; None where it has no names, and then no voxels either if it is to agree.
        called: Our name → what the second map calls it, where that differs.
        slices: The k to compare; all by default.
    """
    called = called or {}
    for one, other in value_pairs(ours, theirs, range(ours.shape[2]) if slices is None else slices):
        meant = {called.get(name, name) for name in labels.combination(one)}
        found = their_labels.combination(other) if their_labels is not None else frozenset()
        if meant != found or (their_labels is None and other != 0):
            return f"{_in_words(meant)} became {_in_words(found)}"
    return None


def value_pairs(ours: NDArray[Any], theirs: NDArray[Any], slices: Iterable[int]) -> list[tuple[int, int]]:
    """The pairs of values that two maps hold at one voxel; slice by slice, for joint numbers take eight bytes each."""
    n_columns = int(theirs.max(initial=0)) + 1
    found: set[int] = set()
    for k in slices:
        joint = ours[..., k].astype(np.int64) * n_columns + theirs[..., k]
        found.update(np.flatnonzero(np.bincount(joint.ravel())).tolist())
    return [divmod(joint, n_columns) for joint in sorted(found)]


def _in_words(names: Iterable[str]) -> str:
    return " and ".join(sorted(names)) or "background"
