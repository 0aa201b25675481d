"""Pictures as people have them: one data set, whatever each picture is stored as."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.data.cases import read_case, read_image
from medseg.data.dataset import Case
from medseg.data.layouts import open_dataset
from medseg.data.pictures import RGB, as_a_model_sees
from tests.data.folders import declare

SHADES = np.linspace(0, 250, 24 * 20).reshape(20, 24).astype(np.uint8)


def put_picture(path, mode="L", in_colour=False):
    """A picture stored in one of the ways that people store them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(SHADES)
    if in_colour:
        picture = Image.fromarray(np.stack([SHADES, SHADES[::-1], SHADES], -1))
    if mode.endswith("A"):
        picture = picture.convert(mode)
        picture.putalpha(Image.fromarray(SHADES))
    elif mode == "I;16":
        picture = Image.fromarray(SHADES.astype(np.uint16) * 200)
    else:
        picture = picture.convert(mode)
    picture.save(path)
    return path


def put_mask(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((20, 24), np.uint8)
    mask[4:9, 5:12] = 255
    Image.fromarray(mask).save(path)
    return path


def pictures(root, *kinds):
    """A data set of pictures: (suffix, mode, in colour) each."""
    for number, (suffix, mode, in_colour) in enumerate(kinds):
        put_picture(root / f"images/p{number}{suffix}", mode, in_colour)
        put_mask(root / f"masks/p{number}.png")
    return root


def opened(root):
    return open_dataset(root, DataConfig())


GREY_KINDS = [
    *((".png", "L", False), (".png", "RGB", False), (".png", "RGBA", False), (".png", "LA", False)),
    *((".jpg", "L", False), (".jpg", "RGB", False), (".bmp", "RGB", False), (".gif", "P", False)),
    *((".tif", "L", False), (".tif", "RGB", False), (".png", "P", False), (".png", "I;16", False)),
]
COLOUR_KINDS = [(".png", "RGB", True), (".jpg", "RGB", True), (".png", "RGBA", True), (".tif", "RGB", True)]


def read_all(dataset):
    return [read_case(case, None, io.ReadOptions())[0] for case in dataset.cases]


def test_pictures_without_a_colour_are_one_channel_however_they_are_stored(tmp_path):
    dataset = opened(pictures(tmp_path, *GREY_KINDS))
    assert dataset.channels == ("image",)
    assert [volume.n_channels for volume in read_all(dataset)] == [1] * len(GREY_KINDS)
    (note,) = [note for note in dataset.notes if "Pictures are of" in note]
    assert "none has a colour, so all are read as one channel" in note
    assert "4 RGB" in note
    assert "2 pictures have a transparency, which is not used." in dataset.notes


def test_one_colour_makes_all_of_them_three_channels(tmp_path):
    dataset = opened(pictures(tmp_path, *GREY_KINDS, COLOUR_KINDS[0]))
    assert dataset.channels == RGB
    assert [volume.n_channels for volume in read_all(dataset)] == [3] * (len(GREY_KINDS) + 1)
    (note,) = [note for note in dataset.notes if "Pictures are of" in note]
    assert "some have colours, so all are read as red, green and blue" in note


@given(kinds=st.lists(st.sampled_from(GREY_KINDS + COLOUR_KINDS), min_size=1, max_size=5))
def test_every_mixture_is_one_data_set(tmp_path_factory, kinds):
    dataset = opened(pictures(tmp_path_factory.mktemp("mixed"), *kinds))
    n = 3 if any(in_colour for *_, in_colour in kinds) else 1
    assert len(dataset.cases) == len(kinds)
    assert len(dataset.channels) == n
    for case in dataset.cases:
        volume, label_map, _ = read_case(case, None, io.ReadOptions())
        assert volume.n_channels == n
        assert io.read_geometry(case.images[0], io.ReadOptions().updated(case.read)) == (volume.geometry, n)
        assert set(np.unique(label_map.array)) == {0, 1}


def test_pictures_of_one_kind_need_no_word(tmp_path):
    dataset = opened(pictures(tmp_path, *[(".png", "L", False)] * 3))
    assert not [note for note in dataset.notes if "icture" in note]
    assert not any(case.read for case in dataset.cases)


def test_declared_colours_hold_for_grey_pictures_too(tmp_path):
    pictures(tmp_path, (".png", "L", False), (".png", "RGB", False))
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "R", "1": "G", "2": "B"}}')
    dataset = opened(tmp_path)
    assert dataset.channels == ("R", "G", "B")
    assert [volume.n_channels for volume in read_all(dataset)] == [3, 3]


def test_nnunets_pictures_of_declared_colours_may_be_grey(tmp_path):
    for number, in_colour in enumerate((False, True)):
        put_picture(tmp_path / f"imagesTr/p{number}_0000.png", "RGB", in_colour)
        put_mask(tmp_path / f"labelsTr/p{number}.png")
    declare(
        tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, labels={"background": 0, "a": 1}, file_ending=".png"
    )
    dataset = opened(tmp_path)
    assert (len(dataset.cases), len(dataset.problems)) == (2, 0)
    assert [volume.n_channels for volume in read_all(dataset)] == [3, 3]


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_a_grey_picture_is_three_equal_channels_to_a_model_of_colours(tmp_path, kind):
    path = put_picture(tmp_path / f"a{kind[0]}", *kind[1:])
    case = as_a_model_sees(Case("a", (path,)), RGB)
    array = read_image(case, io.ReadOptions()).array
    assert array.shape[0] == 3
    assert (array == array[:1]).all()


def test_a_coloured_picture_is_refused_by_a_model_of_grey_ones_with_the_reason(tmp_path):
    path = put_picture(tmp_path / "a.jpg", "RGB", in_colour=True)
    case = as_a_model_sees(Case("a", (path,)), ("image",))
    with pytest.raises(InputError, match=r"has colours .*, and a grey picture is wanted"):
        read_image(case, io.ReadOptions())
    grey = as_a_model_sees(Case("a", (put_picture(tmp_path / "b.png", "RGB"),)), ("image",))
    assert read_image(grey, io.ReadOptions()).n_channels == 1


@pytest.mark.parametrize(("colour", "channels"), [("rgb", RGB), ("grey", ("image",))])
def test_what_a_user_says_of_colours_holds(tmp_path, colour, channels):
    pictures(tmp_path, (".png", "L", False), (".png", "RGB", False))
    dataset = open_dataset(tmp_path, DataConfig(read={"colour": colour}))
    assert dataset.channels == channels
    assert not any(case.read for case in dataset.cases)
    options = io.ReadOptions(colour=colour)
    assert as_a_model_sees(dataset.cases[0], ("US",), options) is dataset.cases[0]


def test_what_is_no_picture_is_read_as_ever(tmp_path):
    case = Case("a", (tmp_path / "a.nii.gz",))
    assert as_a_model_sees(case, ("image",)) is case
    assert as_a_model_sees(Case("a", (tmp_path / "a.png",)), ("T1", "T2", "FLAIR")).read == {}
