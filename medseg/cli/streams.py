"""Standard input, output and error as a process may be given them: closed, full, or in an encoding of few characters.

A closed one is opened on nothing: the next file that is opened would else take its number, and what libraries print
would end in that file. A character that an encoding lacks (Windows' code pages, ASCII) is written by its likeness or by
its escape; nothing that is said ends a command.
"""

import codecs
import contextlib
import io
import logging
import os
import stat
import sys
import warnings

__all__ = ["flush", "leave_closed_terminal", "prepare", "say_error", "settle", "silence_libraries"]

_LIKENESSES = {
    "…": "...",
    "→": "->",
    "×": "x",
    "–": "-",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "±": "+/-",
    "·": "*",
    "µ": "u",
    "μ": "u",
    "°": " degrees",
    "²": "^2",
    "³": "^3",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
}
"""Signs of our own sentences in ASCII."""

_HANDLER = "medseg-likeness"


def prepare() -> None:
    """Make standard input, output and error usable, whatever they are."""
    codecs.register_error(_HANDLER, _likeness)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(number, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def silence_libraries() -> None:
    """Keep from users what they cannot place: where matplotlib keeps its fonts, an overflow in a line of NumPy's."""
    logging.disable(logging.WARNING)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        # Processes that are started later heed it, too.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


def say_error(text: str) -> None:
    """Write a line to standard error; if that is broken there is nobody to tell."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def flush() -> None:
    """Write what standard output still holds, so that its errors come while they can be told.

    Raises:
        OSError: It cannot be written.
    """
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def settle() -> None:
    """Empty standard output for good: what it cannot take goes nowhere, or Python would try again when it ends."""
    try:
        flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave_closed_terminal() -> None:
    """Let what is still said go nowhere if the terminal is gone: writing to it is an error, and would end the work."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode) and not stream.isatty():
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _likeness(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    known = (_LIKENESSES.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in characters)
    return "".join(known), error.end


def _nowhere(number: int, mode: str) -> io.TextIOWrapper:
    handle = os.open(os.devnull, os.O_RDWR)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)
    return open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]
