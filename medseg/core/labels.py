"""What the numbers in a label map mean: labels, regions and the ignore value.

A *label* is a name with one value, a *region* a name with several (BraTS: whole tumour = 1, 2, 4). Networks learn the
distinct *values* (classes 0…K-1, background 0 first); names are what people and metrics speak of. Values may be any
integers from 1 to 65,535 with gaps between them; 0 is background.

Structures that overlap are regions too: a value stands for each *combination* of names that occurs, {"liver": (1, 3),
"tumour": (2, 3)}. Where files number their structures each in its own way (DICOM SEG, RTSTRUCT, Slicer), the values of
one file mean nothing in another; names do, upper and lower case alike. `union` and `translated` go by them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError

__all__ = ["IGNORED", "LARGEST_VALUE", "Labels", "folded", "looked_up", "translated", "union"]

LARGEST_VALUE = 65_535
"""The largest value of a label: label maps are at most uint16."""

IGNORED = 255
"""The class index of voxels that no loss and no metric sees."""

MOST_CLASSES = IGNORED
"""So many classes can be learnt, background included: class indices are uint8, and one stands for what is ignored."""


@dataclass(frozen=True)
class Labels:
    """Names of labels and regions with their values, in the order of the data set; background is not listed.

    Attributes:
        values: name → the values that carry it, ascending; one value is a label, several are a region.
        ignore: The value that no loss and no metric sees, or None.

    Raises:
        InputError: A value lies outside 1…65,535, a name has no value, or the ignore value is also a label.
    """

    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None
    _classes: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = {str(name): tuple(sorted({int(v) for v in numbers})) for name, numbers in self.values.items()}
        for name, numbers in values.items():
            if not numbers or numbers[0] < 1 or numbers[-1] > LARGEST_VALUE:
                raise InputError(f"Label '{name}' has the values {list(numbers)}; they must lie in 1…{LARGEST_VALUE}.")
            if self.ignore in numbers:
                raise InputError(f"Label '{name}' has the value {self.ignore}, which is also the value to ignore.")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "_classes", (0, *sorted({v for numbers in values.values() for v in numbers})))

    @classmethod
    def from_values(cls, values: Iterable[int]) -> "Labels":
        """Labels named after their values, for data that carry no names: {"label 1": (1,), …}."""
        return cls({f"label {value}": (value,) for value in sorted(set(values)) if value != 0})

    @classmethod
    def from_json(cls, declared: Mapping[str, Any], ignore: int | None = None) -> "Labels":
        """The inverse of `to_json`; a single value may stand for a list of one."""
        return cls({n: (v,) if isinstance(v, int) else tuple(v) for n, v in declared.items()}, ignore)

    def to_json(self) -> dict[str, int | list[int]]:
        """{"liver": 1, "whole tumour": [1, 2]}: as data set files and models write it."""
        return {name: v[0] if len(v) == 1 else list(v) for name, v in self.values.items()}

    def __hash__(self) -> int:
        return hash((tuple(self.values.items()), self.ignore))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def classes(self) -> tuple[int, ...]:
        """The value of each class of a network, background (0) first; its length is the number of classes."""
        return self._classes

    @property
    def has_regions(self) -> bool:
        return any(len(numbers) > 1 for numbers in self.values.values())

    def name_of(self, value: int) -> str:
        """The name of one class: its label's, else that of the smallest region with the value, else "background"."""
        holders = [(len(numbers), name) for name, numbers in self.values.items() if value in numbers]
        if not holders:
            return "background"
        size, name = min(holders)
        return name if size == 1 else f"{name} ({value})"

    def combination(self, value: int) -> frozenset[str]:
        """The names that carry a value: several where structures overlap, none for background."""
        return frozenset(name for name, numbers in self.values.items() if value in numbers)

    def mask(self, array: NDArray[np.integer], name: str) -> NDArray[np.bool_]:
        """Where `array` carries the label or region `name`; bool, of its shape."""
        numbers = self.values[name]
        return np.asarray(array == numbers[0]) if len(numbers) == 1 else np.isin(array, numbers)

    def unknown_in(self, array: NDArray[np.integer]) -> dict[int, int]:
        """Values of `array` that are neither background, nor a label's, nor the ignore value, with their counts."""
        found, counts = np.unique(array, return_counts=True)
        known = {*self.classes, self.ignore}
        return {int(v): int(n) for v, n in zip(found, counts, strict=True) if int(v) not in known}

    def to_classes(self, array: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Values (integers ≥ 0) → class indices 0…K-1, uint8; the value to ignore becomes `IGNORED`.

        Raises:
            InputError: `array` holds a value that is no label's, or there are more than 254 labels.
        """
        if len(self.classes) > MOST_CLASSES:
            found, most = len(self.classes) - 1, MOST_CLASSES - 1
            raise InputError(f"There are {found} label values; medseg learns at most {most}.")
        known = np.zeros(LARGEST_VALUE + 1, np.bool_)
        table = np.zeros(LARGEST_VALUE + 1, np.uint8)
        known[list(self.classes)] = True
        table[list(self.classes)] = np.arange(len(self.classes))
        if self.ignore is not None:
            known[self.ignore], table[self.ignore] = True, IGNORED
        if not known[array].all():
            listed = ", ".join(f"{value} ({count} voxels)" for value, count in [*self.unknown_in(array).items()][:5])
            raise InputError(f"Values that no label declares: {listed}. Declare them or correct the label map.")
        classes: NDArray[np.uint8] = table[array]
        return classes

    def from_classes(self, classes: NDArray[np.integer]) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Class indices 0…K-1 → values, in the smallest unsigned type that holds them."""
        dtype = np.uint8 if self.classes[-1] <= 255 else np.uint16
        values: NDArray[Any] = np.array(self.classes, dtype)[classes]
        return values


def folded(name: str) -> str:
    """A name as names are compared: without regard to case and to blanks around and within it.

    >>> folded(" Left  Kidney") == folded("left kidney")
    True
    """
    return " ".join(name.split()).casefold()


def union(labels: Iterable[Labels]) -> Labels:
    """One numbering for label maps that each have their own: every name, and a value for every combination that occurs.

    Numberings that agree are kept as they are. Else the n-th name (in the order in which they are first seen) has the
    value n, if it occurs alone, and combinations follow: fewer names first, then in the order of the names.

    Raises:
        InputError: There are more combinations than values.
    """
    many = list(dict.fromkeys(labels))
    spelt: dict[str, str] = {}
    for each in many:
        for name in each.names:
            spelt.setdefault(folded(name), name)
    places = {key: place for place, key in enumerate(spelt)}
    # The values that a combination has in any of them, and the other way round: one to one where they agree.
    values_of: dict[frozenset[int], set[int]] = {}
    for each in many:
        for value in each.classes[1:]:
            found = frozenset(places[folded(name)] for name in each.combination(value))
            values_of.setdefault(found, set()).add(value)
    ignored = {each.ignore for each in many if each.ignore is not None}
    taken = [value for values in values_of.values() for value in values]
    agree = len(set(taken)) == len(taken) == len(values_of) and len(ignored) <= 1 and not ignored & set(taken)
    value_of = {c: min(v) for c, v in values_of.items()} if agree else _numbered(values_of, len(spelt))
    ignore = min(ignored, default=None)
    if not agree and ignore is not None and ignore in value_of.values():
        ignore = max(value_of.values()) + 1
    numbers = {name: [v for c, v in value_of.items() if place in c] for place, name in enumerate(spelt.values())}
    return Labels({name: tuple(each) for name, each in numbers.items()}, ignore)


def translated(
    array: NDArray[np.integer], own: Labels, target: Labels, *, drop_others: bool = False
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A map in other numbers: each value becomes the one that stands for the same combination of names in `target`.

    Names that `own` does not have at all contradict nothing: "liver" is found where `target` also has it in a region
    "abdomen", if only one value fits.

    Args:
        array: Values (integers ≥ 0) as `own` numbers them.
        own: What they mean.
        target: The numbering to translate to.
        drop_others: Names that `target` does not have are left out, and what carries no other becomes background.

    Raises:
        InputError: `array` holds a value that `own` does not declare, or a combination that `target` does not have.
    """
    table = np.zeros(LARGEST_VALUE + 1, np.uint8 if max(target.classes[-1], target.ignore or 0) <= 255 else np.uint16)
    known = np.zeros(LARGEST_VALUE + 1, np.bool_)
    known[0] = True
    combinations = {value: _folded(target.combination(value)) for value in target.classes}
    if own.ignore is not None and target.ignore is not None:
        known[own.ignore], table[own.ignore] = True, target.ignore
    ours, theirs = _folded(own.names), _folded(target.names)
    for value in own.classes[1:]:
        names = _folded(own.combination(value))
        wanted = names & theirs if drop_others else names
        exact = [new for new, found in combinations.items() if found == wanted]
        fitting = exact or [new for new, found in combinations.items() if wanted and found & ours == wanted]
        if len(fitting) == 1:
            known[value], table[value] = True, fitting[0]
    if not looked_up(known, array).all():
        raise InputError(_untranslatable(array, own, known))
    return looked_up(table, array)


def looked_up(table: NDArray[Any], array: NDArray[np.integer]) -> NDArray[Any]:
    """`table[array]`, plane by plane: numpy makes eight bytes of every index, which a whole map has no room for."""
    values = np.empty_like(array, dtype=table.dtype)
    for k in range(array.shape[-1]):
        values[..., k] = table[array[..., k]]
    return values


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(folded, names))


def _numbered(combinations: Iterable[frozenset[int]], n_names: int) -> dict[frozenset[int], int]:
    """The value of each combination of names (given by their places): names that stand alone have their place."""
    alone = {c: min(c) + 1 for c in combinations if len(c) == 1}
    together = sorted((c for c in combinations if len(c) > 1), key=lambda c: (len(c), sorted(c)))
    if n_names + len(together) >= LARGEST_VALUE:
        raise InputError(
            f"There are {n_names} structures in {len(together)} combinations; a label map has {LARGEST_VALUE} values."
        )
    return alone | {c: n_names + n for n, c in enumerate(together, start=1)}


def _untranslatable(array: NDArray[np.integer], own: Labels, known: NDArray[np.bool_]) -> str:
    found, counts = np.unique(array[~looked_up(known, array)], return_counts=True)
    listed = []
    for value, count in zip(found[:5].tolist(), counts[:5].tolist(), strict=True):
        names = [name for name in own.names if value in own.values[name]]
        what = "the value to ignore" if value == own.ignore else " with ".join(f"'{name}'" for name in names)
        listed.append(f"{what or f'the value {value}'} ({count} voxels)")
    return (
        f"Structures that the labels do not know: {', '.join(listed)}. Declare them or correct the label map; "
        "where structures overlap, --read overlaps=NAME,NAME says which one wins."
    )
