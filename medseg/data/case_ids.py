"""What a case is called: by the place of its own files, never by what else lies in the folder or how it was given.

A name comes from the nearest folder that says something: `STS_003/CT/image` is STS_003, as CT and image are in every
patient's folder. A DICOM series bears a digest of its SeriesInstanceUID behind the name, for a folder may hold several
and be filled anew every night. Paths are made absolute, links are not followed: names are those that the user sees.
Nothing that is written in a file becomes a name.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from os.path import abspath
from pathlib import Path

from medseg import io
from medseg.data.channel_order import channel_key
from medseg.data.dataset import safe_id
from medseg.data.scans import stem_of
from medseg.io.names import file_key

__all__ = [
    "file_name",
    "folder_ids",
    "folder_name",
    "has_digest",
    "member_name",
    "place_name",
    "plain_name",
    "says_little",
    "says_nothing",
    "series_id",
    "without_number",
]

_WORD = re.compile(
    r"images?(tr|ts)?|imaging|imgs?|scans?|volumes?|dicom(s|dir)?|dcms?|series|stud(y|ies)|files?|raw|data|inputs?|orig(inal)?|"
    r"source(data)?|anat|ct|mri?|mra|pe?t|nm|us|cta|cbct|dx|spect|t1(w|c|ce|gd|n)?|"
    r"t2[wf]?|flair|pd|dwi|adc|swi|dti"
)
"""Words that are in every patient's folder."""

_COLLECTION = re.compile(r"images(tr|ts)?|imgs|scans|volumes|files|inputs|data|dicoms", re.IGNORECASE)
"""Folders of many cases: a file in them is called by its own name, whatever that is."""

_NUMBERED = re.compile(
    r"(baseline|followup|series|serie|se|ser|study|stud|st|im|pa|dir|visit|session|ses|timepoint|tp)[0-9]*"
)
"""Words that are so with a number, too: SE000001 on a CD, visit_2. Not scan_2 or CT_001: so cases are called."""

_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")
_ARCHIVE_STUDY = re.compile(r"[0-9]{2}-[0-9]{2}-[0-9]{4}(-|$)|(19|20)[0-9]{2}[-_]?(0[1-9]|1[0-2])[-_]?[0-3][0-9](-|$)")
_ARCHIVE_SERIES = re.compile(r"[0-9]+\.[0-9]{6}-")
"""How TCIA calls the folders of a study (its date before) and of a series (its number before)."""

_DIGEST = re.compile(r"(?<=.)_[0-9][0-9a-f]{7}$")


def series_id(home: Path, uid: str) -> str:
    """The id of a DICOM series.

    Args:
        home: The folder, the file or the archive (or what is called so inside one) that holds all files of the series.
        uid: Its SeriesInstanceUID, "" where the files have none.
    """
    name = place_name(home)
    return safe_id(f"{name}_{_digest(uid)}" if uid else name)


def has_digest(case_id: str) -> bool:
    """Whether an id seems to be one of a DICOM series."""
    return _DIGEST.search(case_id) is not None


def plain_name(case_id: str) -> str:
    """A case's name without the digest of a series, and without the number of a first channel.

    >>> plain_name("STS_003_4f3a2b1c"), plain_name("STS_003"), plain_name("liver_7_0000")
    ('STS_003', 'STS_003', 'liver_7')
    """
    return without_number(_DIGEST.sub("", case_id))


def without_number(name: str) -> str:
    """A name without the number of a first channel, as nnU-Net's files have it behind the name of the case."""
    return re.sub(r"(?<=.)_0000$", "", name)


def place_name(place: Path) -> str:
    """The name of a file (without its suffix) or a folder, or of the nearest folder above it that says something.

    Where none does, it is the nearest one's name; "scan" where there is none at all.
    """
    names = [*_names_upward(Path(abspath(place)))]  # noqa: PTH100  resolve() follows links
    return next((name for name in names if not says_nothing(name)), names[0] if names else "scan")


def file_name(path: Path, channels: Collection[str] = ()) -> str:
    """The name of a file that is a case: its stem without the number of a first channel.

    What a file in every patient's folder is called (ct, image, or as one of the `channels`) says nothing; then it is
    called after its folder, unless that is a folder of many cases.
    """
    stem = without_number(stem_of(path))
    folder = Path(abspath(path)).parent  # noqa: PTH100  resolve() follows links
    return folder_name(folder) if says_little(stem, channels) and not _COLLECTION.fullmatch(folder.name) else stem


def says_little(stem: str, channels: Collection[str] = ()) -> bool:
    """Whether a file is called as the files in every patient's folder are: by such words, or as one of the channels."""
    return _is_words(stem) or channel_key(stem) in channels


