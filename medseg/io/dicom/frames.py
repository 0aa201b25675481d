"""Files that hold several images → one `Frame` an image, with a header as a file of a single image has it.

An enhanced (or legacy-converted) object says what holds for all frames in its shared functional groups and what holds
for one in its per-frame groups; both are laid flat over the header of the file, so that what comes after need not know
of them. Frames are told apart by what their groups say, never by their number in the file. Nothing is ordered, placed
or decoded here.
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, quietly

__all__ = ["split"]

_Elements: TypeAlias = dict[BaseTag, DataElement | RawDataElement]


def _tags(*keywords: str) -> tuple[BaseTag, ...]:
    return tuple(Tag(keyword) for keyword in keywords)


_SHARED, _PER_FRAME = _tags("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

_NOT_OF_A_FRAME = (_SHARED, _PER_FRAME, *_tags("NumberOfFrames", "DimensionIndexSequence"))

_ABOUT_OTHERS = _tags(
    *("ReferencedImageSequence", "DerivationImageSequence", "ConversionSourceAttributesSequence"),
    *("RealWorldValueMappingSequence", "FrameAnatomySequence"),
)
"""Groups that describe other things than the frame: laid flat, their identifiers would be taken for its own."""

_UNASSIGNED = _tags("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Where a converter left what it knew no group for, private elements included."""

