"""Names that share a number and nothing else: 21_training.tif and 21_manual1.gif, img_001.png and mask_001.png.

Each name is reduced to what sets it apart from the others of its side; two names belong together where that is the same
and no other name has it. Where it is not so for most of the label maps, nothing is paired. The module knows texts.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

__all__ = ["paired_by_number"]

_JOINTS = "-_. ()"


def paired_by_number(images: Collection[str], labels: Collection[str]) -> Mapping[str, str]:
    """Label name → image name, for names that have nothing but a number in common; empty where that is in doubt.

    >>> paired_by_number(["21_training", "22_training"], ["21_manual1", "22_manual1"])
    {'21_manual1': '21_training', '22_manual1': '22_training'}
    """
    image_of = _by_key(images)
    if len(labels) == 1:
        (label,) = labels
        return _pair_of_one(label, image_of if len(images) > 1 else {number: i for i in images for number in _of(i)})
    label_of = _by_key(labels)
    if len(image_of) == len(images) and len(label_of) == len(labels):
        pairs = {label: image_of[key] for key, label in label_of.items() if key in image_of}
        if 2 * len(pairs) > len(labels):
            return pairs
    return next(filter(None, (_by_one_number(images, labels, place) for place in (0, -1))), {})


def _by_one_number(images: Collection[str], labels: Collection[str], place: int) -> dict[str, str]:
    """Pairs by the first (0) or the last (-1) number of each name, where every label map has one image and no twin.

    One odd name among hundreds leaves nothing that all names have in common.
    """
    numbered = [{name: _of(name)[place] for name in names if _of(name)} for names in (images, labels)]
    if any(len(set(each.values())) < len(each) for each in numbered):
        return {}
    image_of = {number: name for name, number in numbered[0].items()}
    pairs = {label: image_of[number] for label, number in numbered[1].items() if number in image_of}
    return pairs if len(pairs) == len(labels) else {}


def _pair_of_one(label: str, image_of: Mapping[str, str]) -> dict[str, str]:
    found = {image_of[number] for number in _of(label) if number in image_of}
    return {label: found.pop()} if len(found) == 1 else {}


def _of(name: str) -> list[str]:
    """The numbers in a name, without leading zeros."""
    return [_plain(part) for part in re.findall(r"[0-9]+", name)]


def _by_key(names: Collection[str]) -> dict[str, str]:
    """What sets each name apart, with a number in it → the name; names that share a key are left out."""
    parts = [re.findall(r"[0-9]+|[^0-9]+", name) for name in names]
    start, end = _n_common(parts), _n_common([each[::-1] for each in parts])
    keys = ["".join(map(_plain, each[start : len(each) - end])).strip(_JOINTS) for each in parts]
    counts = Counter(keys)
    return {key: name for key, name in zip(keys, names, strict=True) if counts[key] == 1 and re.search(r"[0-9]", key)}


def _n_common(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all names begin with, at least one part less than the shortest has."""
    n = 0
    for same in zip(*parts, strict=False):
        if len(set(same)) > 1:
            break
        n += 1
    return min(n, min(map(len, parts), default=1) - 1)


def _plain(part: str) -> str:
    return part.lstrip("0") or "0" if part.isdecimal() else part.lower()
