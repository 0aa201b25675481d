"""Whether the files of a case are still those that something was made of: a stamp of their names, sizes and times.

No content is read, so that the stamps of ten thousand cases take seconds. Folders above do not count: a data set may
move. The module must never know what is made of the files.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from medseg.data.dataset import Case
from medseg.io.parts import on_disk, parts

__all__ = ["stamp_of"]


def stamp_of(case: Case) -> str:
    """A digest of the files of a case and of how the case says they are read; another one once a file has changed."""
    named = case.label if isinstance(case.label, Mapping) else {"": case.label}
    sources = [("image", path) for path in case.images]
    sources += [(f"label {name}", path) for name, path in named.items() if path is not None]
    lines = [f"{role}\t{line}" for role, path in sources for line in _lines(path)]
    lines += [f"read\t{key}={value}" for key, value in sorted(case.read.items())]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _lines(path: Path) -> Iterator[str]:
    """Name, size and time of each file that a source consists of."""
    source = on_disk(path)
    if source.is_dir():
        files = sorted(each for each in source.rglob("*") if each.is_file())
    else:
        files = [each for each in parts(source) if each.is_file()]
    for file in files:
        status = file.stat()
        yield f"{_name(file, source)}\t{status.st_size}\t{status.st_mtime_ns}"


def _name(file: Path, source: Path) -> str:
    """The name of a file from its source's folder on; its bare name where it lies elsewhere (voxels of a header)."""
    inside = file.is_relative_to(source.parent)
    return file.relative_to(source.parent).as_posix() if inside else file.name
