"""The image series in a tree of DICOM files as cases: where each lies, how it is read alone, and what it is called.

Ids are those of `data.case_ids`: the same for a series whatever else lies in its tree, and from wherever in the tree it
is looked at. Headers are read, once for each state of a tree; pixels are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os.path import commonpath
from pathlib import Path

from medseg import io
from medseg.data.case_ids import series_id
from medseg.io.listing import is_regular

__all__ = ["SeriesCase", "catalogued", "in_question", "series_cases"]


@dataclass(frozen=True)
class SeriesCase:
    """A series of a tree: `image` and `read` together take it and no other.

    Attributes:
        id: From the names of its folders and its UID.
        entry: What its headers say.
        image: The folder (or the file, or the archive) to read.
        read: Read options that this series needs.
        group: One for each patient: the id of the patient's first series.
    """

    id: str
    entry: io.SeriesEntry
    image: Path
    read: Mapping[str, str]
    group: str


def catalogued(root: Path, options: io.ReadOptions) -> io.Catalogue:
    """The catalogue of a tree; not made anew while no file of it changes."""
    return _catalogued(root, options, _state(root))


def series_cases(
    series: Sequence[io.SeriesEntry], every: Sequence[io.SeriesEntry], root: Path
) -> tuple[SeriesCase, ...]:
    """Some of the series below `root` as cases, in their order.

    Args:
        series: The series in question.
        every: All series of the tree: which one of those that share a folder is read is told by its UID.
        root: The folder or the archive that the user gave.
    """
    homes = {id(entry): _home(entry) for entry in every}
    first_of_patient: dict[str, str] = {}
    found = []
    for entry in series:
        home = homes[id(entry)]
        name = series_id(home, entry.uid)
        alone = not any(home in (each, *each.parents) for key, each in homes.items() if key != id(entry))
        image = root if root.is_file() else home
        read = {} if (alone and image == home) or not entry.uid else {"series": entry.uid}
        found.append(SeriesCase(name, entry, image, read, first_of_patient.setdefault(entry.patient, name)))
    return tuple(found)


def in_question(series: Sequence[io.SeriesEntry], options: io.ReadOptions) -> tuple[io.SeriesEntry, ...]:
    """The series that `--read series=…` and `--read modality=…` leave."""
    return tuple(
        entry
        for entry in series
        if (
            options.series is None
            or any(word in (entry.uid, entry.number, *entry.members) for word in options.wanted_series)
        )
        and (options.modality is None or entry.modality.upper() in options.modalities)
    )


def _home(entry: io.SeriesEntry) -> Path:
    """The one file of a series, or the folder that holds all of them, be it in an archive."""
    if len(entry.paths) == 1:
        return entry.paths[0]
    return Path(commonpath([path.parent for path in entry.paths]))


@lru_cache(maxsize=4)
def _catalogued(root: Path, options: io.ReadOptions, _state: tuple[int, int, int]) -> io.Catalogue:
    return io.catalogue(root, options)


def _state(root: Path) -> tuple[int, int, int]:
    """How many files there are, the youngest one's time, and a hash of all names, times and sizes."""
    files = [root] if root.is_file() else [path for path in root.rglob("*") if is_regular(path)]
    stats = [(str(path), status.st_mtime_ns, status.st_size) for path in files for status in [path.stat()]]
    return len(stats), max((time for _, time, _ in stats), default=0), hash(tuple(sorted(stats)))
