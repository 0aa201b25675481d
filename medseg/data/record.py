"""What the files of a data set were when something began with them: size, time and digest of each source of a case.

A case is found again by its id and a source by its role (a channel, the label map, the mask of a structure), so the
data set may move, and be copied: where size and time are the same nothing is read, where the time alone differs the
digest decides. The record holds no path and no name of a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.core.errors import InputError, MedsegError
from medseg.core.events import CaseRead
from medseg.data.dataset import Case
from medseg.io.files import read_json, write_json
from medseg.io.parts import image_digest, on_disk, parts

__all__ = ["RECORD_SCHEMA", "CaseRecord", "FilesRecord", "load_record", "record_of", "save_record"]

RECORD_SCHEMA: Literal["medseg/files/1"] = "medseg/files/1"


class SourceRecord(BaseModel):
    """A channel, a label map or a mask: one file, all files of a folder, or a header and its voxels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    modified_ns: int
    sha256: str


class CaseRecord(BaseModel):
    """The sources of a case by their roles, and how the case says they are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: dict[str, SourceRecord]
    read: dict[str, str] = {}

    def changed(self, case: Case) -> tuple[str, ...]:
        """The roles in which the files of a case are no longer those of the record."""
        now = dict(_sources(case))
        roles = [role for role in {**self.sources, **now} if self._is_changed(role, now.get(role))]
        return (*roles, *(["reading"] if dict(case.read) != self.read else []))

    def _is_changed(self, role: str, path: Path | None) -> bool:
        before = self.sources.get(role)
        if before is None or path is None:
            return True
        try:
            files, size, modified_ns = _status(path)
            if (files, size) != (before.files, before.bytes):
                return True
            return modified_ns != before.modified_ns and image_digest(on_disk(path)) != before.sha256
        except (OSError, MedsegError):
            return True


class FilesRecord(BaseModel):
    """`files.json`: the cases of a data set by their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["medseg/files/1"] = Field(RECORD_SCHEMA, alias="schema")
    cases: dict[str, CaseRecord]

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def record_of(cases: Sequence[Case]) -> Iterator[CaseRead | FilesRecord]:
    """Read the bytes of all cases: a `CaseRead` for each, and at last the record.

    Raises:
        InputError, UsageError: A file cannot be read (any more).
    """
    found = {}
    for done, case in enumerate(cases, start=1):
        found[case.id] = CaseRecord(
            sources={role: _source(path) for role, path in _sources(case)}, read=dict(case.read)
        )
        yield CaseRead(case.id, done, len(cases), "recording")
    yield FilesRecord(cases=found)


def save_record(record: FilesRecord, path: Path) -> None:
    write_json(path, record.to_json())


def load_record(path: Path) -> FilesRecord:
    """A record that `save_record` wrote.

    Raises:
        InputError: The file is damaged.
    """
    try:
        return FilesRecord.model_validate(read_json(path, "the record of the files"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} (the record of the files) is damaged: {where}: {first['msg']}.") from error


def _sources(case: Case) -> Iterator[tuple[str, Path]]:
    for number, path in enumerate(case.images):
        yield f"channel {number}", path
    if isinstance(case.label, Mapping):
        yield from ((f"mask of {name}", path) for name, path in case.label.items())
    elif case.label is not None:
        yield "label map", case.label


def _source(path: Path) -> SourceRecord:
    try:
        files, size, modified_ns = _status(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return SourceRecord(files=files, bytes=size, modified_ns=modified_ns, sha256=image_digest(on_disk(path)))


def _status(path: Path) -> tuple[int, int, int]:
    """How many files a source has, their bytes, and the latest time (ns) at which one was changed."""
    source = on_disk(path)
    if source.is_dir():
        files = [each for each in source.rglob("*") if each.is_file() and not each.name.startswith(".")]
    else:
        files = list(parts(source))
    states = [each.stat() for each in files]
    return len(files), sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)
