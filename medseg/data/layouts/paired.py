"""A folder of images and a folder of label maps that pair by name: images/ + labels/ (masks/, imagesTr/ + labelsTr/ …).

Stems are equal, or images carry a channel suffix (case_0000, case-t1), or label maps a telling one (case_mask). Nothing
names the labels here: that takes a look at the maps.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import Case, Dataset, natural_key, safe_id
from medseg.data.layouts.channels import names_by_looking, numbered_names
from medseg.data.layouts.pairing import Channels, pair
from medseg.data.scans import (
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    NAMED,
    NUMBERED,
    Scans,
    by_channel,
    folders_named,
    hidden_note,
    scans_in,
    test_folder,
)

__all__ = ["open_folder", "recognises"]

_LABEL_SUFFIX = re.compile(r"[-_.](seg|segmentation|label|labels|mask|masks|gt)$", re.IGNORECASE)
"""What tells a label map's name from its image's, where folders alone did not seem enough."""


def recognises(root: Path) -> str | None:
    """Why `root` is a pair of folders, or None."""
    images, labels = folders_named(root, IMAGE_FOLDERS), folders_named(root, LABEL_FOLDERS)
    if not images or not labels:
        return None
    return f"there are the folders {images[0].name} and {labels[0].name}"


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`.

    Raises:
        InputError: More than one folder could be the images or the label maps, or names pair in two ways.
    """
    images, labels = scans_in(_the_folder(root, IMAGE_FOLDERS)), scans_in(_the_folder(root, LABEL_FOLDERS))
    tests = test_folder(root)
    label_of = _without_suffix(labels, images)
    by_case, suffixes = _by_case(images, label_of)
    paired = pair(by_case, label_of, suffixes)
    if suffixes == [""]:
        channels = names_by_looking([case.images for case in (*paired.cases, *paired.unlabelled)], options)
    elif all(suffix.isdecimal() for suffix in suffixes):
        channels = numbered_names(len(suffixes))
    else:
        channels = tuple(suffixes)
    in_test = [Case(safe_id(stem), (path,), attributes={"split": "test"}) for stem, path in tests.paths.items()]
    return Dataset(
        root=root,
        layout="paired",
        cases=tuple(paired.cases),
        labels=None,
        channels=channels,
        unlabelled=(*paired.unlabelled, *(in_test if suffixes == [""] else ())),
        problems=tuple(paired.problems),
        notes=(*paired.notes, *hidden_note(images, labels, tests)),
    )


def _the_folder(root: Path, names: tuple[str, ...]) -> Path:
    folders = folders_named(root, names)
    if len(folders) == 1:
        return folders[0]
    if not folders:
        raise InputError(f"{root} has no folder called {', '.join(names[:-1])} or {names[-1]}.")
    raise InputError(
        f"{root} holds {' and '.join(folder.name for folder in folders)}; only one can be meant. "
        "Move the others out of the folder (links to the two that are meant will do)."
    )


def _without_suffix(labels: Scans, images: Scans) -> dict[str, Path]:
    """Label maps by the name of their case: case_mask is called case where no image is called case_mask."""
    return {stem if stem in images.paths else _LABEL_SUFFIX.sub("", stem): path for stem, path in labels.paths.items()}


def _by_case(images: Scans, label_of: Mapping[str, Path]) -> tuple[dict[str, Channels], list[str]]:
    """The files of each case by channel suffix, and the suffixes in channel order."""
    plain = [name for name in label_of if name in images.paths]
    numbered, named = by_channel(images.paths, NUMBERED), by_channel(images.paths, NAMED)
    way, found = max((("_0000", numbered), ("-t1", named)), key=lambda pair: len(pair[1].keys() & label_of.keys()))
    with_suffix = [name for name in label_of if name in found and name not in images.paths]
    if plain and with_suffix:
        raise InputError(
            f"{images.folder} pairs in two ways: {images.paths[plain[0]].name} is named as its label map, but "
            f"{with_suffix[0]} has files with channel suffixes (as {way}). Name them all in one way."
        )
    if not with_suffix:
        return {stem: {"": path} for stem, path in images.paths.items()}, [""]
    carried = Counter(suffix for name in with_suffix for suffix in found[name])
    # One odd file (case_old) must not make every other case incomplete.
    suffixes = sorted((s for s, n in carried.items() if 2 * n > len(with_suffix)), key=natural_key)
    by_case = {name: {suffix: images.paths[stem] for suffix, stem in found[name].items()} for name in found}
    return {name: files for name, files in by_case.items() if name in label_of or set(files) & set(suffixes)}, suffixes
