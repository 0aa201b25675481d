"""What a scan of a folder leaves aside: files of no kind that medseg reads, pipes and devices, folders that are closed.

Nothing that lies in a folder of scans vanishes without a word: it is counted, and named by its suffix. Files that
nobody takes for images (notes, tables, code) need no word. Names are looked at; a file without a telling name is opened
to see whether it is DICOM.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from medseg import io
from medseg.data.dataset import listed
from medseg.io.foreign import foreign_suffix, format_name, is_sidecar, remedy
from medseg.io.listing import Listing, kind_of_special, listing

__all__ = ["foreign_files", "left_aside", "left_aside_of"]

_DEEPEST = 8
"""So many folders below the one that is given are looked into."""

_MOST_NAMED = 6

_OURS = ("plan.json", "model.json", "predictions.json")
"""What lies in a folder that medseg wrote: a run, a model, predictions."""

_HEADERS = (".mhd", ".nhdr")
_DATA_OF_HEADERS = (".raw", ".zraw", ".gz", ".bz2", ".img", ".bin", ".dat")
"""The voxels of a header lie in a file of their own beside it."""


def left_aside(root: Path) -> tuple[str, ...]:
    """A sentence for each kind of thing in a folder, at any depth, that was left aside."""
    return left_aside_of([*_walked(root, 0)], root)


def left_aside_of(listings: Sequence[Listing], root: Path) -> tuple[str, ...]:
    """A sentence for each kind of thing in some folders that was left aside; `root` is what the user knows."""
    foreign = [path for each in listings for path in foreign_files(each)]
    special = [path for each in listings for path in each.special]
    closed = [each.folder for each in listings if not each.is_readable]
    return (*_foreign_note(foreign), *_special_note(special, root), *_closed_note(closed, root))


def foreign_files(found: Listing) -> list[Path]:
    """The files of a folder that are of no kind that medseg reads and that somebody may take for images."""
    has_headers = any(path.suffix.lower() in _HEADERS for path in found.files)
    return [
        path
        for path in found.files
        if not is_sidecar(path)
        and not (has_headers and path.suffix.lower() in _DATA_OF_HEADERS)
        and io.main_file(path) == path
        and io.kind_of(path) is None
    ]


def _walked(folder: Path, depth: int) -> Iterator[Listing]:
    found = listing(folder)
    if depth > 0 and any(path.name in _OURS for path in found.files):
        return
    yield found
    if depth < _DEEPEST:
        for each in found.folders:
            if not each.is_symlink() or depth == 0:  # links deeper down may lead round in circles
                yield from _walked(each, depth + 1)


def _foreign_note(paths: Sequence[Path]) -> tuple[str, ...]:
    if not paths:
        return ()
    by_suffix = {foreign_suffix(path).lower(): path for path in reversed(paths)}
    suffixes = sorted((foreign_suffix(path) for path in by_suffix.values()), key=str.lower)
    words = ", ".join(suffix or "no suffix" for suffix in suffixes[:_MOST_NAMED])
    more = f" and {len(suffixes) - _MOST_NAMED} more" if len(suffixes) > _MOST_NAMED else ""
    names = {suffix: format_name(f"a{suffix}") for suffix in suffixes[:_MOST_NAMED]}
    formats = "".join(f" {suffix} is {name}; {remedy(f'a{suffix}')}." for suffix, name in names.items() if name)
    are, were = ("file is", "was") if len(paths) == 1 else ("files are", "were")
    return (f"{len(paths)} {are} of no kind that medseg reads and {were} left aside: {words}{more}.{formats}",)


def _special_note(paths: Sequence[Path], root: Path) -> tuple[str, ...]:
    if not paths:
        return ()
    words = listed(
        [
            f"{path.relative_to(root).as_posix()} ({kind_of_special(path) or 'a link that leads nowhere'})"
            for path in paths
        ]
    )
    are = "1 entry is no file and was" if len(paths) == 1 else f"{len(paths)} entries are no files and were"
    return (f"{are} left aside: {words}.",)


def _closed_note(folders: Sequence[Path], root: Path) -> tuple[str, ...]:
    if not folders:
        return ()
    names = listed([each.name if each == root else each.relative_to(root).as_posix() for each in folders])
    are = (
        "1 folder may not be read and was" if len(folders) == 1 else f"{len(folders)} folders may not be read and were"
    )
    return (f"{are} left aside: {names}.",)
