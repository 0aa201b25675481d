"""One folder a case, or many cases in one folder: images and label maps that are told apart by what they are called.

A label map is called seg, label or mask; or it is a folder segmentations (masks, labels) with a mask of each structure,
as TotalSegmentator and Slicer write it. Every other scan beside it is a channel, called after what sets its name apart
from its neighbours': BraTS' x_flair, x_t1ce. DICOM series in folders are images; for DICOM labels see `layouts.dicom`.
Files that begin alike are one case where a folder holds several: c1.nii.gz, c1_seg.nii.gz, c2.nii.gz, …
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_ids import folder_ids, folder_name, member_name
from medseg.data.dataset import BadCase, Case, Dataset, LabelSource, listed, natural_key, safe_id
from medseg.data.layouts import bids
from medseg.data.layouts.ambiguity import Candidates, refuse_unclear
from medseg.data.layouts.channels import channels_of_most, names_by_looking
from medseg.data.layouts.declaration import DECLARATION
from medseg.data.layouts.numbers import paired_by_number
from medseg.data.layouts.sources import is_mask, label_source, without_mask_word
from medseg.data.layouts.unread import is_unread, refuse_if_all_unread, unread_channels, unread_label
from medseg.data.leftovers import foreign_files
from medseg.data.scans import IMAGE_FOLDERS, LABEL_FOLDERS, stem_of
from medseg.io.foreign import foreign_stem, is_image_format
from medseg.io.listing import Listing, is_regular, listing
from medseg.io.names import file_key

__all__ = ["open_folder", "recognises"]

_DEEPEST = 4
"""So many folders below the one that is given are looked into."""

_JOINTS = "-_. "


@dataclass(frozen=True)
class _Found:
    """What lies there for one case: for each channel the files that could be meant, and the label maps that could."""

    parts: tuple[str, ...]
    images: Mapping[str, Sequence[Path]]
    labels: Sequence[LabelSource] = ()
    is_member: bool = False
    """Whether it is one of several cases in a folder: the last of its parts is no folder, but what names begin with."""


def recognises(root: Path) -> str | None:
    """Why `root` holds cases that name their label maps, or None. What names its files as BIDS does is BIDS."""
    if bids.recognises(root) is not None:
        return None
    for found in _survey(root, root, 0):
        if found.images and found.labels:
            what = found.labels[0]
            label = f"{len(what)} masks" if isinstance(what, Mapping) else what.name
            image = next(iter(found.images.values()))[0].name
            return f"{'/'.join(found.parts) or root.name} has {image} and {label}"
    return None


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`.

    Raises:
        InputError: There is no case.
        AmbiguousError: Several label maps, or several images, could be meant.
    """
    everything = list(_survey(root, root, 0))
    ids = _ids(root, everything)
    candidates = [Candidates(name, each.images, each.labels) for name, each in zip(ids, everything, strict=True)]
    labelled = [each for each in candidates if each.labels and each.images]
    if not labelled:
        raise InputError(f"{root} holds no folder with a scan and a label map called *seg*, *label* or *mask*.")
    channels = channels_of_most([tuple(each.images) for each in labelled])
    if channels is None or not all(each.is_clear for each in labelled):
        refuse_unclear(root, labelled, channels if channels != ("",) else None)
    cases, unlabelled, problems, surplus = list[Case](), list[Case](), list[BadCase](), set[str]()
    for found in candidates:
        case_id, images = found.id, {key: paths[0] for key, paths in found.images.items()}
        chosen = images if len(images) == len(channels) == 1 else {c: images[c] for c in channels if c in images}
        surplus |= images.keys() - chosen.keys()
        unread = {channel: path for channel, path in chosen.items() if is_unread(path)}
        readable = [path for path in chosen.values() if not is_unread(path)]
        label = next(iter(found.labels), None)
        if unread and label is not None:
            named = unread if len(channels) > 1 else dict(zip(("",), unread.values(), strict=False))
            problems.append(unread_channels(case_id, named, readable))
        elif isinstance(label, Path) and is_unread(label):
            problems.append(unread_label(case_id, label, readable))
        elif not images:
            problems.append(BadCase(case_id, f"The label map of {case_id} has no image beside it."))
        elif not found.labels:
            paths = tuple(path for path in (chosen or images).values() if not is_unread(path))
            unlabelled += [Case(case_id, paths)] if paths else []
        elif len(chosen) < len(channels):
            reason = f"Case {case_id} lacks channel {listed(set(channels) - set(chosen))}; it has {listed(images)}."
            problems.append(BadCase(case_id, reason, tuple(images.values())))
        else:
            cases.append(Case(case_id, tuple(chosen.values()), found.labels[0]))
    refuse_if_all_unread(root, len(cases), problems)
    names = channels if channels != ("",) else names_by_looking([case.images for case in cases], options)
    notes = (f"Files of channels that not every case has were left out: {listed(surplus)}.",) if surplus else ()
    return Dataset(
        root=root,
        layout="folders",
        cases=tuple(sorted(cases, key=lambda case: natural_key(case.id))),
        labels=None,
        channels=names,
        unlabelled=tuple(unlabelled),
        problems=tuple(problems),
        notes=notes,
    )


