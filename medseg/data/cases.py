"""A case from its files: all channels on one grid, and its label map on the same grid with values that are declared.

Whatever was mended on the way is told, once a case; what does not belong together is refused. This is the only place
of the room that reads voxels, and it reads each file once. Label maps whose structures have names (DICOM SEG, RTSTRUCT,
a mask of each structure) are understood by names: their numbers mean nothing in another file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import io
from medseg.core.errors import InputError
from medseg.core.frozen import FrozenMapping
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded, translated
from medseg.core.volume import LabelMap, Volume
from medseg.data.checks import channel_on_grid_of, count_values, on_grid_of, refuse_undeclared
from medseg.data.dataset import Case, LabelSource, listed

__all__ = ["read_case", "read_image", "read_label_map", "together", "with_meaning"]

_WHITE = 255
"""How pictures store a mask of one label: black and white."""


def read_image(case: Case, options: io.ReadOptions, channels: Sequence[str] = ()) -> Volume:
    """All channels of a case, (c, i, j, k), on the grid of the first; what was mended is in `meta.warnings`.

    A channel on a grid of its own is brought to that of the first by linear interpolation (`data.alignment`), in
    training as in prediction; `meta.own_grids` has its grid.

    Args:
        case: A case; what it says itself of reading goes before `options`.
        options: How files are read.
        channels: Names of the channels, for sentences; by their files where there are none.

    Raises:
        InputError: A file cannot be read, or a channel has no place on the grid of the first.
    """
    options = options.updated(case.read)
    if case.stacked and options.channels == "auto" and options.volume is None:
        options = replace(options, channels="last")
    if len(case.images) == 1:
        return _with_layers(io.read(case.images[0], options), case)
    first, *others = (io.read(path, options.of_channel(n)) for n, path in enumerate(case.images))
    names = _channel_names(case.images, channels)
    warnings, arrays, own_grids = list(first.meta.warnings), [first.array], dict[int, Geometry]()
    for number, other in enumerate(others, start=1):
        array, own_grid, notes = channel_on_grid_of(first, other, (names[0], names[number]), case.id)
        arrays.append(array)
        warnings += (*other.meta.warnings, *notes)
        if own_grid is not None:
            own_grids[number] = own_grid
    meta = replace(first.meta, warnings=tuple(dict.fromkeys(warnings)), own_grids=FrozenMapping(own_grids))
    return Volume(_stacked(arrays), first.geometry, meta)


def _with_layers(volume: Volume, case: Case) -> Volume:
    """The layers of a stacked image that are channels, in channel order."""
    if not case.layers:
        return volume
    if volume.n_channels != len(case.layers):
        raise InputError(
            f"Case {case.id}: {case.images[0].name} has {volume.n_channels} channels, but its data set declares "
            f"{len(case.layers)}."
        )
    return replace(volume, array=volume.array[list(case.layers)])


def _channel_names(images: Sequence[Path], channels: Sequence[str]) -> list[str]:
    """What sentences call the channels: by their names, else by their numbers and files."""
    if len(channels) == len(images):
        return list(channels)
    # Folders of series are often called alike: "image" in CT/ and in PET/.
    alike = len({path.name for path in images}) < len(images)
    shown = ["/".join(path.parts[-2:]) if alike else path.name for path in images]
    return [f"Channel {number} ({name})" for number, name in enumerate(shown)]


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The channels in one array, of a type that holds all of them; whole numbers beside float32 do not double it."""
    dtype = np.result_type(*arrays)
    single = any(array.dtype == np.float32 for array in arrays) and not any(
        array.dtype == np.float64 for array in arrays
    )
    return np.concatenate(arrays, dtype=np.float32 if single and dtype == np.float64 else dtype)


