"""What the README shows was run: its session, line by line, with less time for training."""

import re
import shlex

import pytest

from tests.journeys.conftest import REPOSITORY

pytestmark = pytest.mark.journey

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SESSION = [shlex.split(line)[1:] for line in re.findall(r"^\$ (medseg .*)$", TEXT, re.MULTILINE)]


def test_the_session_shows_every_verb():
    assert [words[0] for words in SESSION] == ["sample", "train", "predict", "evaluate"]


def test_the_session_runs_as_it_is_written(shell):
    for words in SESSION:
        short = ["40s" if word == "3m" else word for word in words]
        assert short != words or words[0] != "train", "the README's training takes too long for a test"
        shell(*short)
    assert (shell.folder / "predicted/predictions.json").is_file()
    assert (shell.folder / "scores/summary.json").is_file()


def test_what_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert all((REPOSITORY / link).exists() for link in links)


def test_the_verbs_of_the_table_are_those_of_the_help(shell):
    named = set(re.findall(r"^\| `medseg (\w+)", TEXT, re.MULTILINE))
    said = shell("--help")
    assert named == set(re.findall(r"^  (\w+) ", said.split("Commands:")[1], re.MULTILINE))