def _ids(root: Path, everything: Sequence[_Found]) -> tuple[str, ...]:
    """An id for each case by its own place; where two would have one, by as many folders as tell them apart."""
    names = [
        member_name(root.joinpath(*each.parts[:-1]), each.parts[-1], is_root=len(each.parts) == 1)
        if each.is_member
        else folder_name(root.joinpath(*each.parts))
        for each in everything
    ]
    n_with = Counter(map(file_key, names))
    apart = folder_ids([each.parts for each in everything], root)
    return tuple(
        safe_id(name) if n_with[file_key(name)] == 1 else other for name, other in zip(names, apart, strict=True)
    )


def _survey(folder: Path, root: Path, depth: int) -> Iterator[_Found]:
    """What each case folder below `folder` holds, in natural order."""
    if folder != root and is_regular(folder / DECLARATION):
        return  # a data set of its own
    inside = listing(folder)
    files = sorted(inside.files, key=lambda path: natural_key(path.name))
    folders = sorted(inside.folders, key=lambda path: natural_key(path.name))
    scans = [path for path in files if io.kind_of(path) not in (None, "dicom")]
    scans += _foreign_scans(inside, scans) if scans else []
    masks = [path for path in scans if is_mask(path)]
    images = [path for path in scans if path not in masks]
    mask_folders = [path for path in folders if path.name.lower() in LABEL_FOLDERS]
    sources = [source for source in map(label_source, mask_folders) if isinstance(source, Mapping)]
    if sources and any(len(_images_in(path)) > 1 for path in folders if path.name.lower() in IMAGE_FOLDERS):
        return  # images + labels: many cases, another layout
    parts = folder.relative_to(root).parts
    if masks or (sources and folder != root):
        images += [path for each in folders if each not in mask_folders for path in _images_in(each)]
        images += (
            [folder]
            if any(io.catalogue(p).series for p in files if io.kind_of(p) == "dicom" and p.suffix != ".zip")
            else []
        )
        if sources:
            unread = [path for each in mask_folders for path in _foreign_scans(listing(each), [])]
            yield _one_case(parts, images, unread[:1] or [*masks, *sources])
        else:
            yield from _by_base(parts, images, masks, is_root=folder == root)
    elif images and folder != root:
        yield _one_case(parts, images, [])
    elif depth < _DEEPEST:
        for each in folders:
            yield from _survey(each, root, depth + 1)


def _foreign_scans(inside: Listing, scans: Sequence[Path]) -> list[Path]:
    """The images of a folder in formats that medseg does not read, one a stem, where no scan has their stem."""
    known = {stem_of(path) for path in scans}
    by_stem = {foreign_stem(path): path for path in foreign_files(inside) if is_image_format(path)}
    return [path for stem, path in by_stem.items() if stem not in known]