def read_case(
    case: Case, labels: Labels | None, options: io.ReadOptions, channels: Sequence[str] = ()
) -> tuple[Volume, LabelMap, tuple[str, ...]]:
    """Image and label map of a case on one grid, and a sentence for each thing that was mended.

    Args:
        case: A case with a label map.
        labels: What the values mean; None takes any value.
        options: How files are read.
        channels: Names of the channels, for sentences.

    Raises:
        InputError: A file cannot be read, the grids do not belong together, or the map holds an undeclared value.
    """
    if case.label is None:
        raise InputError(f"Case {case.id} has no label map.")
    image = read_image(case, options, channels)
    wanted = None if labels is None else labels.names
    label_map = read_label_map(case.label, options.updated(case.read), case.images[0], wanted)
    return together(image, label_map, labels, case.id, channels)


def read_label_map(
    source: LabelSource, options: io.ReadOptions, image: Path, wanted: Collection[str] | None = None
) -> LabelMap:
    """The label map of a case as its files have it.

    Args:
        source: A file, or the mask of each structure.
        options: How files are read, the case's own options among them.
        image: The first channel, on which a DICOM SEG or an RTSTRUCT is placed.
        wanted: Names of the structures that are asked for, where files call them by name; None: all.

    Raises:
        InputError: A file cannot be read.
    """
    if isinstance(source, Mapping):
        return io.read_structures(source, options.of_channel(0), image, wanted)
    return io.read_labels(source, options.of_channel(0), image, wanted)


def together(
    image: Volume, label_map: LabelMap, labels: Labels | None, case: str, channels: Sequence[str] = ()
) -> tuple[Volume, LabelMap, tuple[str, ...]]:
    """Image and label map as they were read → as `read_case` gives them: for whoever reads by another door (MONAI's).

    Raises:
        InputError: The grids do not belong together, or the map holds an undeclared value.
    """
    label_map, notes = on_grid_of(image, label_map, case, channels)
    if labels is not None:
        label_map, mended = with_meaning(label_map, labels, case)
        notes += mended
    told = (*image.meta.warnings, *label_map.meta.warnings, *notes)
    return image, label_map, tuple(dict.fromkeys(told))


def with_meaning(label_map: LabelMap, labels: Labels, case: str) -> tuple[LabelMap, tuple[str, ...]]:
    """The map with its labels; a black-and-white mask of a data set with one label takes that label's value.

    Raises:
        InputError: The map holds a value, or names only structures, that the data set does not declare.
    """
    if label_map.labels is not None:
        return _by_name(label_map, label_map.labels, labels, case)
    array = label_map.array
    notes: tuple[str, ...] = ()
    counts = count_values(array)
    if len(labels.classes) == 2 and _WHITE not in (labels.classes[1], labels.ignore) and set(counts) <= {0, _WHITE}:
        if _WHITE in counts:
            value = labels.classes[1]
            array = np.where(array == _WHITE, np.min_scalar_type(value).type(value), array)
            notes = (f"The label map is black and white (0 and 255): 255 is taken for {labels.names[0]}.",)
    else:
        refuse_undeclared(counts, labels, case)
    return LabelMap(array, label_map.geometry, labels, label_map.meta), notes


def _by_name(label_map: LabelMap, own: Labels, labels: Labels, case: str) -> tuple[LabelMap, tuple[str, ...]]:
    """The map in the numbers of the data set; structures that the data set does not declare become background."""
    declared = {folded(name) for name in labels.names}
    others = [name for name in own.names if folded(name) not in declared]
    if len(others) == len(own.names):
        raise InputError(
            f"Case {case}: the label map holds {listed(others)}, and the data set declares {listed(labels.names)}: "
            "no name agrees. Declare the names that the files have."
        )
    array = translated(label_map.array, own, labels, drop_others=True)
    absent = [name for name in labels.names if folded(name) not in {folded(each) for each in own.names}]
    notes: list[str] = []
    if others:
        notes.append(f"Structures that the data set does not declare are left out: {listed(others)}.")
    if absent:
        notes.append(f"The label map names no {listed(absent)}; it counts as absent.")
    return LabelMap(array, label_map.geometry, labels, label_map.meta), tuple(notes)
