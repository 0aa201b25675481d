"""What a label map can be on disk besides one file: a folder of masks, one a structure, or of one DICOM object.

Structures are called as their files are, less what only says whose masks they are (the case before, "_mask" behind).
Names are looked at; a DICOM file is told by its first bytes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from medseg import io
from medseg.data.dataset import LabelSource
from medseg.data.scans import scans_in, stem_of
from medseg.io.listing import is_folder

__all__ = ["is_mask", "label_source", "looks_like_mask", "structure_names", "without_mask_word"]

_WORDS = (
    "seg|segs|segmentation|segmentations|label|labels|labelmap|mask|masks|dseg|gt|groundtruth|annotation|annotations|"
    "anno|annot|manual[0-9]?"
)

_MASK_SUFFIX = re.compile(rf"[-_. ]({_WORDS})$", re.IGNORECASE)
_MASK_PREFIX = re.compile(rf"^({_WORDS})[-_. ]", re.IGNORECASE)
_MASK_ALONE = re.compile(rf"^({_WORDS})$", re.IGNORECASE)

_SEGMENTATION_SUFFIX = ".seg.nrrd"

_BEGINS = ("seg", "label", "mask")
_ENDS = ("seg", "segmentation", "label", "labels", "mask", "masks", "dseg", "labelmap")
_WHOLE = ("gt", "groundtruth", "annotation", "annotations", "anno", "annot", "manual")
"""How a word of a mask's name begins, ends, or is whole: "liverMask" is one, "dataset" and "unmasked" are none."""

_OF_IMAGES = ("masked", "masking")
"""Words that begin so, and say something else: a scan that was masked is a scan."""


def label_source(path: Path) -> LabelSource:
    """What a path that is given as a label stands for: a folder of masks is each of them by its name."""
    if not is_folder(path):
        return path
    scans = scans_in(path)
    kinds = {name: io.kind_of(each) for name, each in scans.paths.items()}
    if kinds and "dicom" not in kinds.values():
        names = structure_names(list(scans.paths), path.parent.name, path.name)
        return dict(zip(names, scans.paths.values(), strict=True))
    files = [each for each in scans.paths.values() if each.is_file()]
    return files[0] if len(files) == 1 == len(kinds) else path


def structure_names(stems: Sequence[str], *owners: str) -> tuple[str, ...]:
    """Names of structures from the names of their files: without the name of the case, and "_mask" if all have it.

    >>> structure_names(["p1_liver_mask", "p1_left kidney_mask"], "p1")
    ('liver', 'left kidney')
    """
    names = list(stems)
    for owner in owners:
        if all(name.startswith(owner) and name[len(owner) : len(owner) + 1] in ("-", "_", ".", " ") for name in names):
            names = [name[len(owner) + 1 :] for name in names]
    bare = [without_mask_word(name) for name in names]
    return tuple(bare if all(bare) and len(set(bare)) == len(bare) else names)


def is_mask(path: Path) -> bool:
    """Whether a file is a label map by its name: its suffix is Slicer's for segmentations, or a word of it says so."""
    return path.name.lower().endswith(_SEGMENTATION_SUFFIX) or looks_like_mask(stem_of(path))


def looks_like_mask(stem: str) -> bool:
    """Whether a file's name says that it is a label map.

    >>> [looks_like_mask(name) for name in ("ct_seg", "liverMask", "dataset", "unmasked", "ct_masked", "seg_1")]
    [True, True, False, False, False, True]
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", stem)]
    return any(
        (word.startswith(_BEGINS) and word not in _OF_IMAGES) or word.endswith(_ENDS) or word in _WHOLE
        for word in words
    )


def without_mask_word(stem: str) -> str:
    """A name without the word that says that it is a label map, "" if there is nothing else.

    >>> without_mask_word("case_1_seg"), without_mask_word("mask-7"), without_mask_word("segmentation")
    ('case_1', '7', '')
    """
    if _MASK_ALONE.match(stem):
        return ""
    return _MASK_PREFIX.sub("", stem) if not _MASK_SUFFIX.search(stem) else _MASK_SUFFIX.sub("", stem)
