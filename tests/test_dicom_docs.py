"""docs/dicom.md says what the code does: every key of --read that concerns DICOM, and what the corpus showed."""

import re
from dataclasses import fields
from pathlib import Path

from medseg.io import ReadOptions

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "dicom.md").read_text(encoding="utf-8")
OTHER_FORMATS = {"geometry", "channels", "space", "colour", "lossy"}
"""Keys for NIfTI, MSD and NRRD."""


def test_every_key_of_read_for_dicom_is_explained():
    table = TEXT.split("| key | value | what it settles |")[1].split("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)
    assert set(named) == {option.name for option in fields(ReadOptions)} - OTHER_FORMATS
    for key, values in re.findall(
        r"^\| `(missing|uneven|pet|detector_spacing|contours|orphan)` \| ([^|]+) ", table, re.M
    ):
        for value in re.findall(r"`([^`]+)`", values):
            ReadOptions.parse({key: value})


def test_no_case_of_the_corpus_is_wrong_in_the_table():
    rows = re.findall(r"^\| ([\w/.+-]+) \| [^|]+ \| ([^|]+) \| ", TEXT.split("| case | expected |")[1], re.MULTILINE)
    rows = rows[1:]
    assert len(rows) == 113
    assert {verdict for _, verdict in rows} <= {"right", "also accepted"}
    ours = next(line for line in TEXT.splitlines() if line.startswith("| **medseg**, all 113"))
    assert [cell.strip() for cell in ours.split("|")[4:6]] == ["–", "–"]


def test_no_path_of_a_machine_is_in_it():
    assert not re.search(r"(?<![\w.<])/(work|home|tmp|root|Users|dev)/", TEXT)
