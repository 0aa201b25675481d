"""BIDS: label maps in derivatives (…_dseg, …_mask), images in the raw tree beside them or in the same tree.

Names are entities: sub-01_ses-1_label-liver_mask is subject, session, what the mask is of, and a suffix. A case is what
has the same subject, session, run and so on; its images are those of its session that lie on the grid of its label map
(a session holds many), called after their suffix (T1w, FLAIR). A subject is a group. Names of labels come from a
…_dseg.tsv where there is one. Grids are read from headers; no voxels are.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.data.dataset import BadCase, Case, Dataset, LabelSource, listed, natural_key, safe_id, whole_number
from medseg.data.layouts.ambiguity import Candidates, refuse_unclear
from medseg.data.layouts.channels import channels_of_most
from medseg.data.layouts.rows import parsed
from medseg.data.layouts.sources import looks_like_mask
from medseg.data.layouts.unread import refuse_if_all_unread, unread_channels
from medseg.data.leftovers import foreign_files
from medseg.io.foreign import foreign_stem, is_image_format
from medseg.io.listing import is_folder, is_regular, listing

__all__ = ["Image", "examinations", "open_folder", "recognises"]

_ABOUT_THE_MAP = frozenset({"label", "desc", "space", "res", "den", "hemi", "seg", "atlas"})
"""Entities that tell label maps of one examination apart, and say nothing about which examination it is."""

_SAME_VOXELS = 0.5


@dataclass(frozen=True)
class _File:
    """A scan with the entities of its name; `suffixes` are the parts of it that are none."""

    path: Path
    entities: Mapping[str, str]
    suffixes: tuple[str, ...]

    @property
    def is_map(self) -> bool:
        return looks_like_mask(self.suffixes[-1])

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Which examination it belongs to."""
        return tuple((name, value) for name, value in self.entities.items() if name not in _ABOUT_THE_MAP)


