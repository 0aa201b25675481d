"""What a folder holds, by name: scans by their stem, and the channel suffixes that stems carry.

A scan is a file that `io.kind_of` knows, or a folder that is a DICOM series. Dot-files (`._*`, `.DS_Store`) are skipped
and counted. Nothing is read here beyond what telling a DICOM file takes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import listed, natural_key
from medseg.data.leftovers import foreign_files
from medseg.io.foreign import foreign_stem, is_image_format
from medseg.io.listing import is_folder, listing

__all__ = [
    "Scans",
    "by_channel",
    "deeper_note",
    "hidden_note",
    "is_image_folder",
    "is_label_folder",
    "scans_in",
    "stem_of",
    "test_folder",
]

NUMBERED = re.compile(r"^(?P<base>.+)_(?P<channel>[0-9]{4})$")
"""nnU-Net's way to name the files of a case: case_0000, case_0001."""

NAMED = re.compile(r"^(?P<base>.+)[-_](?P<channel>[A-Za-z][A-Za-z0-9]*)$")
"""The other way: case-t1, case-flair, case_pet."""

IMAGE_FOLDERS = ("images", "imagestr", "image", "imgs", "img", "scans")
LABEL_FOLDERS = (
    *("labels", "labelstr", "label", "1st_manual", "2nd_manual", "manual", "manual1", "manual2", "masks", "mask"),
    *("segmentations", "segmentation", "annotations", "annotation", "groundtruth", "ground_truth", "groundtruths"),
    *("ground truth", "gt", "gts"),
)
_SKIPPED_FOLDERS = (*LABEL_FOLDERS, "labelsts", "predictions")
TEST_FOLDER = "imagests"
"""Folder names in lower case, as they are compared."""


@dataclass(frozen=True)
class Scans:
    """The scans of one folder: `paths` by stem in natural order, and how many dot-files were skipped.

    `twins` are further scans of a stem that is in `paths` (a.nii.gz beside a.nii), if they were asked for. `foreign`
    are files by stem that medseg does not read (or that end otherwise than was asked for), where no scan has the stem.
    """

    folder: Path
    paths: Mapping[str, Path]
    n_hidden: int = 0
    twins: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    foreign: Mapping[str, Path] = field(default_factory=dict)


def scans_in(folder: Path, ending: str | None = None, keep_twins: bool = False) -> Scans:
    """The scans that lie in `folder`, not deeper; with `ending` only files that end so.

    Raises:
        InputError: Two scans have one stem (a.nii and a.nii.gz), and twins are not to be kept.
    """
    found: dict[str, Path] = {}
    twins: dict[str, tuple[Path, ...]] = {}
    inside = listing(folder)
    for path in sorted((*inside.files, *inside.folders), key=lambda path: natural_key(path.name)):
        if (path.name.endswith(ending) and path.is_file()) if ending else io.kind_of(path) is not None:
            name = path.name[: -len(ending)] if ending else stem_of(path)
            twin = found.setdefault(name, path)
            if twin is not path and keep_twins:
                twins[name] = (*twins.get(name, ()), path)
            elif twin is not path:
                raise InputError(f"{folder} holds both {twin.name} and {path.name}: keep the one that is meant.")
    others = {foreign_stem(path): path for path in foreign_files(inside)}
    if ending:
        others |= {stem_of(path): path for path in inside.files if io.kind_of(path) and not path.name.endswith(ending)}
    foreign = {stem: path for stem, path in others.items() if stem not in found}
    return Scans(folder, found, inside.n_hidden, twins, foreign)


def stem_of(path: Path) -> str:
    """The name of a scan: a file's without its suffixes, a folder's whole."""
    if is_folder(path):
        return path.name
    stem = io.stem(path)
    return foreign_stem(path) if stem == path.name and is_image_format(path) else stem


def by_channel(stems: Iterable[str], pattern: re.Pattern[str]) -> dict[str, dict[str, str]]:
    """By base, {channel suffix: stem} for the stems that carry a suffix of `pattern`.

    >>> by_channel(["a_0000", "a_0001", "b"], NUMBERED)
    {'a': {'0000': 'a_0000', '0001': 'a_0001'}}
    """
    found: dict[str, dict[str, str]] = {}
    for stem in stems:
        match = pattern.match(stem)
        if match:
            found.setdefault(match["base"], {})[match["channel"]] = stem
    return found


def folders_named(root: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """The folders in `root` with one of these names, whatever their case, in the order of `names`."""
    by_name: dict[str, list[Path]] = {}
    for path in listing(root).folders:
        by_name.setdefault(path.name.lower(), []).append(path)
    return tuple(path for name in names for path in by_name.get(name, []))


def test_folder(root: Path) -> Scans:
    """The images that a data set keeps for testing (imagesTs); empty where there are none."""
    folders = folders_named(root, (TEST_FOLDER,))
    return scans_in(folders[0]) if folders else Scans(root / "imagesTs", {})


def is_label_folder(path: Path) -> bool:
    """Whether a folder's name says that it holds label maps, which nobody wants to predict."""
    return path.name.lower() in _SKIPPED_FOLDERS


def is_image_folder(path: Path) -> bool:
    """Whether a folder's name says that it holds images, and not whose."""
    return path.name.lower() in (*IMAGE_FOLDERS, TEST_FOLDER)


def deeper_note(*scans: Scans) -> tuple[str, ...]:
    """The note on folders beside scans that hold scans themselves and were not looked into, if there are any."""
    deeper = [
        folder
        for each in scans
        for folder in listing(each.folder).folders
        if folder.name not in each.paths and any(io.kind_of(path) for path in listing(folder).files)
    ]
    if not deeper:
        return ()
    names = listed([f"{folder.parent.name}/{folder.name}" for folder in deeper])
    are = "1 folder that holds scans was" if len(deeper) == 1 else f"{len(deeper)} folders that hold scans were"
    return (f"{are} not looked into: {names}.",)


def hidden_note(*scans: Scans) -> tuple[str, ...]:
    """The note on dot-files that were skipped, if any."""
    n_hidden = sum(each.n_hidden for each in scans)
    return (f"{n_hidden} dot-files (such as ._name or .DS_Store) were skipped.",) if n_hidden else ()
