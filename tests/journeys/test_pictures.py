"""Pictures as people have them, through every verb: mixed modes, GIF masks, a pipe, a name that is no UTF-8."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from tests.journeys.conftest import Shell

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(sys.platform != "linux", reason="pipes, and names that are no UTF-8"),
]

SMALL = (
    *("--epochs", "1", "--device", "cpu", "--set", "training.steps_an_epoch=4", "--set", "training.arithmetic=float32"),
    *("--set", "network.first_features=8", "--set", "network.stages=3", "--set", "plan.batch=2"),
)

KINDS = (("L", ".png"), ("RGB", ".png"), ("RGB", ".jpg"), ("RGBA", ".png"), ("P", ".gif"), ("L", ".tif"))


def pictures(root, coloured):
    """DRIVE's names, a bright disc each, and what else lies in such folders."""
    rng = np.random.default_rng(0)
    for number, (mode, suffix) in enumerate(KINDS, start=21):
        rows, columns = np.mgrid[:48, :56]
        disc = (rows - 24) ** 2 + (columns - number) ** 2 < 90
        grey = np.clip(60 + 100 * disc + rng.normal(0, 8, disc.shape), 0, 255).astype(np.uint8)
        array = np.stack([grey, grey // 2, grey], -1) if number in coloured else grey
        picture = Image.fromarray(array).convert(mode)
        if mode == "RGBA":
            picture.putalpha(Image.fromarray(grey))
        for folder in ("images", "1st_manual"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        name = os.fsdecode(b"\xfc") if number == 22 else ""
        picture.save(root / f"images/{number}_training{name}{suffix}")
        Image.fromarray(disc.astype(np.uint8) * 255).save(root / f"1st_manual/{number}_manual1{name}.gif")
    os.mkfifo(root / "images/readme")
    os.mkfifo(root / "images/99_training.png")
    (root / "images/98_training.png").symlink_to("/dev/zero")
    (root / "images/old.ppm").write_bytes(b"P6")
    return root


def test_pictures_as_people_have_them_go_through_every_verb(tmp_path):
    pictures(tmp_path / "data", coloured=(23,))
    shell = Shell(tmp_path)
    seen = shell("inspect", "data")
    assert "1 file is of no kind that medseg reads and was left aside: .ppm." in seen
    assert "3 entries are no files and were left aside" in seen
    assert "some have colours, so all are read as red, green and blue" in seen
    shell("train", "data", "-o", "run", *SMALL)
    model = json.loads((tmp_path / "run/model/model.json").read_text())
    assert model["plan"]["channels"] == ["red", "green", "blue"]
    said = shell("predict", "data/images", "-m", "run", "-o", "out", "--device", "cpu")
    assert "6 predicted" in said
    assert "3 entries are no files and were left aside" in said
    shell("evaluate", "out", "data", "-o", "scores")
    assert len((tmp_path / "scores/metrics.csv").read_text().splitlines()) > 6
