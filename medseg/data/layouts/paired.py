"""A folder of images and a folder of label maps that pair by name: images/ + labels/ (masks/, imagesTr/ + labelsTr/ …).

Stems are equal, or images carry a channel suffix (case_0000, case-t1), or label maps a telling one (case_mask).
An image may be the folder of a DICOM series, a label map a DICOM SEG or RTSTRUCT, or a folder of masks. Nothing names
the labels here: that takes a look at the maps.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import Case, Dataset, LabelSource, listed, natural_key, safe_id
from medseg.data.layouts.ambiguity import Candidates, refuse, refuse_unclear
from medseg.data.layouts.channels import names_by_looking, numbered_names
from medseg.data.layouts.numbers import paired_by_number
from medseg.data.layouts.pairing import Channels, Pairing, pair
from medseg.data.layouts.sources import label_source
from medseg.data.layouts.unread import refuse_if_all_unread, unread_label
from medseg.data.scans import (
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    NAMED,
    NUMBERED,
    TEST_FOLDER,
    Scans,
    by_channel,
    deeper_note,
    folders_named,
    hidden_note,
    scans_in,
    stem_of,
    test_folder,
)
from medseg.io.listing import listing

__all__ = ["open_folder", "recognises"]

_LABEL_SUFFIX = re.compile(
    r"[-_. ](seg|segmentation|label|labels|mask|masks|gt|anno|annotation|groundtruth|ground_truth)$", re.IGNORECASE
)
"""What tells a label map's name from its image's, where folders alone did not seem enough."""


_IMAGE_WORDS = frozenset(("image", "images", "img", "imgs", "input", "inputs", "scans", "cxr", "xray", "xrays"))
_LABEL_WORDS = frozenset(
    ("label", "labels", "mask", "masks", "groundtruth", "gt", "annotation", "annotations", "segmentation", "manual")
)
"""Words of the names of folders where none has a usual name: …_Training_Input, …_Training_GroundTruth."""


def recognises(root: Path) -> str | None:
    """Why `root` is a pair of folders, or None."""
    images, labels = _pair_of_folders(root)
    if not images or not labels:
        return None
    return f"there are the folders {images[0].name} and {labels[0].name}"


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`.

    Raises:
        InputError: There is no folder of images or none of label maps.
        AmbiguousError: More than one folder, or more than one file, could be meant, or names pair in two ways.
    """
    image_folders, label_folders = map(_that_hold_something, _pair_of_folders(root))
    if not image_folders or not label_folders:
        names = LABEL_FOLDERS if image_folders else IMAGE_FOLDERS
        raise InputError(f"{root} has no folder called {', '.join(names[:-1])} or {names[-1]}.")
    images, labels = scans_in(image_folders[0], keep_twins=True), scans_in(label_folders[0], keep_twins=True)
    label_of = _label_maps(labels, images)
    _refuse_two_folders(root, image_folders, label_folders)
    by_case, suffixes = _by_case(root, images, label_of)
    _refuse_twins(root, images, by_case, label_of, suffixes)
    paired = pair(by_case, {name: sources[0] for name, sources in label_of.items()}, suffixes, _foreign(images))
    _add_unread_labels(paired, labels)
    refuse_if_all_unread(root, len(paired.cases), paired.problems)
    if suffixes == [""]:
        channels = names_by_looking([case.images for case in (*paired.cases, *paired.unlabelled)], options)
    elif all(suffix.isdecimal() for suffix in suffixes):
        channels = numbered_names(len(suffixes))
    else:
        channels = tuple(suffixes)
    tests = test_folder(root)
    in_test = [Case(safe_id(stem), (path,), attributes={"split": "test"}) for stem, path in tests.paths.items()]
    return Dataset(
        root=root,
        layout="paired",
        cases=tuple(paired.cases),
        labels=None,
        channels=channels,
        unlabelled=(*paired.unlabelled, *(in_test if suffixes == [""] else ())),
        problems=tuple(paired.problems),
        notes=(
            *_number_note(images, label_of),
            *paired.notes,
            *_unused_note(images, by_case),
            *deeper_note(images, tests),
            *hidden_note(images, labels, tests),
        ),
    )


