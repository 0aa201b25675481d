import numpy as np
import pytest
from PIL import Image

from medseg.core.errors import InputError
from medseg.core.events import EpochEnded
from medseg.train.history import draw_curves, read_history, write_history


def epochs(n=3):
    return [EpochEnded(e, n, 10 * e, 1 / e, 0.001, 2.0, 5.0 * e, 0.8 if e == n else None) for e in range(1, n + 1)]


def test_a_history_comes_back(tmp_path):
    write_history(tmp_path / "history.csv", epochs())
    back = read_history(tmp_path / "history.csv", up_to_step=100)
    assert [(e.step, round(e.loss, 4), e.validation_dice) for e in back] == [
        (10, 1.0, None),
        (20, 0.5, None),
        (30, 0.3333, 0.8),
    ]


def test_rows_after_the_checkpoint_are_left_out(tmp_path):
    write_history(tmp_path / "history.csv", epochs())
    assert [e.step for e in read_history(tmp_path / "history.csv", up_to_step=20)] == [10, 20]


def test_no_history_is_an_empty_one(tmp_path):
    assert read_history(tmp_path / "history.csv", up_to_step=5) == []


def test_curves_are_a_picture_with_something_on_it(tmp_path):
    draw_curves(tmp_path / "curves.png", epochs())
    picture = Image.open(tmp_path / "curves.png").convert("L")
    assert picture.size == (880, 550)
    assert (
        len(set(picture.getdata() if not hasattr(picture, "get_flattened_data") else picture.get_flattened_data())) > 50
    )


def test_a_single_epoch_is_a_point_that_can_be_seen(tmp_path):
    draw_curves(tmp_path / "one.png", epochs(1))
    picture = np.asarray(Image.open(tmp_path / "one.png").convert("RGB")).astype(int)
    assert (np.abs(picture - (0x1F, 0x5F, 0xA8)).sum(axis=2) < 40).sum() > 30


def test_no_epochs_draw_nothing(tmp_path):
    draw_curves(tmp_path / "curves.png", [])
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("damage", ["cut", "words", "other columns", "not text"])
def test_a_damaged_history_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "history.csv"
    write_history(path, epochs())
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-25],
            "words": whole.replace(b"20,", b"twenty,"),
            "other columns": whole.replace(b"loss", b"lost"),
            "not text": b"\xff\xfe" + whole,
        }[damage]
    )
    with pytest.raises(InputError, match=r"history\.csv cannot be read"):
        read_history(path, up_to_step=100)
