"""The records of a folder of predictions, which several processes may fill at once without losing any.

    OUT/predictions.json          the records of all cases, whole at any moment
    OUT/.predictions/TOKEN.jsonl  while a process works: who it is, then its records as they come
    OUT/.predictions/case-DIGEST  a case that a process has claimed, and the files that it will write
    OUT/.predictions/lock         while predictions.json is merged

A record is appended to the journal of its process, and the journals are merged into predictions.json now and then and
at the end; so nothing is rewritten for each case, and what a killed process had recorded is there for the next one. A
claim whose process has died is taken over; files that it wrote and did not record are removed. The ledger also knows
which files of the folder are medseg's own, and whether somebody has changed them since.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from medseg.core.errors import InputError, MachineError, machine_error
from medseg.io.files import digest, read_json, remove_leftovers, write_json
from medseg.io.names import file_key
from medseg.io.presence import Presence, alive, exclusive, make_owned
from medseg.predict.outputs import PREDICTIONS_SCHEMA, FileFacts, Record

__all__ = ["Ledger", "Ownership"]

Ownership = Literal["absent", "ours", "changed", "another", "foreign"]
"""Of a file and a case: medseg wrote it for the case, or did but somebody has changed it since, or wrote it for another
case, or did not write it; or there is none."""

_HIDDEN = ".predictions"

_SAVE_EVERY_S = 2.0
"""The record of thousands of small cases is not rewritten after each of them …"""

_SAVE_SHARE = 0.05
"""… and rewriting takes no larger share of the time, however many there are."""

_CLOCK_TOLERANCE_S = 2.0
"""Some file systems count in steps of two seconds."""


class Ledger:
    """The records of a folder of predictions, by case."""

    def __init__(self, folder: Path, model: str) -> None:
        """The ledger of `folder`, with what it tells of earlier calls; nothing is written before `open`.

        Raises:
            InputError: There is a `predictions.json` that is damaged or not medseg's.
        """
        self.folder = folder
        self.path = folder / "predictions.json"
        self._hidden = folder / _HIDDEN
        self._model = model
        self._records: dict[str, Record] = {}
        self._ids: dict[str, str] = {}
        self._files: dict[str, tuple[str, FileFacts]] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._offsets: dict[str, int] = {}
        self._presence: Presence | None = None
        self._claim: Path | None = None
        self._saved_at, self._save_s = 0.0, 0.0
        self.refresh()

    def open(self) -> None:
        """Begin to work in the folder: from now on others see this process.

        Raises:
            MachineError: The folder cannot be written to.
        """
        with exclusive(self._lock):
            self._presence = Presence(self._hidden / f"{secrets.token_hex(8)}.jsonl")
            self._clear_dead()
            remove_leftovers(self.folder)
            self._save()

    def close(self) -> None:
        """End to work in the folder, all records in `predictions.json`.

        Raises:
            MachineError: The disk is full: then the journal stays, for the next call.
        """
        if self._presence is None:
            return
        self.release()
        self._presence.stop()
        with exclusive(self._lock):
            self._clear_dead()
            remove_leftovers(self.folder)
            self._save()
            self._presence.close()
        self._presence = None
        with suppress(OSError):
            self._hidden.rmdir()

    def refresh(self) -> None:
        """Hear what other processes have recorded since."""
        # First the journals: one that is merged and removed meanwhile is in predictions.json, which is read last.
        for journal in self._journals():
            self._hear(journal)
        stamp = _stamp(self.path)
        if stamp is not None and stamp != self._stamp:
            for record in _stored(self.path):
                self._keep(record)
            self._stamp = stamp

    def record_of(self, case: str) -> Record | None:
        """The record of a case, or of one whose name some file system takes for the same."""
        return self._records.get(case) or self._records.get(self._ids.get(file_key(case), ""))

    def current(self, case: str, input_digest: str, options: Mapping[str, Any]) -> Record | None:
        """The record of a case that needs no work: same input, model and options, and its outputs are there."""
        record = self.record_of(case)
        if record is None or record.status != "predicted" or not self.is_of(record, options):
            return None
        return record if record.input == input_digest and self._all_there(record) else None

    def is_of(self, record: Record, options: Mapping[str, Any]) -> bool:
        """Whether a record is of this model and these options."""
        return (record.model, record.options) == (self._model, options)

    def holds_another(self, case: str, input_digest: str | None) -> Record | None:
        """The record under this name of a result that is there and comes from other files."""
        record = self.record_of(case)
        if record is None or record.status != "predicted" or record.input == input_digest:
            return None
        return record if any((self.folder / name).is_file() for name in record.outputs) else None

    def ownership(self, name: str, case: str) -> Ownership:
        """Whose a file of the folder is that would be written for a case."""
        path = self.folder / name
        try:
            stat = path.lstat()
        except FileNotFoundError:
            return "absent"
        if file_key(name) not in self._files:
            return "foreign"
        writer, facts = self._files[file_key(name)]
        same = (stat.st_size, stat.st_mtime_ns) == (facts["bytes"], facts["modified_ns"])
        # Copied to another disk, a file may have another time.
        if not same and not (path.is_file() and stat.st_size == facts["bytes"] and digest(path) == facts["sha256"]):
            return "changed"
        return "ours" if file_key(writer) == file_key(case) else "another"

    def names_in_work(self) -> set[str]:
        """Keys of the files that some process is writing, or was writing when it died."""
        return {file_key(name) for claim in self._claims() for name in _promised(claim)}

    def claim(self, case: str, outputs: Iterable[str]) -> bool:
        """Take a case for this process, saying what it will write; False if a living process has it.

        Raises:
            MachineError: The folder cannot be written to.
        """
        if self._presence is None:
            raise RuntimeError("a ledger is opened before cases are claimed")
        path = self._hidden / f"case-{sha256(file_key(case).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
        facts = {"of": self._presence.path.name, "outputs": list(outputs)}
        while not make_owned(path, facts):
            if self._is_held(path):
                return False
            with exclusive(self._lock):
                self._clear_dead()
        self._claim = path
        return True

    def add(self, record: Record) -> None:
        """Keep a record, and write all of them unless that was done moments ago (`close` has the last word).

        Raises:
            MachineError: The disk is full.
        """
        if self._presence is None:
            raise RuntimeError("a ledger is opened before records are added")
        known = self._records.get(record.case)
        if known is not None and known.files:
            # What is there of earlier forms is still medseg's own.
            kept = {name: facts for name, facts in known.files.items() if (self.folder / name).is_file()}
            record = replace(record, files={**kept, **(record.files or {})})
        _append(self._presence.path, json.dumps(record.to_json()) + "\n")
        self._records.pop(record.case, None)
        self._keep(record)
        self.release()
        if time.monotonic() - self._saved_at > max(_SAVE_EVERY_S, self._save_s / _SAVE_SHARE):
            with exclusive(self._lock):
                self._save()

    def release(self) -> None:
        """Give up the case that was claimed; what was written of it and is in no record goes."""
        if self._claim is not None:
            self._undo(self._claim)
            self._claim = None

    @property
    def _lock(self) -> Path:
        return self._hidden / "lock"

    def _journals(self) -> list[Path]:
        own = None if self._presence is None else self._presence.path
        return [path for path in self._hidden.glob("*.jsonl") if path != own]

    def _claims(self) -> list[Path]:
        return list(self._hidden.glob("case-*"))

    def _is_held(self, claim: Path) -> bool:
        """Whether a living process has a claim."""
        name = _claim_facts(claim).get("of")
        # One that says nothing yet was made this moment.
        return alive(self._hidden / name) if isinstance(name, str) else alive(claim)

    def _clear_dead(self) -> None:
        """Take in what dead processes recorded and remove what they left; under the lock."""
        dead = [journal for journal in self._journals() if not alive(journal)]
        self.refresh()
        for claim in self._claims():
            if not self._is_held(claim):
                self._undo(claim)
        if dead:
            self._save()
        for journal in dead:
            self._offsets.pop(journal.name, None)
            with suppress(OSError):
                journal.unlink()

    def _undo(self, claim: Path) -> None:
        """Remove a claim, and the files that were written under it and are in no record."""
        with suppress(OSError):
            made_ns = claim.stat().st_mtime_ns
            for name in _promised(claim):
                path = self.folder / name
                if self.ownership(name, "") in ("foreign", "changed") and path.lstat().st_mtime_ns >= made_ns:
                    path.unlink()
        with suppress(OSError):
            claim.unlink()

    def _hear(self, journal: Path) -> None:
        """Take in what another process has written to its journal since."""
        try:
            with journal.open("rb") as file:
                file.seek(self._offsets.get(journal.name, 0))
                new = file.read()
        except OSError:
            return
        # A line that is being written has no end yet.
        whole = new[: new.rfind(b"\n") + 1]
        is_first = journal.name not in self._offsets
        self._offsets[journal.name] = self._offsets.get(journal.name, 0) + len(whole)
        for line in whole.splitlines()[1 if is_first and whole else 0 :]:
            with suppress(ValueError, KeyError, TypeError):
                self._keep(Record.from_json(json.loads(line)))
        if not whole and is_first:
            del self._offsets[journal.name]

    def _keep(self, record: Record) -> None:
        known = self._records.get(record.case)
        if known is None or record.time >= known.time:
            self._records[record.case] = record
            self._ids[file_key(record.case)] = record.case
            for name, facts in (record.files or {}).items():
                writer = self._records.get(self._files.get(file_key(name), (record.case, facts))[0], record)
                if record.time >= writer.time:
                    self._files[file_key(name)] = (record.case, facts)

    def _save(self) -> None:
        """Merge everything into predictions.json; under the lock."""
        begun = time.monotonic()
        self.refresh()
        records: Sequence[Record] = sorted(self._records.values(), key=lambda record: record.case)
        write_json(
            self.path,
            {"schema": PREDICTIONS_SCHEMA, "model": self._model, "cases": [record.to_json() for record in records]},
        )
        self._stamp = _stamp(self.path)
        self._saved_at = time.monotonic()
        self._save_s = self._saved_at - begun

    def _all_there(self, record: Record) -> bool:
        return all((self.folder / name).is_file() for name in record.outputs)


def _stored(path: Path) -> Iterator[Record]:
    content = read_json(path, "the record of earlier predictions")
    try:
        if content["schema"] == PREDICTIONS_SCHEMA:
            written_s = path.stat().st_mtime
            records = [Record.from_json(facts) for facts in content["cases"]]
            yield from (_with_files(record, path.parent, written_s) for record in records)
            return
    except (KeyError, TypeError, AttributeError):
        pass
    raise InputError(
        f"{path} is no record of medseg predict ('{PREDICTIONS_SCHEMA}'). Move it away, or write elsewhere."
    )


def _with_files(record: Record, folder: Path, written_s: float) -> Record:
    """A record of medseg 0.1.0, which did not say what its files were like: what is older than it was not changed."""
    if record.files is not None or record.status != "predicted":
        return record
    files: dict[str, FileFacts] = {}
    for name in record.outputs:
        with suppress(OSError):
            stat = (folder / name).stat()
            if stat.st_mtime <= written_s + _CLOCK_TOLERANCE_S:
                files[name] = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "sha256": ""}
            else:
                files[name] = {"bytes": -1, "modified_ns": 0, "sha256": ""}
    return replace(record, files=files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _claim_facts(claim: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads(claim.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _promised(claim: Path) -> tuple[str, ...]:
    names = _claim_facts(claim).get("outputs", ())
    return tuple(name for name in names if isinstance(name, str) and name == Path(name).name)


def _append(path: Path, line: str) -> None:
    try:
        # Not to be made anew where the folder was removed: an open file that takes all of the line or says why not.
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)), "ab", buffering=0
        ) as file:
            rest = line.encode("utf-8")
            while rest:
                rest = rest[file.write(rest) or 0 :]
    except OSError as error:
        raise machine_error(error) or MachineError(
            f"{path} cannot be written: {error.strerror or error}. The folder may have been removed."
        ) from error