def _pair_of_folders(root: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The folders that may hold the images, and those that may hold the label maps."""
    images, labels = folders_named(root, IMAGE_FOLDERS), folders_named(root, LABEL_FOLDERS)
    if images and labels:
        return images, labels
    folders = [path for path in listing(root).folders if path.name.lower() not in (TEST_FOLDER, "labelsts")]
    named = [(path, _words(path.name)) for path in folders]
    by_word = tuple(path for path, words in named if words & _IMAGE_WORDS and not words & _LABEL_WORDS)
    labels_by_word = tuple(path for path, words in named if words & _LABEL_WORDS and not words & _IMAGE_WORDS)
    images, labels = images or by_word, labels or labels_by_word
    return (images, labels) if len(images) == len(labels) == 1 else ((), ())


def _words(name: str) -> set[str]:
    """The words of a folder's name, in lower case; also two that stand together ("Ground Truth")."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    return {*words, *(one + other for one, other in pairwise(words))}


def _that_hold_something(folders: Sequence[Path]) -> tuple[Path, ...]:
    """The folders that hold something; if none does, all of them."""
    inside = [listing(folder) for folder in folders]
    return tuple(each.folder for each in inside if each.files or each.folders) or tuple(folders)


def _refuse_two_folders(root: Path, image_folders: tuple[Path, ...], label_folders: tuple[Path, ...]) -> None:
    """Refuse where more than one folder could be meant, with the cases of each pair of folders."""
    found: list[tuple[str, Case]] = []
    for images in (scans_in(folder, keep_twins=True) for folder in image_folders):
        for labels in (scans_in(folder, keep_twins=True) for folder in label_folders):
            for name, sources in _label_maps(labels, images).items():
                if name in images.paths:
                    found.append((name, Case(safe_id(name), (images.paths[name],), sources[0])))
    chosen = dict(reversed(found))
    others = [case for name, case in found if case is not chosen[name]]
    for folders in (image_folders, label_folders):
        if len(folders) > 1:
            names = " and ".join(folder.name for folder in folders)
            refuse(f"{root} holds {names}; only one can be meant.", root, chosen.values(), others)


def _label_maps(labels: Scans, images: Scans) -> dict[str, list[LabelSource]]:
    """What could be the label map of a case, by its name: case_mask is case where no image is called case_mask."""
    paths = {**labels.paths, **{path.name: path for path in listing(labels.folder).folders}}
    found: dict[str, list[LabelSource]] = {}
    for stem in sorted(paths, key=natural_key):
        name = stem if stem in images.paths else _LABEL_SUFFIX.sub("", stem)
        source = label_source(paths[stem])
        if isinstance(source, Mapping) or io.kind_of(source) is not None:
            found.setdefault(name, []).extend([source, *labels.twins.get(stem, ())])
    image_of = _by_number(images, found)
    return {image_of.get(name, name): sources for name, sources in found.items()}


def _by_number(images: Scans, label_of: Collection[str]) -> Mapping[str, str]:
    """Label name → image name, where no name of a label map is that of an image and they share a number alone."""
    bases = [by_channel(images.paths, pattern).keys() for pattern in (NUMBERED, NAMED)]
    if any(name in images.paths or any(name in each for each in bases) for name in label_of):
        return {}
    ways = (paired_by_number(names, label_of) for names in (images.paths.keys(), *bases) if names)
    return next((way for way in ways if way), {})


def _number_note(images: Scans, label_of: Mapping[str, Sequence[LabelSource]]) -> tuple[str, ...]:
    """How images and label maps were paired, where their names differ in more than a word for label maps."""
    for name, sources in label_of.items():
        source = sources[0]
        if not isinstance(source, Path) or name == stem_of(source) or name == _LABEL_SUFFIX.sub("", stem_of(source)):
            continue
        image = images.paths.get(name)
        called = image.name if image else name
        return (f"Images and label maps were paired by the numbers in their names: {called} with {source.name}.",)
    return ()


def _unused_note(images: Scans, by_case: Mapping[str, Channels]) -> tuple[str, ...]:
    """The note on images that no case has by name: beside case_t1 and case_t2 one called other, or x_pd."""
    used = {path for files in by_case.values() for path in files.values()}
    left = [path.name for path in images.paths.values() if path not in used]
    if not left:
        return ()
    are = "1 image belongs" if len(left) == 1 else f"{len(left)} images belong"
    return (f"{are} to no case by name and {'was' if len(left) == 1 else 'were'} left out: {listed(left)}.",)


def _foreign(images: Scans) -> dict[str, dict[str, Path]]:
    """The files that medseg does not read by case and channel suffix, in each way that names can be understood."""
    found: dict[str, dict[str, Path]] = {stem: {"": path} for stem, path in images.foreign.items()}
    for pattern in (NAMED, NUMBERED):
        for name, stems in by_channel(images.foreign, pattern).items():
            found.setdefault(name, {}).update({suffix: images.foreign[stem] for suffix, stem in stems.items()})
    return found


def _add_unread_labels(paired: Pairing, labels: Scans) -> None:
    """Images whose label map is there in another format are bad cases, not images without a label map."""
    foreign = {_LABEL_SUFFIX.sub("", stem): path for stem, path in labels.foreign.items()} | dict(labels.foreign)
    unread = {case.id: (case, foreign[case.id]) for case in paired.unlabelled if case.id in foreign}
    paired.unlabelled = [case for case in paired.unlabelled if case.id not in unread]
    paired.problems += [unread_label(name, path, case.images) for name, (case, path) in unread.items()]


def _by_case(
    root: Path, images: Scans, label_of: Mapping[str, Sequence[LabelSource]]
) -> tuple[dict[str, Channels], list[str]]:
    """The files of each case by channel suffix, and the suffixes in channel order."""
    plain = [name for name in label_of if name in images.paths]
    every = {**images.foreign, **images.paths}
    numbered, named = by_channel(every, NUMBERED), by_channel(every, NAMED)
    way, found = max((("_0000", numbered), ("-t1", named)), key=lambda pair: len(pair[1].keys() & label_of.keys()))
    by_case = {
        name: {suffix: images.paths[stem] for suffix, stem in found[name].items() if stem in images.paths}
        for name in found
    }
    with_suffix = [name for name in label_of if by_case.get(name) and name not in images.paths]
    if plain and with_suffix:
        files = {**by_case, **{name: {"": images.paths[name]} for name in plain}}
        candidates = _candidates(files, label_of)
        rows = [Case(each.id, (next(iter(each.images.values()))[0],), each.labels[0]) for each in candidates]
        rest = [(each, path) for each in candidates for paths in [*each.images.values()][1:] for path in paths]
        refuse(
            f"{images.folder} pairs in two ways: {images.paths[plain[0]].name} is named as its label map, but "
            f"{with_suffix[0]} has files with channel suffixes (as {way}).",
            root,
            rows,
            [Case(each.id, (path,), each.labels[0]) for each, path in rest],
        )
    if not with_suffix:
        return {stem: {"": path} for stem, path in images.paths.items()}, [""]
    carried = Counter(suffix for name in with_suffix for suffix in found[name])
    # One odd file (case_old) must not make every other case incomplete.
    suffixes = sorted((s for s, n in carried.items() if 2 * n > len(with_suffix)), key=natural_key)
    n_without_surplus = sum(set(found[name]) <= set(suffixes) for name in with_suffix)
    if not suffixes or (2 * n_without_surplus < len(with_suffix)):
        refuse_unclear(root, _candidates({name: by_case[name] for name in with_suffix}, label_of), None)
    return {name: files for name, files in by_case.items() if name in label_of or set(files) & set(suffixes)}, suffixes


def _candidates(
    by_case: Mapping[str, Channels],
    label_of: Mapping[str, Sequence[LabelSource]],
    twins: Mapping[str, Sequence[Path]] | None = None,
) -> list[Candidates]:
    """The cases with a label map, and all files that could be meant for each."""
    twins = twins or {}
    return [
        Candidates(
            safe_id(name),
            {suffix: [path, *twins.get(stem_of(path), ())] for suffix, path in by_case[name].items()},
            label_of[name],
        )
        for name in sorted(by_case.keys() & label_of.keys(), key=natural_key)
    ]


def _refuse_twins(
    root: Path,
    images: Scans,
    by_case: Mapping[str, Channels],
    label_of: Mapping[str, Sequence[LabelSource]],
    suffixes: Sequence[str],
) -> None:
    """Refuse where a case has two files of one stem, or two label maps."""
    candidates = _candidates(by_case, label_of, images.twins)
    if not all(each.is_clear for each in candidates):
        refuse_unclear(root, candidates, None if suffixes == [""] else suffixes)
