import inspect
from typing import Annotated

import pytest
import typer

from medseg.cli.options import Shared, parse_pairs, shared_options
from medseg.core.errors import UsageError


def test_the_later_of_two_pairs_wins():
    assert parse_pairs(["a=1", "b = 2", "a=3=4"], "--read") == {"a": "3=4", "b": "2"}


def test_a_pair_without_equals_is_refused():
    with pytest.raises(UsageError, match="--read 'geometry' is not of the form KEY=VALUE"):
        parse_pairs(["geometry"], "--read")


def seen(arguments, environment=None):
    found = []

    @shared_options
    def command(
        place: Annotated[str, typer.Argument()],
        depth: Annotated[int, typer.Option("--depth")] = 1,
        *,
        shared: Shared,
    ) -> None:
        found.append((place, depth, shared))

    app = typer.Typer()
    app.command()(command)
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


def test_a_command_gets_its_own_options_and_the_shared_ones_as_one_value():
    place, depth, shared = seen(
        ["here", "--depth", "3", "--device", "cpu", "--jobs", "2", "-vv", "--read", "space=ras"]
    )
    assert (place, depth) == ("here", 3)
    assert shared == Shared(2, False, False, "cpu", 2, None, None, {"space": "ras"})


def test_shared_options_can_come_from_the_environment_and_the_command_line_wins():
    environment = {"MEDSEG_DEVICE": "cpu", "MEDSEG_MAX_MEMORY": "2G", "MEDSEG_SEED": "7", "MEDSEG_JSON": "1"}
    shared = seen(["here", "--seed", "8"], environment)[2]
    assert (shared.device, shared.max_memory_bytes, shared.seed, shared.json) == ("cpu", 2**31, 8, True)


def test_an_unknown_device_is_refused():
    with pytest.raises(UsageError, match="--device 'gpu' is not known: use auto, cpu, cuda"):
        seen(["here", "--device", "gpu"])


def test_all_verbs_share_the_same_options():
    from medseg.cli import evaluate, predict, sample, train

    shared = {"verbose", "quiet", "json_lines", "device", "jobs", "max_memory", "seed", "read"}
    for verb in (evaluate, predict, sample, train):
        assert shared <= set(inspect.signature(verb.command).parameters)
