"""Headers of many images of one file, which share what is common to them.

A header is a pydicom data set over two layers: what one image says of itself, and below it what the file says. So a
thousand frames take little more memory than one, and what comes after sees one flat header an image. Which elements
belong where is decided elsewhere.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from medseg.io.dicom.find import DAMAGE

__all__ = ["Elements", "Pool", "element_at", "layered", "tags"]

Elements: TypeAlias = dict[BaseTag, DataElement | RawDataElement]


def tags(*keywords: str) -> tuple[BaseTag, ...]:
    """The tags of attributes by the standard's keywords."""
    return tuple(Tag(keyword) for keyword in keywords)


def layered(own: Elements, common: Elements, like: Dataset) -> Dataset:
    """A header that says what is its own, else what is common.

    Args:
        own: What the image says of itself.
        common: What its file says; never changed through the header.
        like: The header of the file, for the group of elements before the data set.
    """
    header = Dataset(ChainMap(own, common))
    if hasattr(like, "file_meta"):
        header.file_meta = like.file_meta
    return header


def element_at(item: Dataset, tag: BaseTag) -> DataElement | None:
    """An element of a data set, None where it is absent or unreadable."""
    try:
        return item.get(tag)
    except DAMAGE:
        return None


class Pool:
    """Elements of one file, each converted once: equal ones of many frames are one object in memory."""

    def __init__(self) -> None:
        self._known: dict[tuple[BaseTag, str | None, object], DataElement | None] = {}
        self._groups: dict[tuple[BaseTag, bytes], Elements] = {}

    def elements(self, item: Dataset, without: Collection[BaseTag] = ()) -> Iterator[DataElement]:
        """What can be read of a data set, but for some tags."""
        for tag in item.keys():  # noqa: SIM118  iterating over the data set itself converts everything
            if tag not in without and (element := self._element(item, tag)) is not None:
                yield element

    def named(self, keyword: str, value: object) -> DataElement:
        """An element of our own making."""
        tag = Tag(keyword)
        key = tag, None, str(value)
        element = self._known.get(key) or DataElement(tag, dictionary_VR(tag), value)
        self._known[key] = element
        return element

    def once(self, item: Dataset, tag: BaseTag, read: Callable[[Dataset, BaseTag, "Pool"], Elements]) -> Elements:
        """What `read` makes of a sequence; equal bytes are read once (most groups of most frames are equal)."""
        raw = item.get_item(tag)
        if not isinstance(raw.value, bytes):
            return read(item, tag, self)
        key = tag, raw.value
        if key not in self._groups:
            self._groups[key] = read(item, tag, self)
        return self._groups[key]

    def _element(self, item: Dataset, tag: BaseTag) -> DataElement | None:
        raw = item.get_item(tag)
        if not isinstance(raw.value, bytes):  # a sequence that was parsed already, or a value set by a program
            return element_at(item, tag)
        key = tag, raw.VR, raw.value
        if key not in self._known:
            self._known[key] = element_at(item, tag)
        return self._known[key]
