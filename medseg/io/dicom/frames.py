"""Files that hold several images → one `Frame` an image, with a header as a file of a single image has it.

An enhanced (or legacy-converted) object says what holds for all frames in its shared functional groups and what holds
for one in its per-frame groups; both are laid flat over the header of the file, so that what comes after need not know
of them. Frames are told apart by what their groups say, never by their number in the file. Mosaics and tomograms of
nuclear medicine have modules of their own. Nothing is ordered, placed or decoded here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly, text
from medseg.io.dicom.layers import Elements, Pool, element_at, layered, tags
from medseg.io.dicom.mosaic import is_mosaic, tiles
from medseg.io.dicom.nuclear import is_tomogram, tomogram_slices
from medseg.io.dicom.piled import piled_frames
from medseg.io.options import ReadOptions

__all__ = ["split", "split_all"]

_SHARED, _PER_FRAME = tags("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_DIMENSIONS, _DIMENSION_VALUES = tags("DimensionIndexSequence", "DimensionIndexValues")

_NOT_OF_A_FRAME = (_SHARED, _PER_FRAME, _DIMENSIONS, *tags("NumberOfFrames"))

_ABOUT_OTHERS = tags(
    *("ReferencedImageSequence", "DerivationImageSequence", "ConversionSourceAttributesSequence"),
    *("RealWorldValueMappingSequence", "FrameAnatomySequence"),
)
"""Groups that describe other things than the frame: laid flat, their identifiers would be taken for its own."""

_UNASSIGNED = tags("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Where a converter left what it knew no group for, private elements included."""

