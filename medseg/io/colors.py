"""Which colour a label is shown in, the same in every format that has colours for labels.

What is declared of a label goes first, then what the table of structures recommends for its name, then its place in the
data set, in the palette that pictures have. The module knows no file.
"""

from collections.abc import Iterable

from medseg.core.volume import LabelMap
from medseg.io.codes import MEANINGS, RGB, Meaning, meaning_of
from medseg.io.raster import palette

__all__ = ["colors_of", "meanings_of"]


def meanings_of(label_map: LabelMap, names: Iterable[str]) -> dict[str, Meaning]:
    """What each name stands for: as the label map knows it, else as its name says."""
    known: dict[str, Meaning] = dict(label_map.meta.header.get(MEANINGS, {}))
    return {name: known.get(name) or meaning_of(name) for name in names}


def colors_of(label_map: LabelMap, names: Iterable[str]) -> dict[str, RGB]:
    """The colour of each name, in their order."""
    fallback, found = palette(), dict[str, RGB]()
    for number, (name, meaning) in enumerate(meanings_of(label_map, names).items()):
        red, green, blue = (int(part) for part in fallback[number % 255 + 1])
        found[name] = meaning.color or meaning_of(name).color or (red, green, blue)
    return found
