import io
import json
import signal

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medseg.cli import screen
from medseg.cli.console import PlainConsole
from medseg.cli.options import Shared
from medseg.cli.screen import StopSwitch, Terminated, duration, follow
from medseg.core.events import (
    CaseFailed,
    CasePredicted,
    CaseRead,
    EpochEnded,
    Finished,
    Noted,
    Planned,
    StepEnded,
    Validated,
    Warned,
)

EVENTS = [
    Noted("Layout msd."),
    CaseRead("a", 1, 2, "checking"),
    CaseFailed("b", "b.nii.gz is damaged.", 2, 2),
    Planned(100, 2, 0.5, 50.0),
    *(StepEnded(step, 100, 0.5, step * 0.5, 50 - step * 0.5) for step in range(1, 101)),
    EpochEnded(2, 2, 100, 0.4, 1e-5, 1.0, 50.0),
    Warned("This machine is slower.", None),
    CasePredicted("c", "predicted", ("c.nii.gz",), 1.0, {}, 1, 1, ("The file has no place in space.",)),
    Validated(100, 3, 0.876, {"organ": 0.876}, final=True),
    Finished("run", 51.0, {"steps": 100}),
]


def shared(**changes):
    values = {"verbose": 0, "quiet": False, "json": False, "device": "cpu", "jobs": None}
    return Shared(**{**values, "max_memory_bytes": None, "seed": None, "read": {}, **changes})


def test_a_pipe_gets_what_matters_and_not_a_line_a_step(capsys):
    assert follow(EVENTS, shared()) == EVENTS[-1]
    lines = capsys.readouterr().out.splitlines()
    assert "Failed: b: b.nii.gz is damaged." in lines
    assert "Warning: This machine is slower." in lines
    assert "Warning: c: The file has no place in space." in lines
    assert "100 steps of 0.50 s; the expected end is in 50 s." in lines
    assert "At the end: mean Dice 0.876 on 3 validation cases." in lines
    assert not any("step 50" in line for line in lines)


def test_work_that_goes_on_says_so_within_ten_seconds_and_then_once_a_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])

    def steps():
        for step in range(1, 181):
            now[0] = float(step)
            yield StepEnded(step, 600, 0.5, float(step), 600.0 - step)

    follow(steps(), shared())
    said = [int(line.split()[2]) for line in capsys.readouterr().out.splitlines()]
    assert said == [8, 68, 128]


def test_a_terminal_gets_bars_and_the_lines_above_them(monkeypatch):
    paper = io.StringIO()
    terminal = Console(file=paper, force_terminal=True, width=120, highlight=False)
    monkeypatch.setattr(screen, "console", lambda _: terminal)
    monkeypatch.setenv("TERM", "xterm")
    follow(EVENTS, shared())
    said = paper.getvalue()
    assert all(word in said for word in ("Checking", "Training", "Predicting", "loss 0.500", "Failed: b"))
    assert "100/100" in said


def test_json_is_on_standard_output_and_the_words_on_standard_error(capsys):
    follow(EVENTS, shared(json=True))
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "finished"
    assert len(out.splitlines()) == len(EVENTS)
    assert "Failed: b" in err


EVIL = "x\x1b]0;OWNED\x07\x1b[31m\u202e\r[/red]"
SPELLED = r"x\x1b]0;OWNED\x07\x1b[31m\u202e\r[/red]"
FROM_OUTSIDE = [
    Noted(EVIL),
    Warned(EVIL, EVIL),
    CaseRead(EVIL, 1, 2, "checking"),
    CaseFailed(EVIL, EVIL, 2, 2),
    CasePredicted(EVIL, "predicted", (EVIL,), 1.0, {}, 1, 1, (EVIL,)),
]


@pytest.mark.parametrize("options", [{}, {"verbose": 1}, {"json": True}, {"quiet": True}])
def test_names_cannot_steer_a_terminal(capsys, options):
    follow(FROM_OUTSIDE, shared(**options))
    out, err = capsys.readouterr()
    assert not set("\x1b\x07\u202e\r") & set(out + err)
    assert f"Failed: {SPELLED}: {SPELLED}" in out + err


def test_names_cannot_steer_the_bars(monkeypatch):
    paper = io.StringIO()
    terminal = PlainConsole(file=paper, force_terminal=True, width=200, highlight=False)
    monkeypatch.setattr(screen, "console", lambda _: terminal)
    monkeypatch.setenv("TERM", "xterm")
    follow(FROM_OUTSIDE, shared(verbose=1))
    said = paper.getvalue()
    assert SPELLED in said
    assert not any(code in said for code in ("\x1b]0;", "\x07", "\u202e"))


def test_names_cannot_steer_the_cells_of_a_table():
    paper = io.StringIO()
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(Text.assemble("a cell of ours"))
    table.add_row(EVIL)
    PlainConsole(file=paper, width=200).print(table, markup=False)
    assert not set("\x1b\x07\u202e") & set(paper.getvalue())


def test_quiet_says_failures_only(capsys):
    follow(EVENTS, shared(quiet=True))
    assert capsys.readouterr() == ("", "Failed: b: b.nii.gz is damaged.\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (42, "42 s"), (99, "99 s"), (600, "10 min"), (3599, "1 h 00 min"), (5400, "1 h 30 min")],
)
def test_durations_are_written_for_people(seconds, words):
    assert duration(seconds) == words


def test_the_first_signal_asks_and_the_second_stops(capsys):
    with StopSwitch().armed() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert stop.exit_code == 143
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert "once more to stop at once" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_is_a_wish_to_stop_unless_nohup_says_otherwise(capsys):
    with StopSwitch().armed() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop()
        assert stop.exit_code == 129
        with pytest.raises(Terminated) as caught:
            signal.raise_signal(signal.SIGHUP)
        assert caught.value.exit_code == 129
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSwitch().armed() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)
