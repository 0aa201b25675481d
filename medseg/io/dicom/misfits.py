"""Structures that do not fit the images they are read on: all of them are found, and one sentence says the way out.

A reader goes through all structures before it refuses, so that the option that a refusal offers is the whole way out.
Where no structure fits, the label belongs to other images, and there is nothing to leave out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from medseg.core.errors import MisfitError
from medseg.io.chosen import leave_out
from medseg.io.options import ReadOptions

__all__ = ["Misfits", "UnfitError"]

_OTHER_IMAGES = "it was drawn on other images. Give those, or leave the file out"


class UnfitError(Exception):
    """Why one structure cannot be read; it never leaves a reader.

    Attributes:
        reason: A clause with the structure's name.
        option: What would mend it without leaving it out: an option and what it does.
        ending: What to do where no structure can be read.
    """

    def __init__(self, reason: str, option: str = "", ending: str = _OTHER_IMAGES) -> None:
        super().__init__(reason)
        self.reason = reason
        self.option = option
        self.ending = ending


@dataclass
class Misfits:
    """What was found so far.

    Attributes:
        options: How the file is read: what is left out already stays out.
        found: Structure → why it cannot be read, in the order of finding.
    """

    options: ReadOptions
    found: dict[str, UnfitError] = field(default_factory=dict)

    @contextmanager
    def of(self, structure: str) -> Iterator[None]:
        """Keep why a structure cannot be read, and go on."""
        try:
            yield
        except UnfitError as unfit:
            self.found.setdefault(structure, unfit)

    def refuse(self, n_structures: int) -> None:
        """Refuse where a structure does not fit.

        Args:
            n_structures: How many there are that are not empty; where none of them fits, none is offered to be left
                out.

        Raises:
            MisfitError: One does not.
        """
        if not self.found:
            return
        stuck = [unfit for unfit in self.found.values() if not unfit.option]
        first = stuck[0] if stuck else next(iter(self.found.values()))
        names = tuple(self.found)
        more = f" ({len(names) - 1} more cannot be read either)" if len(names) > 1 else ""
        ways = [] if stuck else [first.option]
        if len(names) < n_structures:
            ways.append(f"{leave_out(names, self.options)} leaves {'it' if len(names) == 1 else 'them'} out")
        what = f"{first.reason}{more}; {', or '.join(ways)}." if ways else f"{first.reason}: {first.ending}."
        raise MisfitError(what, names)
