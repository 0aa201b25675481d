"""Folders of pictures as public sets hand them out: names that share a number, fields of view, masks beside images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError
from medseg.data.cases import read_case
from medseg.data.layouts import open_dataset
from medseg.data.layouts.numbers import paired_by_number
from medseg.io import ReadOptions


def put(path, value=None):
    """A small picture; a mask of black and white where `value` is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.linspace(0, 250, 16 * 12).reshape(12, 16).astype(np.uint8)
    if value is not None:
        array = np.zeros((12, 16), np.uint8)
        array[2:7, 3:9] = value
    Image.fromarray(array).save(path)


def opened(root):
    return open_dataset(root, DataConfig())


def drive(root, manual="1st_manual", views=True):
    for number in (21, 22, 23):
        put(root / f"images/{number}_training.tif")
        put(root / f"{manual}/{number}_manual1.gif", 255)
        if views:
            put(root / f"mask/{number}_training_mask.gif", 255)
    return root


def test_images_and_masks_that_share_a_number_alone_are_pairs(tmp_path):
    dataset = opened(drive(tmp_path, views=False))
    assert dataset.layout == "paired"
    assert [(c.images[0].name, c.label.name) for c in dataset.cases] == [
        (f"{n}_training.tif", f"{n}_manual1.gif") for n in (21, 22, 23)
    ]
    note = "Images and label maps were paired by the numbers in their names: 21_training.tif with 21_manual1.gif."
    assert note in dataset.notes
    _, label_map, _ = read_case(dataset.cases[0], None, ReadOptions())
    assert set(np.unique(label_map.array)) == {0, 1}


def test_a_folder_of_fields_of_view_beside_label_maps_is_asked_about(tmp_path):
    with pytest.raises(AmbiguousError, match="holds 1st_manual and mask; only one can be meant") as refused:
        opened(drive(tmp_path))
    rows = refused.value.table.splitlines()
    assert rows[1] == "21_training,images/21_training.tif,1st_manual/21_manual1.gif"
    assert "# 21_training,images/21_training.tif,mask/21_training_mask.gif" in rows
    (tmp_path / "cases.csv").write_text(refused.value.table)
    dataset = opened(tmp_path)
    assert [case.label.parent.name for case in dataset.cases] == ["1st_manual"] * 3


def test_two_readers_are_asked_about(tmp_path):
    drive(tmp_path, views=False)
    drive(tmp_path, manual="2nd_manual", views=False)
    with pytest.raises(AmbiguousError, match="holds 1st_manual and 2nd_manual; only one can be meant"):
        opened(tmp_path)


PAIRS = [
    ("images/img_{:03d}.png", "masks/mask_{:03d}.png"),
    ("Images/img_{:03d}.png", "GT/gt_{:d}.png"),
    ("images/CHNCXR_{:04d}_0.png", "masks/CHNCXR_{:04d}_0_mask.png"),
    ("IMAGES/ISIC_{:07d}.jpg", "Annotations/ISIC_{:07d}_segmentation.png"),
    ("ISIC_Training_Input/ISIC_{:07d}.jpg", "ISIC_Training_GroundTruth/ISIC_{:07d}_segmentation.png"),
    ("CXR_images/{:d}.png", "manual_masks/{:d}.png"),
    ("images/{:02d}_h.jpg", "manual1/{:02d}_h.tif"),
    ("images/{:02d}_test.tif", "1st_manual/{:02d}_manual1.gif"),
    ("img/frame{:04d}.bmp", "Ground Truth/truth{:04d}.bmp"),
    ("scans/a{:d}b.png", "labels/L{:d}.png"),
    ("all/benign ({:d}).png", "all/benign ({:d})_mask.png"),
    ("all/testA_{:d}.bmp", "all/testA_{:d}_anno.bmp"),
    ("all/img_{:03d}.png", "all/mask_{:03d}.png"),
    ("all/{:02d}_training.tif", "all/{:02d}_manual1.gif"),
    ("all/{:03d}.jpg", "all/{:03d}_mask.png"),
    ("p{0:d}/image.png", "p{0:d}/mask.png"),
]


@pytest.mark.parametrize(("image", "mask"), PAIRS)
@pytest.mark.parametrize("numbers", [(1, 2, 10), (7,)])
def test_the_ways_of_public_sets_are_understood(tmp_path, image, mask, numbers):
    for number in numbers:
        put(tmp_path / image.format(number))
        put(tmp_path / mask.format(number), 255)
    dataset = opened(tmp_path)
    assert [(c.images[0], c.label) for c in dataset.cases] == [
        (tmp_path / image.format(n), tmp_path / mask.format(n)) for n in numbers
    ]
    assert dataset.problems == ()


def test_more_images_than_label_maps_are_unlabelled(tmp_path):
    for number in range(1, 6):
        put(tmp_path / f"images/img_{number:03d}.png")
    for number in (2, 4):
        put(tmp_path / f"masks/mask_{number:03d}.png", 255)
    dataset = opened(tmp_path)
    assert dataset.ids == ("img_002", "img_004")
    assert [case.id for case in dataset.unlabelled] == ["img_001", "img_003", "img_005"]


def test_a_second_mask_of_a_picture_is_asked_about(tmp_path):
    for number in (1, 2):
        put(tmp_path / f"benign/benign ({number}).png")
        put(tmp_path / f"benign/benign ({number})_mask.png", 255)
    put(tmp_path / "benign/benign (2)_mask_1.png", 255)
    with pytest.raises(AmbiguousError, match=r"more than one file could be .* of benign \(2\)") as refused:
        opened(tmp_path)
    assert "# " in refused.value.table
    (tmp_path / "cases.csv").write_text(refused.value.table)
    assert len(opened(tmp_path).cases) == 2


def test_one_odd_name_does_not_part_the_others():
    images, labels = ["1_training", "2_training_b", "3_training"], ["1_manual1", "2_manual1_b", "3_manual1"]
    assert paired_by_number(images, labels) == dict(zip(labels, images, strict=True))
    assert paired_by_number([*images, "4_training"], labels) == dict(zip(labels, images, strict=True))
    assert paired_by_number(["a_1", "b1_2", "c_3"], ["m_1", "m1_2", "m_3"]) == {
        "m_1": "a_1",
        "m1_2": "b1_2",
        "m_3": "c_3",
    }


def test_numbers_that_leave_a_doubt_pair_nothing():
    assert paired_by_number(["a1_x", "b1_x"], ["m1", "m2"]) == {}
    assert paired_by_number(["1", "01"], ["m1", "m2"]) == {}
    assert paired_by_number(["a", "b"], ["c", "d"]) == {}
    assert paired_by_number(["1_training", "21_training"], ["21_manual1"]) == {}
    assert paired_by_number(["i1", "i2", "i3", "i4"], ["m1", "m7", "m8", "m9"]) == {}
    assert paired_by_number([], []) == {}


@given(
    numbers=st.lists(st.integers(0, 3000), min_size=2, max_size=8, unique=True),
    texts=st.tuples(*[st.text("abcxyz_- ", max_size=5)] * 4),
    widths=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_whatever_stands_around_a_number_each_meets_its_own(numbers, texts, widths):
    images = {f"{texts[0]}{n:0{widths[0]}d}{texts[1]}": n for n in numbers}
    labels = {f"{texts[2]}{n:0{widths[1]}d}{texts[3]}": n for n in numbers}
    pairs = paired_by_number(list(images), list(labels))
    assert {labels[label]: images[image] for label, image in pairs.items()} == {n: n for n in numbers}
