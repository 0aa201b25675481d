"""Pictures: columns are i and rows are j, palettes are taken by index, lossy labels are refused."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.raster import palette

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
UNPLACED = Meta("png", placed=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("raster")


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def label_map(array):
    return LabelMap(array[..., None], Geometry((*array.shape, 1), np.eye(4)), meta=UNPLACED)


planes = npst.array_shapes(min_dims=2, max_dims=2, max_side=12)


@given(npst.arrays(np.uint16, planes, elements=st.integers(0, 65_535)), st.sampled_from([".png", ".tif", ".nii.gz"]))
def test_a_label_picture_comes_back(folder, array, suffix):
    io.write(label_map(array), folder / f"mask{suffix}")
    found = io.read_labels(folder / f"mask{suffix}")
    # A grey picture of nothing but 0 and white is a mask in black and white.
    expected = (array > 0).astype(int) if suffix != ".nii.gz" and set(np.unique(array)) <= {0, 65_535} else array
    np.testing.assert_array_equal(found.array[..., 0], expected)
    assert not found.meta.placed
    np.testing.assert_array_equal(found.geometry.affine, np.eye(4))


@given(npst.arrays(np.uint8, planes))
def test_a_label_png_holds_indices_that_every_reader_sees_and_visible_colours(folder, array):
    io.write(label_map(array), folder / "mask.png")
    with Image.open(folder / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture).T, array)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), palette()[array.T])
    np.testing.assert_array_equal(io.read_labels(folder / "mask.png").array[..., 0], array)


def test_the_palette_is_black_for_background_and_bright_and_distinct_for_labels():
    colours = palette()
    assert colours[0].tolist() == [0, 0, 0]
    assert (colours[1:].max(axis=1) > 200).all()
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    assert np.linalg.norm(np.diff(colours[:20].astype(int), axis=0), axis=1).min() > 60


@given(
    st.sampled_from([(1, np.uint8), (3, np.uint8), (1, np.uint16), (1, np.float32)]),
    st.sampled_from([".png", ".tif"]),
    planes,
)
def test_an_image_comes_back_with_its_type_and_channels(folder, kind, suffix, shape):
    n_channels, dtype = kind
    if dtype == np.float32 and suffix == ".png":
        suffix = ".tif"
    array = np.random.default_rng(0).integers(0, 250, (n_channels, *shape, 1)).astype(dtype)
    array[0] += 1 if n_channels == 3 else 0  # coloured, not grey
    io.write(Volume(array, Geometry((*shape, 1), np.eye(4)), UNPLACED), folder / f"image{suffix}")
    found = io.read(folder / f"image{suffix}")
    assert io.read_geometry(folder / f"image{suffix}") == (found.geometry, found.n_channels)
    assert found.array.dtype == dtype
    if n_channels == 1 or not (array == array[:1]).all():
        np.testing.assert_array_equal(found.array, array)


def test_i_is_the_column_and_j_the_row(tmp_path):
    image = io.read(save(tmp_path / "a.png", GREY))
    assert image.geometry.shape == (4, 3, 1)
    np.testing.assert_array_equal(image.array[0, :, :, 0], GREY.T)
    assert io.read_geometry(tmp_path / "a.png") == (image.geometry, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_grey_picture_is_one_channel_however_it_is_stored(tmp_path, mode):
    path = save(tmp_path / "a.png", GREY, mode)
    np.testing.assert_array_equal(io.read(path).array[0, :, :, 0], GREY.T)
    np.testing.assert_array_equal(io.read_labels(path).array[..., 0], GREY.T)
    assert io.read_geometry(path)[1] == 1


def test_a_coloured_picture_is_three_channels_and_no_label_map(tmp_path):
    colours = np.zeros((3, 4, 3), np.uint8)
    colours[0, 0] = 255, 0, 0
    path = save(tmp_path / "a.png", colours)
    np.testing.assert_array_equal(io.read(path).array[..., 0], colours.transpose(2, 1, 0))
    with pytest.raises(InputError, match=r"is coloured \(#ff0000 \(1 pixels\)"):
        io.read_labels(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparency_that_varies_is_dropped_with_a_note(tmp_path, mode):
    picture = Image.fromarray(GREY).convert(mode)
    picture.putalpha(Image.fromarray(GREY[::-1]))
    picture.save(tmp_path / "a.png")
    for found in (io.read(tmp_path / "a.png"), io.read_labels(tmp_path / "a.png")):
        np.testing.assert_array_equal(found.array.reshape(4, 3), GREY.T)
        assert found.meta.warnings == ("Its transparency, which differs from pixel to pixel, was not used.",)


def test_a_picture_that_is_in_its_transparency_is_refused(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0, 3] = 9
    path = save(tmp_path / "a.png", pixels)
    for read in (io.read, io.read_labels):
        with pytest.raises(InputError, match="what it shows is in its transparency"):
            read(path)


def test_a_tiff_of_16_bit_colours_may_be_grey_and_transparent(tmp_path):
    deep = GREY.astype(np.uint16) * 100
    opaque = np.full_like(deep, 65_535)
    for name, planes in {"grey": (deep,) * 3, "alpha": (deep, deep, deep, opaque)}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack(planes, -1), photometric="rgb")
        np.testing.assert_array_equal(io.read(tmp_path / f"{name}.tif").array[..., 0], deep.T[None])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif"])
def test_the_number_of_channels_can_be_asked_for(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", GREY)
    rgb, grey = io.ReadOptions(colour="rgb"), io.ReadOptions(colour="grey")
    np.testing.assert_array_equal(io.read(path, rgb).array[..., 0], np.stack([GREY.T] * 3))
    np.testing.assert_array_equal(io.read(path, grey).array[..., 0], GREY.T[None])
    assert (io.read_geometry(path, rgb)[1], io.read_geometry(path, grey)[1]) == (3, 1)


def test_a_coloured_picture_is_no_grey_one(tmp_path):
    colours = np.stack([GREY, GREY, GREY[::-1]], -1)
    path = save(tmp_path / "a.png", colours)
    assert io.read(path, io.ReadOptions(colour="rgb")).n_channels == 3
    with pytest.raises(InputError, match=r"has colours \(8 of 12 pixels\), and a grey picture is wanted"):
        io.read(path, io.ReadOptions(colour="grey"))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB"])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif"])
def test_masks_of_black_and_white_are_0_and_1_however_they_are_stored(tmp_path, mode, suffix):
    mask = np.where(GREY > 60, np.uint8(255), np.uint8(0))
    path = save(tmp_path / f"a{suffix}", mask, mode)
    found = io.read_labels(path).array[..., 0]
    np.testing.assert_array_equal(found, (GREY > 60).T)


@pytest.mark.parametrize("white", [1, 255])
def test_a_palette_of_black_and_white_is_0_and_1(tmp_path, white):
    indices = np.where(GREY > 60, np.uint8(white), np.uint8(0))
    picture = Image.fromarray(indices, "L")
    picture = Image.frombytes("P", picture.size, indices.tobytes())
    colours = np.zeros((256, 3), np.uint8)
    colours[white] = 255
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(io.read_labels(tmp_path / "a.png").array[..., 0], (GREY > 60).T)


def test_a_palette_that_says_the_opposite_by_colour_is_refused(tmp_path):
    picture = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 0]))
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.gif")
    picture.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="index 0 is white"):
        io.read_labels(tmp_path / "a.png")


def test_an_animation_is_refused(tmp_path):
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match="is an animation of 2 pictures"):
        io.read(tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_black_and_white_is_0_and_1_with_a_note(tmp_path, suffix):
    array = np.where(GREY > 100, 255, 0).astype(np.uint8)
    found = io.read_labels(save(tmp_path / f"a{suffix}", array))
    np.testing.assert_array_equal(found.array[..., 0], array.T > 0)
    assert "0 and 255" in found.meta.warnings[0]
    one_bit = io.read_labels(save(tmp_path / f"b{suffix}", array, "1"))
    np.testing.assert_array_equal(one_bit.array[..., 0], array.T > 0)
    array[0, 0] = 3
    kept = io.read_labels(save(tmp_path / f"c{suffix}", array))
    np.testing.assert_array_equal(kept.array[..., 0], array.T)


def test_a_palette_is_an_image_by_its_colours_and_a_label_map_by_its_indices(tmp_path):
    io.write(label_map(np.array([[0, 1], [2, 255]], np.uint8)), tmp_path / "a.png")
    assert io.read(tmp_path / "a.png").n_channels == 3
    assert io.read_labels(tmp_path / "a.png").array.max() == 255


def test_a_jpeg_is_an_image_and_no_label_map(tmp_path):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    image = io.read(save(tmp_path / "a.jpg", smooth))
    assert np.abs(image.array[0, :, :, 0].astype(int) - smooth.T).max() < 10
    labels = np.zeros((32, 32), np.uint8)
    labels[9:20, 9:20] = 3
    with pytest.raises(InputError, match=r"b\.jpg is a JPEG; its \d+ grey values are compression noise"):
        io.read_labels(save(tmp_path / "b.jpg", labels))
    with pytest.raises(UsageError, match="no suffix that medseg writes"):
        io.write(label_map(labels), tmp_path / "c.jpg")


def test_a_jpeg_of_black_and_white_is_a_mask_if_one_says_so(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[9:40, 9:33] = 255
    path = save(tmp_path / "a.jpg", mask, quality=80)
    with pytest.raises(InputError, match="It looks like black and white: --read lossy=threshold takes"):
        io.read_labels(path)
    found = io.read_labels(path, io.ReadOptions(lossy="threshold"))
    np.testing.assert_array_equal(found.array[..., 0], (mask > 0).T)
    assert "A JPEG mask was read as black and white" in found.meta.warnings[0]


def test_a_jpeg_in_a_tiff_is_as_lossy(tmp_path):
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    path = save(tmp_path / "a.tif", smooth, compression="jpeg")
    with pytest.raises(InputError, match="grey values are compression noise") as refused:
        io.read_labels(path)
    assert "black and white" not in str(refused.value)


def test_colours_of_16_bits_are_told_of(tmp_path):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.stack([GREY.astype(np.uint16) * 257] * 3, -1))
    head = struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "Its colours have 16 bits, of which the upper 8 were read" in io.read(tmp_path / "a.png").meta.warnings[0]


def test_the_exif_orientation_turns_an_image_and_is_refused_on_labels(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 90° clockwise
    path = save(tmp_path / "a.png", GREY, exif=exif)
    image = io.read(path)
    np.testing.assert_array_equal(image.array[0, :, :, 0], np.rot90(GREY, -1).T)
    assert io.read_geometry(path) == (image.geometry, 1)
    with pytest.raises(InputError, match=r"EXIF orientation \(6\)"):
        io.read_labels(path)


def test_pages_are_slices_only_if_the_file_says_so(tmp_path):
    stack = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    with pytest.raises(InputError, match=r"has 3 pages .* does not say that they are slices"):
        io.read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    image = io.read(tmp_path / "b.tif")
    np.testing.assert_array_equal(image.array[0], stack.transpose(2, 1, 0))
    assert io.read_geometry(tmp_path / "b.tif") == (image.geometry, 1)
    io.write(LabelMap(image.array[0], image.geometry, meta=image.meta), tmp_path / "c.tif")
    np.testing.assert_array_equal(io.read_labels(tmp_path / "c.tif").array, image.array[0])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((1, 2, 3, 4), np.uint8), "cannot hold 4 slices"),
        (np.zeros((1, 2, 3, 1), np.float32), "type float32"),
        (np.zeros((2, 2, 3, 1), np.uint8), "2 channels"),
    ],
)
def test_a_png_refuses_what_it_cannot_hold_and_leaves_nothing(tmp_path, array, sentence):
    with pytest.raises(InputError, match=sentence):
        io.write(Volume(array, Geometry(array.shape[1:], np.eye(4))), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="more than the 100 pixels"):
        io.read(save(tmp_path / "a.png", np.zeros((11, 11), np.uint8)))
    with pytest.raises(InputError, match="more than the 100 pixels"):
        io.read_labels(save(tmp_path / "b.png", np.zeros((20, 20), np.uint8)))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
@pytest.mark.parametrize("n_left", [2, 60, -40])
def test_a_cut_picture_is_refused(tmp_path, suffix, n_left):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[:n_left])
    with pytest.raises(InputError, match=rf"a\{suffix} (is|cannot)"):
        io.read(path)


@given(st.data())
def test_an_altered_byte_of_a_png_never_passes(folder, data):
    """Pillow stops at the last row and lets some altered bytes through; the chunks' checksums do not."""
    noise = (np.random.default_rng(0).random((24, 24)) * 3).astype(np.uint8)
    path = folder / "altered.png"
    io.write(label_map(noise), path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(8, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"altered\.png"):
        io.read_labels(path)


def test_another_format_under_the_name_of_a_picture_is_refused(tmp_path):
    for suffix in (".png", ".jpg", ".bmp", ".tif"):
        (tmp_path / f"a{suffix}").write_bytes(b"not a picture, but long enough to be looked at" * 9)
        with pytest.raises(InputError, match=rf"a\{suffix} (is not a picture|cannot be read)"):
            io.read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"spacing": 5.0, "unit": "um", "axes": "ZYX"}, "resolution": (2.0, 2.0)},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 5.0, "PhysicalSizeX": 0.5}},
    ],
)
def test_a_stack_that_states_the_size_of_its_voxels_is_told_that_it_is_not_read(tmp_path, options):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
    image = io.read(tmp_path / "a.tif")
    assert image.geometry.spacing_mm == (1, 1, 1)
    assert any("not read from TIFF" in warning for warning in image.meta.warnings)
    tifffile.imwrite(tmp_path / "b.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    assert io.read(tmp_path / "b.tif").meta.warnings == ()
