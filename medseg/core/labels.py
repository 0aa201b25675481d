"""What the numbers in a label map mean: labels, regions and the ignore value.

A *label* is a name with one value, a *region* a name with several (BraTS: whole tumour = 1, 2, 4). Networks learn the
distinct *values* (classes 0…K-1, background 0 first); names are what people and metrics speak of. Values may be any
integers from 1 to 65,535 with gaps between them; 0 is background.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError

__all__ = ["IGNORED", "LARGEST_VALUE", "Labels"]

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
