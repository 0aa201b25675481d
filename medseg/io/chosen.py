"""Which structures of a file are read: what `--read structures=` and `leave_out=` leave, and of that what is wanted.

A radiotherapy plan holds couches, rings and dose structures that no model learns, and one of them drawn past the last
slice must not cost a patient. So what is not asked for is not judged, be it damaged, beyond the images or a twin; and a
refusal of what is asked for names the option that leaves it out. Names are compared as everywhere, by `folded`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.labels import folded
from medseg.io.options import ReadOptions

__all__ = ["NOT_ASKED_FOR", "Chosen", "chosen", "leave_out", "without"]

NOT_ASKED_FOR = "Structures that were not asked for are left out: "
"""How the note begins that names them."""

_SHOWN = 5
"""How many names a sentence lists."""

_PLAIN = frozenset(" _-+.()/&:=^~@#'<>")
"""Beside letters and digits, what means itself in a pattern, in double quotes of a shell, and in a table's cell."""


@dataclass(frozen=True)
class Chosen:
    """The structures of a file that are read.

    Attributes:
        names: Their names, folded.
        notes: What was left out.
    """

    names: frozenset[str]
    notes: tuple[str, ...] = ()

    def __contains__(self, name: str) -> bool:
        return folded(name) in self.names


def chosen(names: Sequence[str], path: Path | str, options: ReadOptions, wanted: Collection[str] | None) -> Chosen:
    """Which of the structures in a file are read.

    Args:
        names: All that the file holds.
        path: The file, for the sentences.
        options: `structures` and `leave_out` of these count.
        wanted: Names that the caller asks for; None: all. Where the file has none of them all are read: the caller
            says what that means, and takes the only structure of a file whatever it is called.

    Raises:
        InputError: The options leave no structure, or one that nobody asked for.
    """
    names = _distinct(names)
    left = [name for name in names if options.takes(name)]
    if names and not left:
        raise InputError(
            f"{path} holds {_listed(names)}, and --read structures= and leave_out= leave none of them. Correct the "
            "patterns, or take the case out of the data set."
        )
    asked = None if wanted is None else {folded(name) for name in wanted}
    mine = left if asked is None else [name for name in left if folded(name) in asked]
    if not mine and len(left) == 1 < len(names):
        raise InputError(f"{path} holds {_listed(names)}, and none of them is called {_listed(list(wanted or ()))}.")
    kept = frozenset(map(folded, mine or left))
    aside = [name for name in names if folded(name) not in kept]
    notes = (f"{NOT_ASKED_FOR}{_listed(aside)}.",) if aside else ()
    return Chosen(kept, notes)


def leave_out(names: Iterable[str], options: ReadOptions) -> str:
    """The option that leaves structures out, beside those that are left out already, as it is typed.

    >>> leave_out(["Couch"], ReadOptions()), leave_out(["Ring 1", "Z [old], $new"], ReadOptions(leave_out="BODY"))
    ('--read leave_out=Couch', '--read "leave_out=BODY,Ring 1,Z ?old?? ?new"')
    """
    patterns = without(names, options).leave_out or ""
    is_plain = all(c.isalnum() or c in "_-+.," for c in patterns)
    return f"--read leave_out={patterns}" if is_plain else f'--read "leave_out={patterns}"'


def without(names: Iterable[str], options: ReadOptions) -> ReadOptions:
    """Options that leave structures out, beside those that are left out already."""
    before = [options.leave_out] if options.leave_out else []
    return replace(
        options, leave_out=",".join([*before, *("".join(map(_literal, name.strip())) for name in _distinct(names))])
    )


def _literal(character: str) -> str:
    return character if character.isalnum() or character in _PLAIN else "?"


def _distinct(names: Iterable[str]) -> list[str]:
    return list({folded(name): name for name in names}.values())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
