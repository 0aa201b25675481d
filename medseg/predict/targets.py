"""What a call would write, by name, and the refusal to write over anything that is not medseg's own.

All names are asked for before the first case is computed, so that a slip of a word in `-o` costs a sentence and not
the annotations of a data set. Names that some file system takes for one count as one.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from medseg.core.errors import UsageError
from medseg.data.dataset import Case, listed
from medseg.io.names import file_key
from medseg.predict.ledger import Ledger

__all__ = ["refuse_among_scans", "refuse_existing", "refuse_foreign", "refuse_twin_outputs"]

_MOST_NAMED = 20
"""Names that a refusal lists; then it counts."""

_OVERWRITE = "Write to another folder, or say --overwrite to replace"


def refuse_twin_outputs(names: Mapping[str, Sequence[str]]) -> None:
    """Refuse cases of which one would write over what another has written: `a_preview` beside `a` with its preview.

    Args:
        names: Case → the files that it would write.

    Raises:
        UsageError: A file is written for two cases.
    """
    writers: dict[str, str] = {}
    for case, files in names.items():
        for name in files:
            other = writers.setdefault(file_key(name), case)
            if other != case:
                raise UsageError(
                    f"The cases '{other}' and '{case}' would both write {name}. Rename one of them, or predict them "
                    "into folders of their own."
                )


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to write over any of these files.

    Raises:
        UsageError: Some are there already.
    """
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        more = f" (and {len(there) - 1} more beside it)" if len(there) > 1 else ""
        raise UsageError(f"{there[0]} is there already{more}. Give another name, or say --overwrite.")


def refuse_foreign(ledger: Ledger, names: Mapping[str, Sequence[str]], needs_no_work: Callable[[str], bool]) -> None:
    """Refuse to write over files of the folder that medseg did not write, or that somebody has changed since.

    Args:
        ledger: The records of the folder.
        names: Case → the files that it would write.
        needs_no_work: Whether a case is up to date, so that nothing of it is written; asked where it matters.

    Raises:
        UsageError: There are such files; all are counted, the first few named.
    """
    lying: dict[str, list[str]] = {}
    if ledger.folder.is_dir():
        for path in ledger.folder.iterdir():
            lying.setdefault(file_key(path.name), []).append(path.name)
    in_work = ledger.names_in_work()
    ledger.refresh()
    found: dict[str, list[str]] = {"foreign": [], "another": [], "changed": []}
    for case, files in names.items():
        there = [name for file in files for name in lying.get(file_key(file), ()) if file_key(name) not in in_work]
        states = {name: ledger.ownership(name, case) for name in there}
        if "changed" in states.values() and needs_no_work(case):
            continue
        for name, state in states.items():
            if state in found:
                found[state].append(name)
    where = str(ledger.folder)
    for state, sentence in (("foreign", _foreign), ("another", _of_another), ("changed", _changed)):
        if found[state]:
            raise UsageError(sentence(found[state], where))


def _foreign(names: Sequence[str], where: str) -> str:
    one = len(names) == 1
    return (
        f"{len(names)} {'file' if one else 'files'} that medseg did not write {'lies' if one else 'lie'} in {where} "
        f"under names of these masks: {listed(names, _MOST_NAMED)}. {_OVERWRITE} {'it' if one else 'them'}."
    )


def _of_another(names: Sequence[str], where: str) -> str:
    one = len(names) == 1
    return (
        f"{len(names)} {'file' if one else 'files'} in {where} would be replaced that {'is' if one else 'are'} of "
        f"{'another case' if one else 'other cases'}: {listed(names, _MOST_NAMED)}. {_OVERWRITE} "
        f"{'it' if one else 'them'}."
    )


def _changed(names: Sequence[str], where: str) -> str:
    it = "it" if len(names) == 1 else "them"
    return (
        f"{len(names)} {'mask' if len(names) == 1 else 'masks'} in {where} would be replaced, and "
        f"somebody has changed {it} since medseg wrote {it}: {listed(names, _MOST_NAMED)}. {_OVERWRITE} {it}."
    )


def refuse_among_scans(cases: Iterable[Case], out: Path) -> None:
    """Refuse a folder that the scans lie in, or that lies in one of them.

    Raises:
        UsageError: Masks there would be taken for scans, or for parts of a scan, the next time.
    """
    if not out.exists() and not out.parent.exists():
        return
    resolved = out.resolve()
    folders: dict[Path, bool] = {}
    for case in cases:
        for image in case.images:
            is_folder = image.is_dir()
            folders.setdefault(image if is_folder else image.parent, is_folder)
    for folder, is_scan in folders.items():
        place = folder.resolve()
        if place == resolved or (out.exists() and folder.exists() and out.samefile(folder)):
            raise UsageError(
                f"{out} is where the scans are: masks there would be taken for scans the next time. "
                "Write to another folder."
            )
        if is_scan and place in resolved.parents:
            raise UsageError(
                f"{out} lies inside of the scan {folder}: masks there would be taken for parts of it the next time. "
                "Write to another folder."
            )