_OF_THE_FILE = _tags(
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("SpecificCharacterSet", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
)
"""What no group says anew."""

_NESTED = _tags("DiffusionGradientDirectionSequence")
"""A sequence inside a group whose one item belongs to the frame."""

_CLASSIC = dict(
    zip(
        _tags(
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

_LARGEST = 4096
"""Larger elements of a group (in bytes) are vendors' protocols; thousands of frames would hold thousands of them."""

_DATE_LENGTH = len("YYYYMMDD")


def split(frame: Frame) -> tuple[Frame, ...]:
    """The images in a file as `find` gives it: itself where it holds one, else one for each of its frames.

    The headers share what is common, so that thousands of frames take little more memory than one.

    Raises:
        InputError: The file describes another number of frames than it promises, or does not say where they lie.
    """
    with quietly():
        try:
            if _SHARED in frame.header or _PER_FRAME in frame.header:
                return _enhanced(frame)
        except DAMAGE as error:
            raise InputError(f"{frame.path} has damaged functional groups. Copy it again.") from error
    n_frames = _promised(frame)
    if "Enhanced" in frame.class_name:
        raise InputError(
            f"{frame.path} holds {n_frames} frames ({frame.class_name}) without functional groups: "
            "there are no slice positions in the file."
        )
    if n_frames > 1:
        raise InputError(
            f"{frame.path} holds {n_frames} pictures ({frame.class_name}) without slice positions; "
            "this cannot be a volume."
        )
    return (frame,)


def _promised(frame: Frame) -> int:
    return int((numbers(frame.header, "NumberOfFrames") or (1.0,))[0])


def _enhanced(frame: Frame) -> tuple[Frame, ...]:
    header = frame.header
    items = header[_PER_FRAME].value if _PER_FRAME in header else []
    if len(items) != _promised(frame):
        raise InputError(
            f"{frame.path} promises {_promised(frame)} frames and describes {len(items)}. Copy or export it again."
        )
    pool = _Pool()
    of_file = {element.tag: element for element in pool.elements(header)}
    shared, left_over = _laid_flat(header[_SHARED].value if _SHARED in header else (), pool)
    common = {**of_file, **left_over, **shared}
    frames = []
    for index, item in enumerate(items):
        own, left_over = _laid_flat([item], pool)
        own = {tag: element for tag, element in left_over.items() if tag not in shared} | own
        frames.append(replace(frame, header=_layered(own, common, header), index=index))
    return tuple(frames)


def _layered(own: _Elements, common: _Elements, like: Dataset) -> Dataset:
    """A header that says what is its own, else what is common."""
    header = Dataset(ChainMap(own, common))
    if hasattr(like, "file_meta"):
        header.file_meta = like.file_meta
    return header


class _Pool:
    """Elements, each converted once: equal ones of many frames are one object in memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[BaseTag, str | None, object], DataElement | None] = {}

    def elements(self, item: Dataset) -> Iterator[DataElement]:
        """What a data set holds, but for functional groups and what cannot be read."""
        for tag in item.keys():  # noqa: SIM118  iterating over the data set itself converts everything
            if tag not in _NOT_OF_A_FRAME and (element := self._element(item, tag)) is not None:
                yield element

    def named(self, keyword: str, value: object) -> DataElement:
        """An element of our own making."""
        tag = Tag(keyword)
        key = tag, None, str(value)
        element = self._known.get(key) or DataElement(tag, dictionary_VR(tag), value)
        self._known[key] = element
        return element

    def _element(self, item: Dataset, tag: BaseTag) -> DataElement | None:
        raw = item.get_item(tag)
        if not isinstance(raw.value, bytes):  # a sequence that was parsed already, or a value set by a program
            return _converted(item, tag)
        key = tag, raw.VR, raw.value
        if key not in self._known:
            self._known[key] = _converted(item, tag)
        return self._known[key]


def _converted(item: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        return item[tag]
    except DAMAGE:
        return None


def _laid_flat(items: Iterable[Dataset], pool: _Pool) -> tuple[_Elements, _Elements]:
    """The elements of all groups of an item, and those that a converter had no group for."""
    of_groups: _Elements = {}
    left_over: _Elements = {}
    for item in items:
        for tag in item.keys():  # noqa: SIM118  as above
            if tag in _UNASSIGNED:
                left_over |= _of_group(item, tag, pool)
            elif tag not in _ABOUT_OTHERS and not tag.is_private:
                of_groups |= {t: e for t, e in _of_group(item, tag, pool).items() if not t.is_private}
    return of_groups | _classic(of_groups, pool), left_over


def _of_group(item: Dataset, tag: BaseTag, pool: _Pool) -> _Elements:
    """The elements of a group with one item; groups with several (saturation slabs) say nothing of the frame itself."""
    group = _converted(item, tag)
    if group is None or group.VR != "SQ" or len(group.value) != 1:
        return {}
    found: _Elements = {}
    for element in pool.elements(group.value[0]):
        if element.tag in _NESTED:
            found |= _of_group(group.value[0], element.tag, pool)
        elif element.VR != "SQ" and element.tag not in _OF_THE_FILE and not _is_large(element):
            found[element.tag] = element
    return found


def _is_large(element: DataElement) -> bool:
    return isinstance(element.value, bytes | str) and len(element.value) > _LARGEST


def _classic(elements: _Elements, pool: _Pool) -> _Elements:
    """What is there under the names and in the types of files of a single image."""
    return {(element := pool.named(name, value)).tag: element for name, value in _renamed(elements)}


def _renamed(elements: _Elements) -> Iterator[tuple[str, object]]:
    for tag, keyword in _CLASSIC.items():
        value = elements[tag].value if tag in elements else None
        if value in (None, ""):
            continue
        if keyword == "AcquisitionDateTime":
            yield from _moments(str(value))
        elif isinstance(value, float):
            yield keyword, f"{value:.10g}"
        elif isinstance(value, int):
            yield keyword, str(value)
        elif keyword == "ImageType":
            yield keyword, value


def _moments(stamp: str) -> Iterator[tuple[str, object]]:
    """YYYYMMDDHHMMSS.FFFFFF&ZZXX as one value and as date and time."""
    yield "AcquisitionDateTime", stamp
    moment = stamp.partition("+")[0].partition("-")[0]
    if len(moment) > _DATE_LENGTH:
        yield "AcquisitionDate", moment[:_DATE_LENGTH]
        yield "AcquisitionTime", moment[_DATE_LENGTH:]