def _images_in(folder: Path) -> list[Path]:
    """A DICOM series beside a mask, or what a folder called images holds."""
    if io.kind_of(folder) == "dicom":
        return [folder]
    if folder.name.lower() in IMAGE_FOLDERS:
        inside = listing(folder)
        return [path for path in sorted((*inside.files, *inside.folders)) if io.kind_of(path) is not None]
    return []


def _by_base(parts: tuple[str, ...], images: list[Path], masks: list[Path], *, is_root: bool) -> Iterator[_Found]:
    """One case where the folder is one; several where label maps begin as images do."""
    bases = {path: _base_of_mask(stem_of(path)) for path in masks}
    image_of = paired_by_number([stem_of(path) for path in images], [stem_of(path) for path in masks]) if images else {}
    if len(image_of) > 1 and not any(_owner(stem_of(image), bases.values()) for image in images):
        bases = {path: image_of.get(stem_of(path), base) for path, base in bases.items()}
    owner = {image: _owner(stem_of(image), bases.values()) for image in images}
    with_images = {base for base in owner.values() if base}
    if len(with_images) < 2 and not (is_root and with_images):
        yield _one_case(parts, images, masks)
        return
    for base in sorted(set(bases.values()) | with_images, key=natural_key):
        mine = [image for image in images if base and owner[image] == base]
        maps = [path for path in masks if bases[path] == base]
        if mine or maps:
            yield _Found((*parts, base or maps[0].name), _keyed(mine, base), maps, is_member=True)
    for image in images:
        if not owner[image]:
            yield _Found((*parts, stem_of(image)), {"": [image]}, is_member=True)


def _base_of_mask(stem: str) -> str:
    """A mask's name without the word for it, and without a number behind that: x_mask and x_mask_1 are both of x.

    >>> _base_of_mask("benign (4)_mask"), _base_of_mask("benign (4)_mask_1"), _base_of_mask("mask-7")
    ('benign (4)', 'benign (4)', '7')
    """
    base = without_mask_word(stem)
    unnumbered = re.sub(r"[-_ ]?[0-9]+$", "", stem)
    without_number = without_mask_word(unnumbered)
    return without_number if base == stem and without_number not in ("", unnumbered) else base


def _owner(stem: str, bases: Iterable[str]) -> str:
    """The longest base that a name begins with, "" for none."""
    return max((base for base in bases if base and _begins(stem, base)), key=len, default="")


def _begins(stem: str, base: str) -> bool:
    return stem == base or (stem.startswith(base) and stem[len(base)] in _JOINTS)


def _one_case(parts: tuple[str, ...], images: list[Path], labels: Sequence[LabelSource]) -> _Found:
    """All images of a folder as the channels of its case."""
    stems = [stem_of(path) for path in images]
    if len(stems) == 1:
        base = next((name for name in parts[-1:] if _begins(stems[0], name)), "")
    else:
        base = _common_start(stems)  # "" for none
    return _Found(parts, _keyed(images, base), labels)


def _common_start(stems: Sequence[str]) -> str:
    """What names have in common up to a joint.

    >>> _common_start(["p_1_t1", "p_1_t1ce", "p_1_t2"])
    'p_1'
    """
    pieces = [re.split(r"(?<=[-_. ])", stem) for stem in stems]
    common = []
    for same in zip(*pieces, strict=False):
        if len(set(same)) > 1:
            break
        common.append(same[0])
    return "".join(common).rstrip(_JOINTS)


def _keyed(images: Sequence[Path], base: str) -> dict[str, list[Path]]:
    """Images by what their names say besides `base`; two of one name are both kept."""
    keyed: dict[str, list[Path]] = {}
    for path in images:
        keyed.setdefault(stem_of(path)[len(base) :].strip(_JOINTS) if base else stem_of(path), []).append(path)
    return dict(sorted(keyed.items(), key=lambda item: natural_key(item[0])))
