"""What a `dataset.json` declares: channels and labels, in the Decathlon's and in nnU-Net's way of writing them.

The two dialects mix in the wild (an MSD list with nnU-Net's labels), so each part is understood in both. Keys that
nobody asks for are left alone. The module knows the one file and no scan.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.data.dataset import shortened, whole_number
from medseg.io import files
from medseg.io.listing import is_regular

__all__ = ["DECLARATION", "channel_names", "labels", "read_declaration"]

DECLARATION = "dataset.json"
_BACKGROUND, _IGNORE = "background", "ignore"


def read_declaration(root: Path) -> Mapping[str, Any] | None:
    """The content of `root/dataset.json`, or None where there is no such file.

    Raises:
        InputError: The file is no JSON object; the message names the line.
    """
    path = root / DECLARATION
    if not is_regular(path):
        return None
    declared = files.read_json(path, "the data set's description")
    if not isinstance(declared, Mapping):
        raise InputError(f"{path} must hold one JSON object {{…}}, but holds a {type(declared).__name__}.")
    return declared


def channel_names(declared: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The names under "channel_names" or "modality", in order; empty where the file declares none.

    Raises:
        InputError: They are neither a list nor numbered 0, 1, ….
    """
    key = "channel_names" if "channel_names" in declared else "modality"
    names = declared.get(key, {})
    if isinstance(names, str):
        names = [names]
    if isinstance(names, list):
        return tuple(map(str, names))
    if not isinstance(names, Mapping) or sorted(names) != sorted(map(str, range(len(names)))):
        raise InputError(f'{path}: "{key}" must number the channels from 0, as in {{"0": "FLAIR", "1": "T1"}}.')
    return tuple(str(names[str(number)]) for number in range(len(names)))


def labels(declared: Mapping[str, Any], path: Path) -> Labels | None:
    """The labels, whether written {"1": "liver"} or {"liver": 1, "whole": [1, 2], "ignore": 3}; None if undeclared.

    Raises:
        InputError: A value is no whole number, a name occurs twice, or nothing but background is declared.
    """
    entries = declared.get("labels")
    if entries is None:
        return None
    if not isinstance(entries, Mapping):
        raise InputError(f'{path}: "labels" must be an object, as in {{"background": 0, "liver": 1}}.')
    values: dict[str, tuple[int, ...]] = {}
    ignore: int | None = None
    for key, entry in entries.items():
        name, numbers = (str(entry), [key]) if _is_msd(key, entry) else (str(key), entry)
        whole = _whole_numbers(numbers, name, path)
        if name.lower() == _IGNORE and len(whole) == 1:
            ignore = whole[0]
        elif whole != (0,) and name.lower() != _BACKGROUND:
            if name in values:
                raise InputError(f"{path}: the label name '{name}' stands for {values[name]} and for {whole}.")
            values[name] = whole
    if not values:
        raise InputError(f'{path}: "labels" declares nothing but background; there is nothing to learn.')
    try:
        return Labels(values, ignore)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_msd(key: str, entry: object) -> bool:
    return key.isdecimal() and isinstance(entry, str) and not entry.isdecimal()


def _whole_numbers(numbers: object, name: str, path: Path) -> tuple[int, ...]:
    listed = numbers if isinstance(numbers, list) else [numbers]
    whole = [whole_number(str(n)) for n in listed if isinstance(n, int | str) and not isinstance(n, bool)]
    found = tuple(number for number in whole if number is not None)
    if not listed or len(found) != len(listed):
        raise InputError(
            f"{path}: label '{shortened(name)}' has the value {shortened(repr(numbers))}; it must be a whole number, "
            "or a list of them."
        )
    return found