def recognises(root: Path) -> str | None:
    """Why `root` is a BIDS data set with label maps, or None."""
    first = next((file for tree in _trees(root) for file in _files(tree) if file.is_map), None)
    if first is None:
        return None
    return f"{first.path.relative_to(root).as_posix()} is a label map as BIDS names it"


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`: a raw data set with its derivatives, or one of the derivatives.

    Raises:
        InputError: There is no label map, or tables of names contradict each other.
        AmbiguousError: Several label maps or images could be meant.
    """
    trees = [list(_files(tree)) for tree in _trees(root)]
    maps = [file for tree in trees for file in tree if file.is_map]
    if not maps:
        raise InputError(f"{root} holds no label map called sub-…_dseg or sub-…_mask.")
    found = [_found(key, maps, trees, options) for key in sorted({file.key for file in maps}, key=str)]
    with_images = [each for each in found if each.images]
    channels = channels_of_most([tuple(each.images) for each in with_images]) if with_images else ()
    if channels is None or channels == ("",) or not all(each.is_clear for each in with_images):
        refuse_unclear(root, with_images, channels if channels != ("",) else None)
    cases, problems = list[Case](), list[BadCase]()
    for each in found:
        chosen = tuple(each.images[name][0] for name in channels if name in each.images)
        unread = _unread(each, channels)
        if unread:
            problems.append(unread_channels(each.id, unread, chosen))
        elif chosen and len(chosen) == len(channels):
            cases.append(Case(each.id, chosen, each.labels[0], each.group))
        else:
            lacking = f"lacks {listed([name for name in channels if name not in each.images])}" if each.images else ""
            reason = lacking or "has no image on the grid of its label map in the same session"
            problems.append(BadCase(each.id, f"Case {each.id} {reason}.", chosen))
    refuse_if_all_unread(root, len(cases), problems)
    return Dataset(
        root=root,
        layout="bids",
        cases=tuple(sorted(cases, key=lambda case: natural_key(case.id))),
        labels=_names(maps, root),
        channels=channels,
        problems=tuple(problems),
        notes=(
            f"{len(cases)} cases are of {len({case.group for case in cases})} subjects.",
            *_other_grids_note(trees, maps, channels),
        ),
    )


def _other_grids_note(
    trees: Sequence[Sequence[_File]], maps: Sequence[_File], channels: Sequence[str]
) -> tuple[str, ...]:
    """The note on images of the same sessions that lie on other grids than the label maps, and so are no channels."""
    maps_of: dict[str | None, list[_File]] = {}
    for label in maps:
        maps_of.setdefault(label.entities.get("sub"), []).append(label)
    beside = Counter(
        file.suffixes[-1]
        for file in {file.path: file for tree in trees for file in tree}.values()
        if file.suffixes[-1] not in channels
        and any(_is_image_of(file, label) for label in maps_of.get(file.entities.get("sub"), ()))
    )
    if not beside:
        return ()
    counts = ", ".join(f"{name} ({n})" for name, n in sorted(beside.items()))
    columns = ", ".join(f"image_{name}" for name in (*channels, min(beside)))
    return (
        f"Images of the same sessions on other grids than the label maps are not used: {counts}. A table with the "
        f"columns {columns} would make channels of them.",
    )


@dataclass(frozen=True)
class Image:
    """An image of a raw tree: its file, what its name says before the suffix, and the suffix (T1w, FLAIR, bold)."""

    path: Path
    start: str
    suffix: str


def examinations(root: Path) -> tuple[tuple[Image, ...], ...]:
    """The images of each subject, session and run in the raw tree at `root`, without label maps; names alone count."""
    found: dict[tuple[str, ...], list[Image]] = {}
    for file in _files(root):
        if not file.is_map:
            key = tuple(file.entities.get(entity, "") for entity in ("sub", "ses", "run"))
            start = io.stem(file.path).rpartition("_")[0]
            found.setdefault(key, []).append(Image(file.path, start, file.suffixes[-1]))
    return tuple(tuple(images) for images in found.values())


def _unread(found: Candidates, channels: Sequence[str]) -> dict[str, Path]:
    """Images beside those of a case, and called like them but for the suffix, in formats that medseg does not read."""
    images = [path for paths in found.images.values() for path in paths]
    unread: dict[str, Path] = {}
    for path in images:
        start = io.stem(path).rpartition("_")[0]
        for other in foreign_files(listing(path.parent)):
            before, _, suffix = foreign_stem(other).rpartition("_")
            if before == start and is_image_format(other) and not looks_like_mask(suffix):
                unread.setdefault(suffix, other)
    return {suffix: path for suffix, path in unread.items() if suffix not in found.images or suffix not in channels}


def _trees(root: Path) -> list[Path]:
    """Where label maps and images may be: the folder and its derivatives, or a derivative and the raw tree above."""
    derivatives = root / "derivatives"
    inner = [derivatives, *listing(derivatives).folders] if is_folder(derivatives) else []
    raw = [root.resolve().parents[1]] if root.resolve().parent.name == "derivatives" else []
    return [root, *inner, *raw]


def _files(tree: Path) -> Iterator[_File]:
    """The scans of all subjects of a tree, in natural order."""
    for subject in sorted(tree.glob("sub-*"), key=lambda path: natural_key(path.name)):
        for path in sorted(subject.rglob("sub-*"), key=lambda path: natural_key(path.name)):
            if is_regular(path) and io.kind_of(path) not in (None, "dicom"):
                parts = io.stem(path).split("_")
                pairs = [re.fullmatch(r"([a-z]+)-(.+)", part) for part in parts[:-1]]
                entities = {match[1]: match[2] for match in pairs if match}
                suffixes = [part for part, match in zip(parts, [*pairs, None], strict=True) if not match]
                yield _File(path, entities, tuple(suffixes))


def _found(
    key: tuple[tuple[str, str], ...], maps: Sequence[_File], trees: Sequence[Sequence[_File]], options: io.ReadOptions
) -> Candidates:
    mine = [file for file in maps if file.key == key]
    images: dict[str, list[Path]] = {}
    grid = _grid(mine[0].path, options)
    for tree in sorted(trees, key=lambda tree: mine[0] not in tree):
        for file in tree if grid else ():
            if _is_image_of(file, mine[0]) and _same(grid, _grid(file.path, replace(options, channels="last"))):
                images.setdefault(file.suffixes[-1], []).append(file.path)
        if images:
            break
    name = safe_id("_".join(f"{entity}-{value}" for entity, value in key))
    subject = f"sub-{dict(key).get('sub', '')}"
    return Candidates(name, dict(sorted(images.items())), _label_sources(mine), subject)


def _label_sources(maps: Sequence[_File]) -> tuple[LabelSource, ...]:
    """The label maps of one examination: masks that differ in "label" alone are one map of structures."""
    by_label = {file.entities.get("label", ""): file for file in maps}
    rest = {tuple((n, v) for n, v in f.entities.items() if n != "label") + f.suffixes for f in maps}
    if len(by_label) == len(maps) and len(rest) == 1 and "" not in by_label:
        return ({name: file.path for name, file in by_label.items()},)
    return tuple(file.path for file in maps)


def _is_image_of(image: _File, label: _File) -> bool:
    """Whether an image may be of the examination of a label map, by name."""
    if image.is_map or image.entities.get("sub") != label.entities.get("sub"):
        return False
    named = set(label.suffixes[:-1])
    differ = any(image.entities.get(name, value) != value for name, value in label.key)
    return not differ and (not named or image.suffixes[-1] in named)


def _grid(path: Path, options: io.ReadOptions) -> Geometry | None:
    try:
        return io.read_geometry(path, options)[0]
    except InputError:
        return None


def _same(grid: Geometry | None, other: Geometry | None) -> bool:
    """Whether two grids are one, but for less than half a voxel."""
    if grid is None or other is None or grid.shape != other.shape:
        return False
    return grid.distance_mm(other) <= _SAME_VOXELS * min(grid.spacing_mm)


def _names(maps: Sequence[_File], root: Path) -> Labels | None:
    """The labels that …dseg.tsv files beside or above the label maps name; None where there are none.

    Raises:
        InputError: Two of them call one value differently.
    """
    tables = {path for file in maps if file.suffixes[-1] == "dseg" for path in _tables_of(file, root)}
    names: dict[int, tuple[str, Path]] = {}
    for path in sorted(tables):
        for row in parsed(path)[1]:
            index, name = whole_number(row.cells.get("index", "")), row.cells.get("name", "")
            if not index or not name:
                continue
            known, where = names.setdefault(index, (name, path))
            if known != name:
                raise InputError(f"{path} calls the value {index} '{name}', but {where} calls it '{known}'.")
    values: dict[str, list[int]] = {}
    for value, (name, _) in sorted(names.items()):
        values.setdefault(name, []).append(value)
    return Labels({name: tuple(each) for name, each in values.items()}) if values else None


def _tables_of(label: _File, root: Path) -> Iterator[Path]:
    """The nearest tables that hold for a label map: in its folder or above, with no entity that it does not have."""
    folder = label.path.parent
    while True:
        found = [
            path
            for path in folder.glob("*dseg.tsv")
            if all(part in label.path.name.split("_") for part in path.stem.split("_")[:-1])
        ]
        if found or folder in (root, folder.parent) or not folder.is_relative_to(root):
            yield from found
            return
        folder = folder.parent
