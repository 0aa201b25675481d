"""The options that all verbs share, added to a command by one decorator, and the words that options are written in."""

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from medseg.core.errors import UsageError

__all__ = ["SHARED_NAMES", "Shared", "parse_pairs", "shared_options"]


MOST_JOBS = 1024
MOST_THREADS = 64


@dataclass(frozen=True)
class Shared:
    """What every verb is told alike.

    Attributes:
        verbose: How much more to say; from 2 on errors come with their traceback.
        quiet: Say nothing but errors and the result.
        json: One JSON object a line on standard output; the screen moves to standard error.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        jobs: Processes or threads that work side by side; None is as many as there are cores.
        max_memory_bytes: What the command may take; None leaves it to the machine.
        seed: Of everything random; None is the configuration's, 0.
        read: How a file that leaves a choice is read: KEY → VALUE.
    """

    verbose: int
    quiet: bool
    json: bool
    device: str
    jobs: int | None
    max_memory_bytes: int | None
    seed: int | None
    read: dict[str, str]

    @property
    def threads(self) -> int | None:
        """How many threads compute; more than there are cores are slower, and thousands are more than torch bears."""
        return None if self.jobs is None else min(self.jobs, max(MOST_THREADS, os.cpu_count() or 1))


def _signature(
    *,
    verbose: Annotated[
        int,
        typer.Option("-v", "--verbose", count=True, envvar="MEDSEG_VERBOSE", help="Say more; -vv adds tracebacks."),
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", envvar="MEDSEG_QUIET", help="Say only errors and the result.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", envvar="MEDSEG_JSON", help="One JSON object a line on standard output.")
    ] = False,
    device: Annotated[
        str,
        typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", envvar="MEDSEG_DEVICE", help="Where to compute."),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            max=MOST_JOBS,
            metavar="N",
            envvar="MEDSEG_JOBS",
            help="How many at once; default: the cores.",
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", metavar="8G", envvar="MEDSEG_MAX_MEMORY", help="Memory the command may take."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=2**32 - 1, metavar="N", envvar="MEDSEG_SEED", help="Seed of everything random."
        ),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            "--read", metavar="KEY=VALUE", help="How to read what leaves a choice, e.g. geometry=sform; repeatable."
        ),
    ] = None,
) -> Shared:
    """The shared options as typer shall see them, and as one value."""
    from medseg.config.units import parse_bytes

    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"--device {device!r} is not known: use auto, cpu, cuda, cuda:N (one GPU) or mps.")
    return Shared(
        verbose=verbose,
        quiet=quiet,
        json=json_lines,
        device=device,
        jobs=jobs,
        max_memory_bytes=None if max_memory is None else parse_bytes(max_memory, "--max-memory"),
        seed=seed,
        read=parse_pairs(read or [], "--read"),
    )


SHARED_NAMES = frozenset({*inspect.signature(_signature).parameters, "help"})
"""How typer knows the options that all verbs share."""


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it takes them as one value, its keyword `shared`.

    Typer reads a command's signature: the decorated one shows the command's own parameters, then the shared ones.
    """
    ours = inspect.signature(_signature).parameters
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "shared"]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:  # noqa: ANN401  whatever the command line says
        shared = _signature(**{name: given.pop(name) for name in ours})
        command(**given, shared=shared)

    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *ours.values()]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    """KEY=VALUE arguments as a mapping; the later of two wins.

    >>> parse_pairs(["geometry=sform"], "--read")
    {'geometry': 'sform'}
    """
    result = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} {pair!r} is not of the form KEY=VALUE.")
        result[key.strip()] = value.strip()
    return result