_OF_THE_FILE = tags(
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("SpecificCharacterSet", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
)
"""What no group says anew."""

_NESTED = tags("DiffusionGradientDirectionSequence")
"""A sequence inside a group whose one item belongs to the frame."""

_CLASSIC = dict(
    zip(
        tags(
            *("FrameType", "EffectiveEchoTime", "InversionTimes", "TemporalPositionIndex"),
            *("NominalCardiacTriggerDelayTime", "FrameAcquisitionNumber", "FrameAcquisitionDateTime"),
        ),
        (
            *("ImageType", "EchoTime", "InversionTime", "TemporalPositionIdentifier"),
            *("TriggerTime", "AcquisitionNumber", "AcquisitionDateTime"),
        ),
        strict=True,
    )
)
"""Attributes of functional groups → what files of a single image call them."""

_PLACES = frozenset(tags("StackID", "InStackPositionNumber", "ImagePositionPatient", "SliceLocation"))
"""Dimensions along which frames lie beside each other; along all others they lie at one place."""

_LARGEST = 4096
"""Larger elements of a group (in bytes) are vendors' protocols; thousands of frames would hold thousands of them."""

_DATE_LENGTH = len("YYYYMMDD")

_FEW = 6
"""How many missing parts a sentence lists."""


def split_all(files: Iterable[Frame], options: ReadOptions) -> tuple[Frame, ...]:
    """The images in files; those of an object that was cut into several files (a concatenation) are all there.

    Raises:
        InputError: As `split`, or a part of a concatenation is missing.
    """
    files = tuple(files)
    _check_parts(files)
    return tuple(image for file in files for image in split(file, options))


def split(file: Frame, options: ReadOptions) -> tuple[Frame, ...]:
    """The images in a file as `find` gives it: itself where it holds one, else one for each of its frames or tiles.

    Raises:
        InputError: The file describes another number of frames than it promises, or does not say where they lie.
    """
    if file.index is not None or file.tile is not None:
        return (file,)
    try:
        with quietly():
            return _split(file, options)
    except DAMAGE as error:
        raise InputError(f"{file.path} has a damaged description of its frames. Copy it again.") from error


def _split(file: Frame, options: ReadOptions) -> tuple[Frame, ...]:
    if _SHARED in file.header or _PER_FRAME in file.header:
        return _enhanced(file, options)
    if is_mosaic(file):
        return tiles(file)
    n_frames = _promised(file)
    if "Enhanced" in file.class_name:
        raise InputError(
            f"{file.path} holds {n_frames} frames ({file.class_name}) without functional groups: "
            "there are no slice positions in the file."
        )
    if is_tomogram(file):
        return tomogram_slices(file, n_frames)
    if n_frames == 1:
        return (file,)
    piled = piled_frames(file, _without_count(file.header), n_frames, options)
    if piled is not None:
        return piled
    raise InputError(
        f"{file.path} holds {n_frames} pictures ({file.class_name}) without slice positions; this cannot be a volume."
    )


def _promised(file: Frame) -> int:
    return int((numbers(file.header, "NumberOfFrames") or (1.0,))[0])


def _without_count(header: Dataset) -> Dataset:
    """A header without the number of frames, which is none of a single image."""
    return Dataset({tag: header.get_item(tag) for tag in header.keys() if tag not in _NOT_OF_A_FRAME})  # noqa: SIM118


def _enhanced(file: Frame, options: ReadOptions) -> tuple[Frame, ...]:
    header = file.header
    if text(header, "DimensionOrganizationType") == "TILED_FULL":
        raise InputError(f"{file.path} holds the tiles of a large picture ({file.class_name}); this is no volume.")
    described = element_at(header, _PER_FRAME)
    items = described.value if described is not None else ()
    if not items and (piled := _piled(file, options)) is not None:
        return piled
    if len(items) != _promised(file):
        raise InputError(
            f"{file.path} promises {_promised(file)} frames and describes {len(items)}. Copy or export it again."
        )
    pool, free = Pool(), _free_dimensions(header)
    of_file = {element.tag: element for element in pool.elements(header, _NOT_OF_A_FRAME)}
    of_all = element_at(header, _SHARED)
    shared, left_over = _laid_flat(of_all.value if of_all is not None else (), pool, free)
    common = {**of_file, **left_over, **shared}
    frames = []
    for index, item in enumerate(items):
        own, left_over = _laid_flat([item], pool, free)
        own = {tag: element for tag, element in left_over.items() if tag not in shared} | own
        frames.append(replace(file, header=layered(own, common, header), index=index, n_frames=len(items)))
    if is_mosaic(frames[0]):
        raise InputError(f"{file.path} holds mosaics (slices tiled in one picture) as frames; export single slices.")
    return tuple(frames)


def _piled(file: Frame, options: ReadOptions) -> tuple[Frame, ...] | None:
    """The frames of an object that says of all of them where they lie, and of none of them alone."""
    pool = Pool()
    common = {element.tag: element for element in pool.elements(file.header, _NOT_OF_A_FRAME)}
    of_all = element_at(file.header, _SHARED)
    shared, left_over = _laid_flat(of_all.value if of_all is not None else (), pool, ())
    header = layered({}, {**common, **left_over, **shared}, file.header)
    return piled_frames(file, header, _promised(file), options)


def _laid_flat(items: Iterable[Dataset], pool: Pool, free: Sequence[int]) -> tuple[Elements, Elements]:
    """The elements of all groups of an item, and those that a converter had no group for."""
    of_groups: Elements = {}
    left_over: Elements = {}
    for item in items:
        for tag in item.keys():  # noqa: SIM118  iterating over the data set itself converts everything
            if tag in _UNASSIGNED:
                left_over |= pool.once(item, tag, _of_group)
            elif tag not in _ABOUT_OTHERS and not tag.is_private:
                of_groups |= {t: e for t, e in pool.once(item, tag, _of_group).items() if not t.is_private}
    renamed = [pool.named(name, value) for name, value in _renamed(of_groups, free)]
    of_groups.pop(_DIMENSION_VALUES, None)
    return of_groups | {element.tag: element for element in renamed}, left_over


def _of_group(item: Dataset, tag: BaseTag, pool: Pool) -> Elements:
    """The elements of a group with one item; groups with several (saturation slabs) say nothing of the frame itself."""
    group = element_at(item, tag)
    if group is None or group.VR != "SQ" or len(group.value) != 1:
        return {}
    found: Elements = {}
    for element in pool.elements(group.value[0], _OF_THE_FILE):
        if element.tag in _NESTED:
            found |= _of_group(group.value[0], element.tag, pool)
        elif element.VR != "SQ" and not _is_large(element.value):
            found[element.tag] = element
    return found


def _is_large(value: object) -> bool:
    return isinstance(value, bytes | str) and len(value) > _LARGEST


def _renamed(elements: Elements, free: Sequence[int]) -> Iterator[tuple[str, object]]:
    """What groups say, under the names and in the types of files of a single image."""
    for tag, keyword in _CLASSIC.items():
        value = elements[tag].value if tag in elements else None
        if value in (None, ""):
            continue
        if keyword == "AcquisitionDateTime":
            yield from _moments(str(value))
        elif isinstance(value, int | float):
            yield keyword, f"{value:.10g}"
        elif keyword == "ImageType":
            yield keyword, value
    values = elements[_DIMENSION_VALUES].value if free and _DIMENSION_VALUES in elements else ()
    values = [values] if isinstance(values, int) else list(values or ())
    if len(values) > max(free, default=0):
        yield "DimensionIndexValues", [values[n] for n in free]


def _moments(stamp: str) -> Iterator[tuple[str, object]]:
    """YYYYMMDDHHMMSS.FFFFFF&ZZXX as one value and as date and time."""
    yield "AcquisitionDateTime", stamp
    moment = stamp.partition("+")[0].partition("-")[0]
    if len(moment) > _DATE_LENGTH:
        yield "AcquisitionDate", moment[:_DATE_LENGTH]
        yield "AcquisitionTime", moment[_DATE_LENGTH:]


def _free_dimensions(header: Dataset) -> tuple[int, ...]:
    """Which of the dimensions of an object are none of space: what differs there tells volumes apart."""
    found = element_at(header, _DIMENSIONS)
    pointers = [text(item, "DimensionIndexPointer") for item in found.value] if found is not None else []
    places = {str(tag) for tag in _PLACES}
    return tuple(n for n, pointer in enumerate(pointers) if pointer not in places)


def _check_parts(files: Iterable[Frame]) -> None:
    """Refuse a concatenation of which a part is missing, at the end (where the total is known), or in between."""
    parts: defaultdict[str, list[Frame]] = defaultdict(list)
    for file in files:
        uid = text(file.header, "ConcatenationUID")
        if uid:
            parts[uid].append(file)
    for found in parts.values():
        _check_concatenation(found)


def _check_concatenation(parts: Sequence[Frame]) -> None:
    present = {_number(part, "InConcatenationNumber") for part in parts}
    total = max(*present, *(_number(part, "InConcatenationTotalNumber") for part in parts))
    missing = list(islice((number for number in range(1, total + 1) if number not in present), _FEW))
    if missing:
        raise InputError(
            f"{parts[0].path} is one of {total} parts of an object that was cut into several files; of these, part "
            f"{', '.join(map(str, missing))}{' and more are' if len(missing) == _FEW else ' is'} missing. "
            "Complete the folder."
        )


def _number(file: Frame, keyword: str) -> int:
    return int((numbers(file.header, keyword) or (0.0,))[0])
