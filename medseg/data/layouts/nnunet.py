"""nnU-Net v2's raw layout: imagesTr/CASE_0000.ending a channel, labelsTr/CASE.ending, `dataset.json` with the names.

Regions ("whole tumour": [1, 2, 4]), "ignore" and the optional "dataset" list of paths are understood. Pictures hold the
channels red, green and blue in one file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.channel_order import order_of_files
from medseg.data.dataset import Dataset, listed
from medseg.data.layouts import declaration
from medseg.data.layouts.channels import numbered_names
from medseg.data.layouts.pairing import Channels, pair
from medseg.data.layouts.unread import refuse_if_all_unread
from medseg.data.pictures import is_rgb
from medseg.data.scans import NUMBERED, Scans, by_channel, deeper_note, hidden_note, scans_in, test_folder
from medseg.io.listing import exists

__all__ = ["open_folder", "recognises"]


def recognises(root: Path) -> str | None:
    """Why `root` is an nnU-Net raw data set, or None."""
    declared = declaration.read_declaration(root)
    if declared is None:
        return None
    if "file_ending" in declared:
        return f'{declaration.DECLARATION} names the file_ending "{declared["file_ending"]}"'
    if "channel_names" in declared:
        return f"{declaration.DECLARATION} has channel_names"
    labels = declared.get("labels")
    # Beside another layout, such a file only names its labels.
    if not (root / "imagesTr").is_dir():
        return None
    if isinstance(labels, Mapping) and any(isinstance(value, int | list) for value in labels.values()):
        return f"{declaration.DECLARATION} gives labels by name"
    return None


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:  # noqa: ARG001  # one signature for all layouts
    """The data set in `root`.

    Raises:
        InputError: `dataset.json` is missing, damaged or contradicts itself or the files.
    """
    declared = declaration.read_declaration(root)
    if declared is None:
        raise InputError(f"{root} has no {declaration.DECLARATION}, which an nnU-Net data set needs.")
    path = root / declaration.DECLARATION
    ending = str(declared["file_ending"]) if "file_ending" in declared else None
    images, labels, tests = scans_in(root / "imagesTr", ending), scans_in(root / "labelsTr", ending), test_folder(root)
    notes: list[str] = []
    by_case: Mapping[str, Channels]
    if "dataset" in declared:
        by_case, label_of = _listed(declared["dataset"], root, path, declaration.channel_names(declared, path))
    else:
        by_case, label_of = numbered_files(images), dict(labels.paths)
        notes += _ending_notes(images, ending, path)
    channels = declaration.channel_names(declared, path)
    if not channels:
        channels = numbered_names(max(map(len, by_case.values()), default=1))
        notes.append(f"{declaration.DECLARATION} names no channels; the files have {len(channels)}.")
    in_one_file = is_rgb(channels) and all(set(files) == {"0000"} for files in by_case.values())
    suffixes = ["0000"] if in_one_file else [f"{number:04d}" for number in range(len(channels))]
    paired = pair(by_case, label_of, suffixes, numbered_files(images, images.foreign))
    kept_for_test = pair(numbered_files(tests), {}, suffixes)
    refuse_if_all_unread(root, len(paired.cases), paired.problems)
    stated = declared.get("numTraining")
    if isinstance(stated, int) and stated != len(paired.cases):
        notes.append(f"{declaration.DECLARATION} says numTraining {stated}; {len(paired.cases)} cases are complete.")
    in_test = [replace(case, attributes={"split": "test"}) for case in kept_for_test.unlabelled]
    return Dataset(
        root=root,
        layout="nnunet",
        cases=tuple(paired.cases),
        labels=declaration.labels(declared, path),
        channels=channels,
        unlabelled=(*paired.unlabelled, *in_test),
        problems=tuple(paired.problems),
        notes=(
            *notes,
            *paired.notes,
            *kept_for_test.notes,
            *deeper_note(images, labels, tests),
            *hidden_note(images, labels, tests),
        ),
    )


def numbered_files(scans: Scans, paths: Mapping[str, Path] | None = None) -> dict[str, dict[str, Path]]:
    """Case → {"0000": its file, …} for the scans (or for `paths` by stem) with a channel number."""
    paths = scans.paths if paths is None else paths
    found = by_channel(paths, NUMBERED)
    return {base: {channel: paths[stem] for channel, stem in stems.items()} for base, stems in found.items()}


def _listed(
    entries: object, root: Path, path: Path, channels: Sequence[str]
) -> tuple[dict[str, Channels], dict[str, Path]]:
    """What the optional "dataset" key lists: {"CASE": {"images": […], "label": …}}, paths relative to the folder."""
    if not isinstance(entries, Mapping):
        raise InputError(f'{path}: "dataset" must be an object {{"CASE": {{"images": […], "label": …}}}}.')
    images: dict[str, Channels] = {}
    labels: dict[str, Path] = {}
    for name, entry in entries.items():
        files = entry.get("images") if isinstance(entry, Mapping) else None
        if not isinstance(files, list) or not isinstance(entry.get("label"), str):
            raise InputError(f'{path}: case {name} under "dataset" must be {{"images": […], "label": …}}.')
        order = order_of_files([io.stem(str(file)) for file in files], channels) or range(len(files))
        found = {f"{number:04d}": root / str(files[at]) for number, at in enumerate(order)}
        images[name] = {suffix: file for suffix, file in found.items() if exists(file)}
        labels[name] = root / entry["label"]
    return images, labels


def _ending_notes(images: Scans, ending: str | None, path: Path) -> tuple[str, ...]:
    """What does not fit the way nnU-Net names files.

    Raises:
        InputError: No image has the declared ending, though there are images.
    """
    if ending and not images.paths and scans_in(images.folder).paths:
        raise InputError(f'{path} says file_ending "{ending}", but no image in {images.folder.name} ends so.')
    notes = []
    otherwise = [file.name for file in images.foreign.values() if io.kind_of(file) is not None]
    if otherwise:
        notes.append(f'{len(otherwise)} images do not end as file_ending "{ending}" says: {listed(otherwise)}.')
    unnumbered = [stem for stem in images.paths if not NUMBERED.match(stem)]
    if unnumbered:
        notes.append(f"{len(unnumbered)} images without a channel number (_0000) were left out: {listed(unnumbered)}.")
    return tuple(notes)
