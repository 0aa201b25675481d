"""Structures that do not fit the images they are read on: all of them are found, and one sentence says the way out.

A reader goes through all structures before it refuses, so that the option that a refusal offers is the whole way out.
Where no structure fits, the label belongs to other images, and there is nothing to leave out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from medseg.core.errors import InputError
from medseg.io.chosen import leave_out

__all__ = ["MisfitError", "Misfits"]


class MisfitError(InputError):
    """A structure does not fit; `option` is what would move it, if anything would."""

    def __init__(self, reason: str, option: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.option = option


@dataclass
class Misfits:
    """What was found so far: structure → why it does not fit, in the order of finding."""

    found: dict[str, MisfitError] = field(default_factory=dict)

    @contextmanager
    def of(self, structure: str) -> Iterator[None]:
        """Keep why a structure does not fit, and go on."""
        try:
            yield
        except MisfitError as misfit:
            self.found.setdefault(structure, misfit)

    def refuse(self, n_structures: int) -> None:
        """Refuse where a structure does not fit.

        Args:
            n_structures: How many there are that are not empty; where none of them fits, none is offered to be left
                out.

        Raises:
            InputError: One does not.
        """
        if not self.found:
            return
        stuck = [misfit for misfit in self.found.values() if not misfit.option]
        first = stuck[0] if stuck else next(iter(self.found.values()))
        names = list(self.found)
        others = f" ({len(names) - 1} more do not fit either)" if len(names) > 1 else ""
        options = [] if stuck else [first.option]
        if len(names) < n_structures:
            options.append(f"{leave_out(names)} leaves {'it' if len(names) == 1 else 'them'} out")
        if not options:
            raise InputError(f"{first.reason}: it was drawn on other images. Give those, or leave the file out.")
        raise InputError(f"{first.reason}{others}; {', or '.join(options)}.")
