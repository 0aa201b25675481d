"""The Medical Segmentation Decathlon's layout: a `dataset.json` that lists its training pairs; 4-D files hold channels.

Read with the tolerance that copies in circulation need: a missing "./", files that were unpacked (.nii for .nii.gz),
nnU-Net v1's `_0000` files under the plain name, MONAI's lists of channel files and its "fold", a count that is wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg import io
from medseg.core.errors import InputError
from medseg.data.channel_order import order_of_files
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key, safe_id, shortened
from medseg.data.layouts import declaration
from medseg.data.layouts.channels import names_by_looking
from medseg.data.layouts.unread import refuse_if_all_unread, unread_channels, unread_label
from medseg.data.scans import (
    NAMED,
    NUMBERED,
    Scans,
    by_channel,
    deeper_note,
    hidden_note,
    scans_in,
    stem_of,
    test_folder,
)
from medseg.io.listing import exists

__all__ = ["open_folder", "recognises"]


def recognises(root: Path) -> str | None:
    """Why `root` is a Decathlon data set, or None."""
    declared = declaration.read_declaration(root)
    if declared is None:
        return None
    training = declared.get("training")
    if isinstance(training, list) and training:
        return f"{declaration.DECLARATION} lists {len(training)} training pairs"
    labels = declared.get("labels")
    if not (root / "imagesTr").is_dir():
        return None  # beside another layout, such a file only names its labels
    if isinstance(labels, Mapping) and labels and all(key.isdecimal() for key in labels):
        return f"{declaration.DECLARATION} names labels by value and lists no training pairs, so folders were paired"
    return None


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`.

    Raises:
        InputError: `dataset.json` is missing, damaged or contradicts itself.
    """
    declared = declaration.read_declaration(root)
    if declared is None:
        raise InputError(f"{root} has no {declaration.DECLARATION}, which an MSD data set needs.")
    path = root / declaration.DECLARATION
    finder = _Finder(root)
    channels = declaration.channel_names(declared, path)
    cases, unlabelled, problems = list[Case](), list[Case](), list[BadCase]()
    for entry in _training_entries(declared, root, path):
        found = _case(entry, finder)
        if isinstance(found, BadCase):
            problems.append(found)
        else:
            (cases if found.label else unlabelled).append(_ordered(found, channels))
    if not channels:
        channels = names_by_looking([case.images for case in cases], options)
    refuse_if_all_unread(root, len(cases), problems)
    n_listed = len(cases) + len(unlabelled) + len(problems)
    unlabelled += [
        *_unlisted(finder, [*cases, *unlabelled]),
        *(_ordered(case, channels) for case in _test_cases(declared, finder)),
    ]
    return Dataset(
        root=root,
        layout="msd",
        cases=_stacked(cases, channels),
        labels=declaration.labels(declared, path),
        channels=channels,
        unlabelled=_stacked(unlabelled, channels),
        problems=tuple(problems),
        notes=(
            *_count_notes(declared, n_listed),
            *finder.notes,
            *deeper_note(*(scans for folder, scans in finder.folders.items() if folder.name.startswith("images"))),
            *hidden_note(*finder.folders.values()),
        ),
    )


@dataclass
class _Finder:
    """Finds listed files: each folder is looked through once, and what was mended is noted."""

    root: Path
    folders: dict[Path, Scans] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def scans(self, folder: Path) -> Scans:
        if folder not in self.folders:
            self.folders[folder] = scans_in(folder)
        return self.folders[folder]

    def find(self, text: str) -> tuple[Path, ...]:
        """The files that one listed path stands for: itself, its unpacked twin, or its `_0000` channels; else none."""
        path = self.root / text.replace("\\", "/")
        if exists(path):
            return (path,)
        scans = self.scans(path.parent)
        stem = io.stem(path)
        if stem in scans.paths:
            return (scans.paths[stem],)
        numbered = by_channel((s for s in scans.paths if s.startswith(f"{stem}_")), NUMBERED).get(stem, {})
        return tuple(scans.paths[numbered[suffix]] for suffix in sorted(numbered))

    def foreign(self, text: str) -> Path | None:
        """The file of a listed name that is there in a format that medseg does not read."""
        path = self.root / text.replace("\\", "/")
        return self.scans(path.parent).foreign.get(io.stem(path))


def _training_entries(declared: Mapping[str, Any], root: Path, path: Path) -> Iterator[Mapping[str, Any]]:
    training = declared.get("training")
    if not training:
        images, labels = scans_in(root / "imagesTr"), scans_in(root / "labelsTr")
        yield from (
            {"image": str(images.paths.get(stem, Path("imagesTr", label.name))), "label": str(label)}
            for stem, label in labels.paths.items()
        )
        return
    if not isinstance(training, list):
        raise InputError(f'{path}: "training" must be a list of {{"image": …, "label": …}} pairs.')
    for number, entry in enumerate(training):
        if not isinstance(entry, Mapping) or not _texts(entry.get("image")) or not _texts(entry.get("label")):
            raise InputError(f'{path}: training entry {number} is {entry!r:.80}, not {{"image": …, "label": …}}.')
        yield entry


