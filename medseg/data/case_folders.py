"""The images in a tree of folders, as data sets with a folder a case have them: with masks beside them, or without.

Who predicts wants the images; label maps, told by their names and those of their folders, are left out and counted.
A folder with a description of its own (a data set, a run, predictions) is none of these. Names are looked at.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg import io
from medseg.data.channel_order import are_names
from medseg.data.dataset import natural_key
from medseg.data.layouts.declaration import DECLARATION
from medseg.data.layouts.sources import is_mask
from medseg.data.scans import Scans, is_label_folder, scans_in
from medseg.io.listing import listing

__all__ = ["ImageFolder", "channels_of", "image_folders"]

_DEEPEST = 6
"""So many folders below the one that is given are looked into."""

_DESCRIBED = (DECLARATION, "plan.json", "model.json", "predictions.json")


@dataclass(frozen=True)
class ImageFolder:
    """What lies in one folder of a tree.

    Attributes:
        folder: The folder.
        files: Its images, by stem; DICOM is not among them.
        series: Its folders and archives of DICOM series.
        masks: Files that are label maps by their names.
    """

    folder: Path
    files: Scans
    series: tuple[Path, ...]
    masks: tuple[Path, ...]


def image_folders(root: Path) -> Iterator[ImageFolder]:
    """The folders with scans in `root` and below, in natural order; not below one that holds images itself."""
    yield from _below(root, root, 0)


def channels_of(tree: Sequence[ImageFolder], root: Path) -> tuple[str, ...]:
    """What the files of each folder of a tree are called besides what they have in common, if that is the same in all.

    Empty where folders hold one file each, or different ones, and for files of the root itself.
    """
    inner = [each for each in tree if each.folder != root and each.files.paths]
    keys = {_ends(list(each.files.paths)) for each in inner}
    (names,) = keys if len(keys) == 1 else ((),)
    return names if len(inner) > 1 and len(names) > 1 and are_names(names) else ()


def _ends(stems: Sequence[str]) -> tuple[str, ...]:
    """The names without what they have in common up to a joint, in natural order.

    >>> _ends(["p_1_t1", "p_1_t1ce", "p_1_t2"]), _ends(["t1", "t2"])
    (('t1', 't1ce', 't2'), ('t1', 't2'))
    """
    pieces = [re.split(r"(?<=[-_. ])", stem) for stem in stems]
    n_common = next((n for n, same in enumerate(zip(*pieces, strict=False)) if len(set(same)) > 1), 0)
    return tuple(sorted(("".join(each[n_common:]) for each in pieces), key=natural_key))


def _below(folder: Path, root: Path, depth: int) -> Iterator[ImageFolder]:
    inside = listing(folder)
    if folder != root and any(path.name in _DESCRIBED for path in inside.files):
        return
    scans = scans_in(folder)
    masks = tuple(path for path in scans.paths.values() if path.is_file() and is_mask(path))
    series = tuple(path for path in scans.paths.values() if path not in masks and io.kind_of(path) == "dicom")
    files = {stem: path for stem, path in scans.paths.items() if path not in masks and path not in series}
    if files or series or masks:
        yield ImageFolder(folder, replace(scans, paths=files), series, masks)
    if files or depth >= _DEEPEST:
        return
    for each in sorted(inside.folders, key=lambda path: natural_key(path.name)):
        if each not in series and not is_label_folder(each):
            yield from _below(each, root, depth + 1)
