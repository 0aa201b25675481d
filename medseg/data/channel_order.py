"""Which channel of a model each channel of a case goes into: by name where both have names, else by their order.

A name is compared without regard to case, blanks and joints (T1-Gd is t1gd), and PT is PET, MRI is MR: nothing else is
guessed. Where the names are not the same on both sides the case is refused, with both lists. A model that was trained
on files without names ("image", "channel 0") has none. Nothing is read here.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from medseg.core.errors import InputError

__all__ = ["ModelChannels", "are_names", "channel_key", "named_end", "order_of_files"]

_NUMBERED = re.compile(r"(image|channel|input|modality)?[-_ ]?[0-9]*", re.IGNORECASE)
"""What data sets without names call their channels, medseg's own words among them."""

_SAME = {"pt": "pet", "mri": "mr"}


def channel_key(name: str) -> str:
    """What two names of one channel have in common.

    >>> channel_key("T1-Gd"), channel_key("PT")
    ('t1gd', 'pet')
    """
    key = re.sub(r"[\W_]+", "", name.casefold())
    return _SAME.get(key, key)


def are_names(channels: Sequence[str]) -> bool:
    """Whether channels are called by names that tell them apart.

    >>> are_names(["T2", "ADC"]), are_names(["channel 0", "channel 1"]), are_names(["MR", "MR"])
    (True, False, False)
    """
    keys = [channel_key(name) for name in channels]
    return bool(keys) and len(set(keys)) == len(keys) and not any(map(_NUMBERED.fullmatch, channels))


def named_end(stem: str, keys: Collection[str]) -> tuple[str, str]:
    """A stem before the longest name of a channel that it ends with, and that channel's key; (stem, "") without one.

    >>> named_end("k40_post T1", ["t1", "postt1"]), named_end("k40", ["t1"])
    (('k40', 'postt1'), ('k40', ''))
    """
    for start in sorted({0, *(n + 1 for n, letter in enumerate(stem) if letter in "-_. ")}):
        key = channel_key(stem[start:])
        if key in keys:
            return stem[:start].rstrip("-_. "), key
    return stem, ""


def order_of_files(stems: Sequence[str], channels: Sequence[str]) -> tuple[int, ...] | None:
    """For each channel the number of the file that is called after it, or has its number; None where files do not say.

    A list of files has an order, but who wrote it may have sorted it.

    >>> order_of_files(["k_adc", "k_t2"], ["T2", "ADC"]), order_of_files(["k_0001", "k_0000"], ["MR", "MR"])
    ((1, 0), (1, 0))
    """
    keys = [channel_key(name) for name in channels]
    ends = [named_end(stem, keys)[1] for stem in stems]
    if are_names(channels) and sorted(ends) == sorted(keys):
        return tuple(ends.index(key) for key in keys)
    numbers = [match[1] if (match := re.search(r"_([0-9]{4})$", stem)) else "" for stem in stems]
    wanted = [f"{number:04d}" for number in range(len(channels))]
    return tuple(numbers.index(number) for number in wanted) if sorted(numbers) == wanted else None


@dataclass(frozen=True)
class ModelChannels:
    """The channels of a model, in its order; `names` are "channel 0", … where it was trained on files without names."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, channels: int | Sequence[str] | None) -> "ModelChannels | None":
        """From their names, or their number alone; None where there is no model."""
        if channels is None:
            return None
        return cls(tuple(f"channel {n}" for n in range(channels)) if isinstance(channels, int) else tuple(channels))

    @property
    def n(self) -> int:
        return len(self.names)

    @property
    def are_named(self) -> bool:
        return are_names(self.names)

    @property
    def keys(self) -> tuple[str, ...]:
        """What other names of the channels have in common with theirs; empty where they have no names."""
        return tuple(map(channel_key, self.names)) if self.are_named else ()

    def __str__(self) -> str:
        return f"{self.n} channel{'' if self.n == 1 else 's'} ({', '.join(self.names)})"

    def order(self, given: Sequence[str], whose: str) -> tuple[int, ...] | None:
        """For each channel of the model the number of the given one that goes into it; None where the order counts.

        Args:
            given: What the channels of a case, or of a data set, are called.
            whose: What has them, as a sentence begins: "Case k40".

        Raises:
            InputError: Both sides have names, and not the same.
        """
        if not self.are_named or self.n == 1 or all(map(_NUMBERED.fullmatch, given)):
            return None
        keys = [channel_key(name) for name in given]
        counts = Counter(keys)
        lacking = [name for name, key in zip(self.names, self.keys, strict=True) if not counts[key]]
        unknown = [name for name, key in zip(given, keys, strict=True) if key not in self.keys]
        twice = [name for name, key in zip(given, keys, strict=True) if counts[key] > 1]
        if lacking or unknown or twice:
            raise InputError(self._difference(given, whose, lacking, unknown, twice))
        return tuple(keys.index(key) for key in self.keys)

    def mismatch(self, given: Sequence[str]) -> str | None:
        """The one name of a case that is not the one name of the model, if both have one."""
        if self.n != 1 or len(given) != 1 or not self.are_named or not are_names(given):
            return None
        return given[0] if channel_key(given[0]) != self.keys[0] else None

    def _difference(
        self, given: Sequence[str], whose: str, lacking: Iterable[str], unknown: Iterable[str], twice: Sequence[str]
    ) -> str:
        parts = [
            *(f"{name} is missing" for name in lacking),
            *(f"the model knows no {name}" for name in unknown),
            *([f"{' and '.join(twice)} are one channel"] if twice else []),
        ]
        channels = f"channel{'' if len(given) == 1 else 's'}"
        return (
            f"{whose} has {len(given)} {channels} ({', '.join(given)}), but the model has {self}: {'; '.join(parts)}. "
            "Call them as the model does."
        )