def _case(entry: Mapping[str, Any], finder: _Finder) -> Case | BadCase:
    names, label_name = _texts(entry["image"]), _texts(entry["label"])[0]
    found = {name: finder.find(name) for name in (*names, label_name)}
    images, label = tuple(image for name in names for image in found[name]), found[label_name]
    case_id = _id(Path(names[0]), len(images), io.stem(Path(label_name)))
    absent = [name for name in names if not found[name]]
    unread = {name: path for name in absent if (path := finder.foreign(name)) is not None}
    if unread:
        channels = unread if len(names) > 1 else dict(zip(("",), unread.values(), strict=False))
        return unread_channels(case_id, channels, images)
    if absent:
        reason = (
            f"{declaration.DECLARATION} lists the image {shortened(' and '.join(absent))}, but there is no such file."
        )
        return BadCase(case_id, reason, images)
    label_elsewhere = finder.foreign(label_name) if not label else None
    if label_elsewhere is not None:
        return unread_label(case_id, label_elsewhere, images)
    if not label:
        finder.notes.append(
            f"Case {case_id}: the label map {shortened(label_name)} is listed, but there is no such file."
        )
    fold = entry.get("fold")
    return Case(
        case_id, images, label[0] if label else None, fold=fold if isinstance(fold, int) and fold >= 0 else None
    )


def _ordered(case: Case, channels: Sequence[str]) -> Case:
    """A case with the files of its channels in the order of their names, whatever the order of the list."""
    order = order_of_files([stem_of(path) for path in case.images], channels) if len(case.images) > 1 else None
    return case if order is None else replace(case, images=tuple(case.images[n] for n in order))


def _test_cases(declared: Mapping[str, Any], finder: _Finder) -> Iterator[Case]:
    """The images under "test" and those in imagesTs, each once."""
    test = declared.get("test")
    entries = [entry.get("image") if isinstance(entry, Mapping) else entry for entry in test or []]
    groups = [tuple(p for name in _texts(entry) for p in finder.find(name)) for entry in entries]
    in_list = {image.resolve() for images in groups for image in images}
    scans = test_folder(finder.root)
    finder.folders.setdefault(scans.folder, scans)
    groups += [(image,) for image in scans.paths.values() if image.resolve() not in in_list]
    absent = sum(not images for images in groups)
    if absent:
        finder.notes.append(f'{absent} files under "test" in {declaration.DECLARATION} are not in the folder.')
    for images in groups:
        if images:
            yield Case(_id(images[0], len(images)), images, attributes={"split": "test"})


def _unlisted(finder: _Finder, cases: Sequence[Case]) -> list[Case]:
    """Images in imagesTr that no entry lists: unlabelled, or a pair that the list forgot (a note)."""
    used = {image for case in cases for image in case.images}
    images, labels = finder.scans(finder.root / "imagesTr"), finder.scans(finder.root / "labelsTr")
    rest = {stem: path for stem, path in images.paths.items() if path not in used}
    forgotten = [stem for stem in rest if stem in labels.paths]
    if forgotten:
        finder.notes.append(
            f"{len(forgotten)} pairs in imagesTr and labelsTr are not listed in {declaration.DECLARATION} "
            f"and not used: {listed(forgotten)}."
        )
    return [Case(safe_id(stem), (path,)) for stem, path in rest.items() if stem not in forgotten]


def _count_notes(declared: Mapping[str, Any], n_listed: int) -> tuple[str, ...]:
    notes = []
    stated = declared.get("numTraining")
    if isinstance(stated, int) and stated != n_listed:
        notes.append(f"{declaration.DECLARATION} says numTraining {stated}, but there are {n_listed} training pairs.")
    other = declared.get("validation")
    if isinstance(other, list) and other:
        notes.append(f'{declaration.DECLARATION} also lists {len(other)} cases under "validation"; they are not used.')
    return tuple(notes)


def _stacked(cases: Sequence[Case], channels: Sequence[str]) -> tuple[Case, ...]:
    """The cases in order; where several channels are declared and there is one file, it holds them all."""
    ordered = sorted(cases, key=lambda case: natural_key(case.id))
    return tuple(
        Case(case.id, case.images, case.label, fold=case.fold, stacked=True, attributes=case.attributes)
        if len(channels) > 1 and len(case.images) == 1
        else case
        for case in ordered
    )


def _id(image: Path, n_images: int, label_stem: str | None = None) -> str:
    """A case's id: the stem of its first image, without the number or the name of a channel where it is one."""
    stem = stem_of(image)
    numbered, named = NUMBERED.match(stem), NAMED.match(stem) if n_images > 1 else None
    if numbered is not None:
        is_channel = n_images > 1 or numbered["base"] == label_stem
        return safe_id(numbered["base"] if is_channel else stem)
    return safe_id(named["base"] if named is not None else stem)


def _texts(entry: object) -> list[str]:
    """A path or a list of paths as a list; empty for anything else."""
    entries = entry if isinstance(entry, list) else [entry]
    texts = [text for text in entries if isinstance(text, str) and text]
    return texts if len(texts) == len(entries) else []