def folder_name(folder: Path) -> str:
    """The name of a folder that holds one case: its own, and where that is a visit or a date, the one above before it.

    Folders like anat or CT, that are in every patient's, are passed over.
    """
    parts: list[str] = []
    for name in _names_upward(Path(abspath(folder))):  # noqa: PTH100  resolve() follows links
        if not says_nothing(name):
            return "_".join((name, *reversed(parts)))
        if not _is_words(name):
            parts.append(name)
    return place_name(folder)


def member_name(folder: Path, base: str, *, is_root: bool) -> str:
    """The name of one of several cases in a folder; the folder's own goes before it, but for the one that was given."""
    owner = folder_name(folder)
    return base if is_root else _joined([owner, base])


def folder_ids(places: Sequence[tuple[str, ...]], root: Path) -> tuple[str, ...]:
    """An id for each place below a folder: the nearest name that says something, longer only where two are alike.

    Then what lies below that name joins it, then the folders above, and at last a number. A name that begins as the
    folder before does not repeat it.

    >>> folder_ids([("HGG", "P_1"), ("HGG", "P_2"), ("a", "7"), ("b", "7"), ("P_3", "P_3_frame01")], Path("data"))
    ('P_1', 'P_2', 'a_7', 'b_7', 'P_3_frame01')
    """
    full = [(place_name(root), *place) for place in places]
    home = [max((n for n, name in enumerate(names) if not says_nothing(name)), default=0) for names in full]
    spans = [
        [(at, at + 1), *((start, len(names)) for start in range(at, -1, -1))]
        for names, at in zip(full, home, strict=True)
    ]
    chosen = [0] * len(places)
    while True:
        ids = [_joined(names[slice(*span[n])]) for names, span, n in zip(full, spans, chosen, strict=True)]
        counts = Counter(file_key(each) for each in ids)
        again = [n for n, each in enumerate(ids) if counts[file_key(each)] > 1 and chosen[n] + 1 < len(spans[n])]
        if not again:
            return _numbered(ids)
        for n in again:
            chosen[n] += 1


def _joined(names: Sequence[str]) -> str:
    """Names of folders as one id; a name that begins with all before, or with the one before, stands for it.

    >>> _joined(["patient003", "patient003_frame01"]), _joined(["a", "b", "b-1"]), _joined(["p1", "p10"])
    ('patient003_frame01', 'a_b-1', 'p1_p10')
    """
    kept: list[str] = []
    for name in names:
        while kept and _begins_with(name, "_".join(kept)):
            kept.clear()
        if kept and _begins_with(name, kept[-1]):
            kept.pop()
        kept.append(name)
    return safe_id("_".join(kept))


def _begins_with(name: str, start: str) -> bool:
    return name == start or (name.startswith(start) and name[len(start)] in "-_. ")


def _numbered(ids: Sequence[str]) -> tuple[str, ...]:
    """The ids, of which the second of two that are alike has a number behind it."""
    taken: set[str] = set()
    found = []
    for each in ids:
        name, number = each, 2
        while file_key(name) in taken:
            name, number = f"{each}_{number}", number + 1
        taken.add(file_key(name))
        found.append(name)
    return tuple(found)


def says_nothing(name: str) -> bool:
    """Whether a name says only what kind of thing it names, and not whose.

    >>> [says_nothing(name) for name in ("CT", "SE000001", "series 3", "1.2.840.113619.2", "4.000000-Thorax-1")]
    [True, True, True, True, True]
    >>> [says_nothing(name) for name in ("STS_003", "0007", "night", "ct_liver")]
    [False, False, False, False]
    """
    if _UID.search(name) or _ARCHIVE_STUDY.match(name) or _ARCHIVE_SERIES.match(name):
        return True
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    known = [bool(_WORD.fullmatch(word) or _NUMBERED.fullmatch(word)) for word in words]
    numbers = [word.isdecimal() and bool(_NUMBERED.fullmatch(before)) for before, word in pairwise(["", *words])]
    return any(known) and all(a or b for a, b in zip(known, numbers, strict=True))


def _is_words(name: str) -> bool:
    """Whether a name is nothing but words that are in every patient's folder."""
    return all(_WORD.fullmatch(word) for word in re.split(r"[\W_]+", name.lower()) if word)


def _names_upward(place: Path) -> Iterator[str]:
    """The names of a place and of the folders above it; a file that is just numbered has none."""
    for each in (place, *place.parents):
        is_archive = each.suffix.lower() == ".zip" and each.is_file()
        name = each.stem if is_archive else io.stem(each.name) if each == place else each.name
        is_number = each == place and name != each.name and re.fullmatch(r"[0-9._-]*", name)
        if name and not is_number:
            yield name


def _digest(uid: str) -> str:
    """Eight digits of a digest; the first is a decimal, so that nobody takes it for a channel's name (case_t1)."""
    digest = sha256(uid.encode()).hexdigest()
    return f"{int(digest[:8], 16) % 10}{digest[8:15]}"
