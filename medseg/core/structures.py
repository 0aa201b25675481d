"""Several structures on one grid, which may overlap → one label map in which each combination has a value.

A structure is painted mask by mask, in any order and as often as one likes; only the map itself and the mask at hand
are in memory, however many structures there are. The n-th name declared has the value n where it stands alone (and
where it never occurs: an empty answer is an answer); combinations follow, fewer names first, then in the order of the
names. Two structures at one voxel: what becomes of it is the caller's choice (`overlaps`), never ours. No files here.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Voxels
from medseg.core.labels import LARGEST_VALUE, Labels, folded, looked_up

__all__ = ["Structures"]

_REGIONS, _REFUSE = "regions", "refuse"

_Box = tuple[slice | int | EllipsisType, ...]


class Structures:
    """A label map in the making.

    Args:
        shape: Of the grid, (i, j, k).
        names: The structures, in the order in which they are numbered; more may be declared later.
        overlaps: What becomes of voxels of several structures: "regions" (a value for each combination), "refuse", or
            names in order, "tumour,liver": there the earlier wins over the later, and both over names not listed.
    """

    def __init__(self, shape: Voxels, names: Iterable[str] = (), overlaps: str = _REGIONS) -> None:
        # In memory slice by slice: masks come as planes of one k.
        self._array = np.zeros(shape, np.uint16, order="F")
        self._overlaps = overlaps
        self._names: dict[str, int] = {}
        # The working numbering: a state is a set of names; state 0 is background.
        self._states: list[frozenset[int]] = [frozenset()]
        self._state_of: dict[frozenset[int], int] = {frozenset(): 0}
        for name in names:
            self.declare(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def declare(self, name: str) -> None:
        """Make a structure known; it is empty until it is painted. A known name is no error."""
        self._names.setdefault(name, len(self._names))

    def paint(self, name: str, mask: NDArray[np.bool_], box: _Box = (...,)) -> None:
        """Add voxels to a structure.

        Args:
            name: The structure.
            mask: Which voxels of the box, of its shape.
            box: An index into the grid that gives a view: slices, a whole number for a single plane; else all of it.

        Raises:
            InputError: There are more combinations than values.
        """
        self.declare(name)
        part = self._array[box]
        before = part[mask]
        if not before.size:
            return
        occurring = np.flatnonzero(np.bincount(before))
        table = np.zeros(int(occurring[-1]) + 1, np.uint16)
        for state in occurring.tolist():
            table[state] = self._state(self._states[state] | {self._names[name]})
        part[mask] = table[before]

    def finish(self) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Labels]:
        """The map, in the smallest type that holds it, and what its values mean. More may be painted afterwards.

        Raises:
            InputError: Structures overlap and that was to be refused, or is not settled by the order given.
        """
        counts = np.zeros(len(self._states), np.int64)
        for k in range(self._array.shape[-1]):
            counts += np.bincount(self._array[..., k].ravel(order="K"), minlength=len(self._states))
        occurring = {self._states[state]: int(counts[state]) for state in np.flatnonzero(counts)}
        settled = self._settled(occurring)
        alone = [frozenset({place}) for place in self._names.values()]
        together = {combination for combination in settled.values() if len(combination) > 1}
        value_of = {combination: n for n, combination in enumerate(alone, start=1)} | {frozenset(): 0}
        for combination in sorted(together, key=lambda c: (len(c), sorted(c))):
            value_of[combination] = len(value_of)
        if len(value_of) > LARGEST_VALUE:
            raise _too_many(len(self._names), len(value_of))
        table = np.zeros(len(self._states), np.uint8 if len(value_of) <= 256 else np.uint16)
        for state, combination in enumerate(self._states):
            table[state] = value_of[settled[combination]] if combination in settled else 0
        used = set(settled.values())
        absent = {place for place in self._names.values() if not any(place in c for c in used)}
        values = {
            name: tuple(v for c, v in value_of.items() if place in c and (c in used or place in absent))
            for name, place in self._names.items()
        }
        return looked_up(table, self._array), Labels(values)

    def _state(self, combination: frozenset[int]) -> int:
        if combination not in self._state_of:
            if len(self._states) > LARGEST_VALUE:
                raise _too_many(len(self._names), len(self._states))
            self._state_of[combination] = len(self._states)
            self._states.append(combination)
        return self._state_of[combination]

    def _settled(self, occurring: Mapping[frozenset[int], int]) -> dict[frozenset[int], frozenset[int]]:
        """What each combination that occurs becomes."""
        if self._overlaps == _REGIONS:
            return {combination: combination for combination in occurring}
        ranks: dict[int, int] = {}
        if self._overlaps != _REFUSE:
            order = [folded(name) for name in self._overlaps.split(",")]
            ranks = {p: order.index(folded(name)) for name, p in self._names.items() if folded(name) in order}
        settled = {}
        for combination in occurring:
            listed = sorted(combination & ranks.keys(), key=lambda place: ranks[place])
            settled[combination] = frozenset(listed[:1]) if len(combination) > 1 and listed else combination
        if any(len(combination) > 1 for combination in settled.values()):
            raise InputError(self._refusal({c: n for c, n in occurring.items() if len(settled[c]) > 1}))
        return settled

    def _refusal(self, overlapping: Mapping[frozenset[int], int]) -> str:
        """Pairs of structures that overlap, the largest overlap first, and what would settle them."""
        names = self.names
        n_shared: dict[tuple[int, int], int] = {}
        for combination, n in overlapping.items():
            for pair in combinations(sorted(combination), 2):
                n_shared[pair] = n_shared.get(pair, 0) + n
        (first, second), n = max(n_shared.items(), key=lambda item: item[1])
        others = f" (and {len(n_shared) - 1} more pairs)" if len(n_shared) > 1 else ""
        return (
            f"The structures '{names[first]}' and '{names[second]}' overlap in {n} voxels{others}; "
            f"--read overlaps={_list(names, (first, second))} lets the first one win, "
            "--read overlaps=regions keeps both."
        )


def _list(names: Sequence[str], places: Iterable[int]) -> str:
    return ",".join(names[place] for place in places)


def _too_many(n_names: int, n_combinations: int) -> InputError:
    return InputError(
        f"{n_names} structures overlap in at least {n_combinations} combinations; a label map has {LARGEST_VALUE} "
        "values. Say --read overlaps=NAME,NAME, or leave structures out."
    )
