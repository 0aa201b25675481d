"""A mapping that cannot be changed and can be sent to another process, which `types.MappingProxyType` cannot."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ["FrozenMapping"]

Key = TypeVar("Key")
Value = TypeVar("Value", covariant=True)


class FrozenMapping(Mapping[Key, Value]):
    """The items of another mapping, for good; equal to any mapping with the same items.

    >>> FrozenMapping({"liver": 1}) == {"liver": 1}
    True
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[Key, Value] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: Key) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> "tuple[type[FrozenMapping[Key, Value]], tuple[dict[Key, Value]]]":
        return type(self), (self._items,)
