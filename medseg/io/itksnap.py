"""A label description file for ITK-SNAP: names and colours of the values of a label map in a format without them.

ITK-SNAP opens it by Segmentation → Import Label Descriptions. A value that carries several names has them all.
"""

import re
from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.io.colors import colors_of
from medseg.io.files import write_text
from medseg.io.kinds import stem
from medseg.io.names import unique_names

__all__ = ["described_labels", "description_of", "label_description", "write_label_description"]

_JOINT = " + "
"""Between the names of a value that carries several."""

_LINE = re.compile(r'\s*(\d{1,5})(?:\s+[\d.]+){6}\s+"(.*)"\s*')

_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Where the fields are:
#   IDX:   Zero-based index
#   -R-:   Red color component (0..255)
#   -G-:   Green color component (0..255)
#   -B-:   Blue color component (0..255)
#   -A-:   Label transparency (0.00 .. 1.00)
#   VIS:   Label visibility (0 or 1)
#   IDX:   Label mesh visibility (0 or 1)
#   LABEL: Label description
################################################
"""


def description_of(mask: Path) -> Path:
    """Where the description of a mask's labels lies: beside it."""
    return mask.with_name(f"{stem(mask)}.labels.txt")


def described_labels(mask: Path) -> Labels | None:
    """What a mask's values mean by the description beside it; None where there is none, or something else."""
    try:
        lines = description_of(mask).read_text(encoding="utf-8").splitlines()
        found: dict[str, tuple[int, ...]] = {}
        for match in filter(None, map(_LINE.fullmatch, lines)):
            for name in match[2].split(_JOINT) if int(match[1]) else ():
                found[name] = (*found.get(name, ()), int(match[1]))
        return Labels(found) if found else None
    except (OSError, ValueError, InputError):
        return None


def write_label_description(label_map: LabelMap, labels: Labels, path: Path) -> None:
    """Write the names of a label map's values beside it.

    Raises:
        MachineError: The disk is full or cannot be written to.
    """
    write_text(path, label_description(label_map, labels))


def label_description(label_map: LabelMap, labels: Labels) -> str:
    """The text of the file: a line a value, background first."""
    colors = colors_of(label_map, labels.names)
    lines = [_line(0, (0, 0, 0), "Clear Label", seen=False)]
    for value in labels.classes[1:]:
        holders = sorted((name for name in labels.names if value in labels.values[name]), key=labels.names.index)
        names = unique_names([_JOINT.join(holders).replace('"', "'")])
        # The narrowest of several names gives the colour: a tumour is seen inside its organ.
        narrowest = min(holders, key=lambda name: len(labels.values[name]))
        lines.append(_line(value, colors[narrowest], *names.values()))
    return _HEAD + "".join(lines)


def _line(value: int, color: tuple[int, int, int], name: str, *, seen: bool = True) -> str:
    red, green, blue = color
    return f'{value:5} {red:5} {green:4} {blue:4} {int(seen):8} {int(seen):2} {int(seen):2}    "{name}"\n'
