"""The command: its verbs, and how every way to end becomes a sentence and an exit code.

0 done · 1 done, but some cases failed · 2 wrong use · 3 unusable data · 4 the machine cannot
70 a defect of medseg (one line, and the file with the traceback) · 129 SIGHUP · 130 Ctrl-C · 143 SIGTERM
"""

import errno
import json
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from medseg._version import __version__
from medseg.cli import evaluate, inspect, predict, sample, streams, train
from medseg.cli.command import Command
from medseg.cli.screen import ENDING, Stopped, Terminated
from medseg.core.errors import MedsegError, machine_error
from medseg.core.escapes import for_terminal
from medseg.core.events import Error, record

__all__ = ["app", "main"]

DEFECT = 70
BROKEN_PIPE = 141

OPEN_FILES = 4096
"""As many are asked for at the start: below the 10,240 that macOS grants at most."""

_WrongUse: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""What typer raises of a wrong command line: click's exception, which newer releases of typer carry in themselves."""

app = typer.Typer(
    name="medseg",
    help="Train a U-Net on scans and masks, predict masks for new scans, and judge them against ground truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: rich takes 0.15 s to load, and `medseg --help` answers within 0.3 s.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command("inspect", cls=Command)(inspect.command)
app.command("train", cls=Command)(train.command)
app.command("predict", cls=Command)(predict.command)
app.command("evaluate", cls=Command)(evaluate.command)
app.command("sample", cls=Command)(sample.command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train a U-Net on scans and masks, predict masks for new scans, and judge them against ground truth."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with the exit code of the contract."""
    streams.prepare()
    streams.silence_libraries()
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup turns SIGHUP off
            signal.signal(number, _terminate)
    _allow_open_files()
    exit_code = run(sys.argv[1:] if arguments is None else arguments)
    streams.settle()
    sys.exit(exit_code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; what it raises becomes a sentence on standard error and the exit code that is returned.

    With `--json` it is also the last object on standard output, so that a program that reads need not look elsewhere.
    """
    ending = _ended(arguments)
    if isinstance(ending, int):
        return ending
    _say(ending.text)
    if _wants_json(arguments):
        with suppress(OSError, ValueError):
            print(json.dumps(record(ending)), flush=True)
    return ending.exit_code


def _ended(arguments: Sequence[str]) -> int | Error:
    """How one command ends: with an exit code that needs no word, or with a sentence."""
    try:
        result = typer.main.get_command(app).main(list(arguments), prog_name="medseg", standalone_mode=False)
        streams.flush()
        return result if isinstance(result, int) else 0
    except typer.Exit as end:
        return end.exit_code
    except _WrongUse as wrong:
        return Error(_sentence_of(wrong), 2)
    except Stopped as stop:
        return Error(stop.sentence, stop.exit_code)
    except Terminated as end:
        return Error("Stopped.", end.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return Error("Stopped.", 130)
    except MedsegError as error:
        _trace_if_wanted(arguments)
        return Error(str(error), error.exit_code)
    except BrokenPipeError:
        # Who reads us has had enough (`| head`): nobody to say it to, and not all that was asked for is done.
        return BROKEN_PIPE
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes this of it
            return BROKEN_PIPE
        raise
    except MemoryError:
        _trace_if_wanted(arguments)
        return Error(f"The memory of this machine is not enough. {_way_out(arguments)}", 4)
    except OSError as error:
        _trace_if_wanted(arguments)
        return _os_error(error, arguments)
    except Exception as error:  # noqa: BLE001  # the last boundary: a defect of ours ends in one line, too
        return _defect(error, arguments)


def _allow_open_files() -> None:
    """Raise the limit of open files towards what the system allows anyway: macOS begins with 256.

    Nothing of medseg's holds a file open for each case; loader processes and libraries want a few hundred at most.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _terminate(number: int, _frame: object) -> None:
    streams.leave_closed_terminal()
    raise Terminated(number)


def _sentence_of(wrong: Exception) -> str:
    """What typer says of a wrong command line, as one sentence; of none at all it shows the help instead."""
    message = str(getattr(wrong, "format_message", wrong.__str__)()).strip()
    if type(wrong).__name__ == "NoArgsIsHelpError":
        return message
    context = getattr(wrong, "ctx", None)
    where = f" (see medseg {context.info_name} --help)" if context is not None and context.parent else ""
    return message.rstrip(".") + where + "."


def _os_error(error: OSError, arguments: Sequence[str]) -> Error:
    if (refused := machine_error(error)) is not None:
        return Error(str(refused), refused.exit_code)
    name = f"{error.filename}: " if error.filename else ""
    wrong_name = error.errno == errno.ENAMETOOLONG
    if wrong_name or isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return Error(f"{name}{(error.strerror or 'no such file').lower()}.", 2)
    return _defect(error, arguments)


def _defect(error: Exception, arguments: Sequence[str]) -> Error:
    if _out_of_memory(error):
        _trace_if_wanted(arguments)
        return Error(f"The memory of the device is not enough. {_way_out(arguments)}", 4)
    _trace_if_wanted(arguments)
    report = _report(arguments)
    if report is None:
        return Error(
            f"This is a defect of medseg ({_last_frame(error)}). What happened could not be kept: no temporary file "
            "can be written here. Add -vv to see it, and please report it.",
            DEFECT,
        )
    return Error(
        f"This is a defect of medseg ({type(error).__name__}). {report} holds what happened; "
        "please report it with that file.",
        DEFECT,
    )


def _report(arguments: Sequence[str]) -> Path | None:
    """A file with the traceback of the error that is being handled; None where none can be written."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    text = f"medseg {__version__}, Python {sys.version}\n{' '.join(arguments)}\n\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"medseg-defect-{stamp}-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(text)
    except OSError:
        return None
    return Path(file.name)


def _last_frame(error: Exception) -> str:
    """Kind and place of an error, for a sentence: "KeyError in store.py, line 12"."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "")


def _way_out(arguments: Sequence[str]) -> str:
    """What a command may do with less memory."""
    verb = next((word for word in arguments if word in _WAYS_OUT), "")
    return _WAYS_OUT.get(verb, "Close other programs and run it again.")


_WAYS_OUT = {
    "train": "Give a smaller plan.patch or plan.batch (--set), or close other programs.",
    "predict": "Close other programs, or crop the images.",
    "evaluate": "Close other programs, or give fewer --jobs.",
    "inspect": "Close other programs, or give fewer --jobs.",
}
"""Verb → what makes it take less memory."""


def _out_of_memory(error: Exception) -> bool:
    """Whether torch ran out of memory; by name, since torch may not have been imported."""
    words = ("DefaultCPUAllocator: not enough memory", "DefaultCPUAllocator: can't allocate memory")
    return type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words)


def _wants_trace(arguments: Sequence[str]) -> bool:
    short = sum(a.count("v") for a in arguments if re.fullmatch("-[qv]+", a))
    given = short + list(arguments).count("--verbose")
    return (given or int(os.environ.get("MEDSEG_VERBOSE", "0") or 0)) >= 2


def _trace_if_wanted(arguments: Sequence[str]) -> None:
    if _wants_trace(arguments):
        streams.say_error(for_terminal(traceback.format_exc().rstrip()))


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--json" in arguments or os.environ.get("MEDSEG_JSON", "").lower() in ("1", "true", "yes", "on", "t", "y")


def _say(sentence: str) -> None:
    in_colour = sys.stderr is not None and sys.stderr.isatty() and "NO_COLOR" not in os.environ
    red, plain = ("\033[31m", "\033[0m") if in_colour else ("", "")
    streams.say_error(f"{red}{for_terminal(sentence)}{plain}")
