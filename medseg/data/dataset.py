"""Cases and data sets as values: ids, paths and names; never a voxel.

A *case* is one examination: the files of its channels in channel order, perhaps a label map, and the group (patient)
that must stay in one fold. A *data set* is what a layout found in a folder, with what it skipped and what is wrong,
so that nothing is dropped in silence. The module reads no file.

What a case was labelled with is a file, or a file for each structure with its name.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.frozen import FrozenMapping
from medseg.core.labels import Labels
from medseg.io.names import LONGEST_ID, file_key, fits_a_file

__all__ = [
    "BadCase",
    "Case",
    "Dataset",
    "LabelSource",
    "listed",
    "natural_key",
    "resolve_labels",
    "safe_id",
    "shortened",
    "too_long",
    "whole_number",
]

LabelSource = Path | Mapping[str, Path]
"""A label map's file (also a DICOM SEG or an RTSTRUCT), or the file of each structure by its name."""

MOST_VALUES = 512
"""Label maps that declare nothing and hold more values than this are images by mistake."""

_MOST_DIGITS = 9

_WHITE = 255
"""White in an 8-bit picture: alone it is a mask, beside other values it often means "ignore"."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff]')
"""Characters that some file system refuses in a name, and bytes that are no text."""

_BYTES_AT = 0xDC00
_BYTE = re.compile("[\udc80-\udcff]")
"""How Python holds a byte of a file's name that is no UTF-8."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?= *(\.|$))", re.IGNORECASE)
"""Names of devices on Windows, whatever suffix follows."""


@dataclass(frozen=True)
class Case:
    """One examination to learn from or to segment.

    Attributes:
        id: A file-name-safe string, unique in its data set.
        images: One file (or DICOM folder) a channel, in channel order; or a single one that holds all channels.
        label: The file of the label map, or by name a mask of each structure; None where there is neither.
        group: What must stay in one fold with it (a patient); its own id where nothing says otherwise.
        fold: The fold that it validates, where the data set says so.
        stacked: Whether the one image holds the channels along its fourth axis (MSD), which otherwise could be time.
        attributes: Columns of a table; "split": "test" for images that the data set keeps for testing; "patient", a
            digest, where DICOM tells one patient from another.
        read: What `--read KEY=VALUE` says for this case alone, such as {"series": UID}; it goes before the call's own.
        channels: What its images are called, in their order, where they are not all channels of its data set.
        layers: Which layers of a stacked image are the channels, in their order; all of them where it is empty.
    """

    id: str
    images: tuple[Path, ...]
    label: LabelSource | None = None
    group: str = ""
    fold: int | None = None
    stacked: bool = False
    attributes: Mapping[str, str] = field(default_factory=FrozenMapping)
    read: Mapping[str, str] = field(default_factory=FrozenMapping)
    channels: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", self.group or self.id)


@dataclass(frozen=True)
class BadCase:
    """A case that cannot be used, and why: a sentence for the user; `images` are the files that it does have."""

    id: str
    reason: str
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, and how they were found.

    Attributes:
        root: The folder that the user gave.
        layout: The layout's name, as `data.layouts.LAYOUTS` lists them.
        cases: The cases with an image and a label map, in natural order of their ids.
        labels: What the values of the label maps mean; None where only a look at the maps can tell.
        channels: A name for each channel.
        unlabelled: Images without a label map: not trained on, but predicted when the data set is an input.
        problems: What belongs to the data set by name but cannot be used: a label without its image, and the like.
        notes: Why this layout was taken, what was skipped: one sentence each.
        splits_path: A `splits_final.json` beside the data, which decides the folds; None where there is none.

    Raises:
        InputError: Two cases have one id.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    labels: Labels | None
    channels: tuple[str, ...]
    unlabelled: tuple[Case, ...] = ()
    problems: tuple[BadCase, ...] = ()
    notes: tuple[str, ...] = ()
    splits_path: Path | None = None

    def __post_init__(self) -> None:
        refuse_twins((*self.cases, *self.unlabelled))

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(case.id for case in self.cases)

    def without(self, ids: Collection[str]) -> "Dataset":
        """The data set less the cases of these ids (and less what is known to be wrong with them)."""
        return replace(
            self,
            cases=tuple(case for case in self.cases if case.id not in ids),
            problems=tuple(problem for problem in self.problems if problem.id not in ids),
        )


