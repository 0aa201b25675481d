"""Remedies agree with the sentences that they stand beside."""

import pytest

from medseg.inspect import inspect
from medseg.inspect.remedies import GIVE_OPTION, remedy_for
from tests.data.folders import paired, touch

COPY = "Copy or export the file again, or take the case out of the data set."
DO_SO = "Do what the sentence says, or take the case out of the data set."


@pytest.mark.parametrize(
    ("sentence", "remedy"),
    [
        ("a.nii has 3 volumes; say --read channels=last if they are channels.", GIVE_OPTION),
        ("a.mnc is MINC, which medseg does not read; convert it to NIfTI.", DO_SO),
        ("a.png carries an EXIF orientation (6). Save it upright, without EXIF.", DO_SO),
        ("a.jpg is a JPEG; its 8 grey values are compression noise, store labels as PNG.", DO_SO),
        ("a.tif has 3 pages; save them as separate pictures, or as NIfTI.", DO_SO),
        ("a.nii.gz is cut off: 12 of 40 bytes are there.", COPY),
        ("a.png is damaged (broken data stream). Copy it again.", COPY),
        ("a.nii.gz is empty (0 bytes). Copy it again.", COPY),
        ("a.nii cannot be read: Permission denied.", COPY),
    ],
)
def test_a_remedy_does_not_contradict_its_sentence(sentence, remedy):
    assert remedy_for(sentence, COPY) == remedy


def findings(root):
    return {finding.kind: finding for finding in inspect(root).findings}


def test_a_channel_in_another_format_is_to_be_converted_and_not_added(tmp_path):
    paired(tmp_path)
    (tmp_path / "images/c_1.nii.gz").unlink()
    touch(tmp_path / "images/c_1.mnc")
    assert findings(tmp_path)["incomplete"].remedy == DO_SO


def test_a_label_map_without_an_image_is_to_be_completed(tmp_path):
    paired(tmp_path)
    (tmp_path / "images/c_1.nii.gz").unlink()
    assert findings(tmp_path)["incomplete"].remedy == "Add what is missing, or take the case out of the data set."


def test_what_cannot_be_opened_is_arranged_only_where_nothing_was_recognised(tmp_path):
    touch(tmp_path / "none" / "a.xyz")
    assert findings(tmp_path / "none")["layout"].remedy.startswith("Arrange it as one of these")
    (paired(tmp_path / "broken") / "dataset.json").write_text("{")
    assert findings(tmp_path / "broken")["layout"].remedy.startswith("Do what the sentence says")
