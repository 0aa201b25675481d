"""Which channels a data set has, where nothing declares them: what most cases have, and names from a first look."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.io.kinds import PICTURES

__all__ = ["channels_of_most", "names_by_looking", "numbered_names"]

_LOOKS = 5
"""So many files are tried: one damaged file must not decide, a hundred of them will be listed when they are read."""


def channels_of_most(keys: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The channels that most cases have, by the names of their files.

    ("",) where each case has one image and they are called differently; None where no set of names has a majority.

    >>> channels_of_most([("t1", "t2"), ("t1", "t2"), ("t1",)]), channels_of_most([("a",), ("b",)])
    (('t1', 't2'), ('',))
    """
    if all(len(each) == 1 for each in keys) and len(set(keys)) > 1:
        return ("",)
    ((channels, n), *_) = Counter(keys).most_common(1)
    return channels if 2 * n > len(keys) else None


def names_by_looking(images_by_case: Sequence[Sequence[Path]], options: io.ReadOptions) -> tuple[str, ...]:
    """("image",) for one channel, red, green and blue for colour pictures, else "channel 0", …."""
    for images in images_by_case[:_LOOKS]:
        if len(images) > 1:
            return numbered_names(len(images))
        try:
            n_channels = io.read_geometry(images[0], options)[1]
        except InputError:
            continue
        is_colour = n_channels == 3 and io.kind_of(images[0]) in PICTURES
        return ("red", "green", "blue") if is_colour else numbered_names(n_channels)
    return ("image",)


def numbered_names(n_channels: int) -> tuple[str, ...]:
    """("image",), or "channel 0" … where there are more."""
    return ("image",) if n_channels == 1 else tuple(f"channel {number}" for number in range(n_channels))