def resolve_labels(dataset: Dataset, values: Collection[int]) -> tuple[Labels, tuple[str, ...]]:
    """Labels for a data set that declares none, from the values that its label maps hold, and what to say about it.

    Raises:
        InputError: There is nothing but background, or so many values that the maps must be images.
    """
    found = sorted(value for value in values if value != 0)
    if not found:
        raise InputError(
            f"The label maps of {dataset.root} hold nothing but background (0); there is nothing to learn."
        )
    if len(found) > MOST_VALUES:
        raise InputError(
            f"The label maps of {dataset.root} hold {len(found)} different values (from {found[0]} to {found[-1]}): "
            "they look like images. If they are label maps, declare the labels in a dataset.json."
        )
    if len(found) > 1 and _WHITE in found:
        note = (
            f"The label maps hold {_WHITE} beside {listed([str(v) for v in found[:-1]])}: it is taken for a label. "
            f'If it means "do not look here", declare "ignore": {_WHITE} in a dataset.json.'
        )
        return Labels.from_values(found), (note,)
    return Labels.from_values(found), ()


def refuse_twins(cases: Iterable[Case]) -> None:
    """Refuse cases of one id, naming the files of both; ids that differ only in case are one file on many systems.

    Raises:
        InputError: Two cases have one id: their results would overwrite each other.
    """
    seen: dict[str, Case] = {}
    for case in cases:
        twin = seen.setdefault(file_key(case.id), case)
        if twin is not case:
            same = case.id == twin.id
            ids = f"'{case.id}'" if same else f"'{twin.id}' and '{case.id}', which are one name on many systems"
            raise InputError(
                f"Two inputs have the case id{'' if same else 's'} {ids}: {twin.images[0]} and {case.images[0]}. "
                "Rename one of them: the id is the name of the result."
            )


def too_long(case: Case) -> str | None:
    """Why a case's id cannot be the name of its results, where it cannot: a sentence."""
    if fits_a_file(case.id):
        return None
    return (
        f"The name {case.id[:20]}… has {len(case.id)} letters and leaves no room for the suffixes of results: "
        f"give its files a name of at most {LONGEST_ID} bytes."
    )


def safe_id(name: str) -> str:
    r"""A case id that can be a file's name anywhere: refused characters and edges become underscores.

    Names that Windows keeps for devices get one behind them; bytes that are no UTF-8 stand in hexadecimal digits, so
    that two names differ afterwards if they did before.

    >>> safe_id("T1: post?"), safe_id("con.1"), safe_id("M\udcfcller")
    ('T1_ post_', 'con_.1', 'Mxfcller')
    """
    name = _UNSAFE.sub("_", _BYTE.sub(lambda byte: f"x{ord(byte[0]) - _BYTES_AT:02x}", name))
    name = re.sub(r"^\.+|[. ]+$", "_", name) or "_"
    reserved = _RESERVED.match(name)
    return name if reserved is None else f"{reserved.group()}_{name[reserved.end() :]}"


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key in which numbers count as numbers, of any length: slice_2 before slice_10.

    >>> sorted(["slice_10", "slice_2", "slice_1"], key=natural_key)
    ['slice_1', 'slice_2', 'slice_10']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    digits = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    # Python makes no number of thousands of digits: longer ones are larger, and of one length they sort as texts.
    keys = ((-1, part) if number is None else (len(number), number) for part, number in zip(parts, digits, strict=True))
    # The name itself comes last, so that "a01" and "a1" have an order too.
    return (*keys, (-2, name))


def whole_number(text: str) -> int | None:
    """The whole number from 0 on that a text is; None where it is none, or has more than nine digits.

    >>> whole_number("12"), whole_number("-1"), whole_number("1e3"), whole_number("9" * 5000)
    (12, None, None, None)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text.lstrip("0")) <= _MOST_DIGITS else None


def shortened(text: str, longest: int = 120) -> str:
    """A text for a sentence: cut where it is longer than anybody reads."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def listed(names: Collection[str], at_most: int = 5) -> str:
    """Names for a sentence, the first few and how many more.

    >>> listed(["a", "b", "c", "d"], at_most=2)
    'a, b and 2 more'
    """
    ordered = [shortened(name) for name in sorted(names, key=natural_key)]
    more = len(ordered) - at_most
    return ", ".join(ordered[:at_most]) + (f" and {more} more" if more > 0 else "")
