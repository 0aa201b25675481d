"""Mosaics: each tile is a slice at its own place, to the side that the private header says, or the file is refused."""

import contextlib
import shutil
import struct
import subprocess
from math import ceil, sqrt

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage

from medseg import io
from medseg.core.errors import InputError, MachineError
from medseg.io import ReadOptions
from medseg.io.dicom.find import find_images
from medseg.io.dicom.frames import split
from medseg.io.dicom.mosaic import _csa
from tests.io.dicom_files import AXES, write_series
from tests.io.test_frames import assert_lies, channel_of
from tests.strategies import rotations

RANDOM = np.random.default_rng(0)
ORIGIN = np.array([-10.0, 20.0, 30.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mosaic")


def csa(entries, *, is_second=True):
    """A private header as Siemens writes it: names with texts, in one of its two forms."""
    parts = [b"SV10\4\3\2\1"] if is_second else []
    parts.append(struct.pack("<II", len(entries), 77))
    offset = max(6, len(next(iter(entries.values()))))  # the first entry's number of items shifts lengths of form 1
    for n, (name, values) in enumerate(entries.items()):
        n_items = offset if n == 0 else max(6, len(values))
        parts.append(struct.pack("<64si4siii", name.encode(), len(values), b"DS", 3, n_items, 77))
        for value in [*values, *[""] * (n_items - len(values))]:
            text = value.encode() + b"\0" if value else b""
            length = len(text)
            parts.append(struct.pack("<4i", length if is_second else length + offset, length, 77, length))
            parts.append(text + b"\0" * (-length % 4))
    return b"".join(parts)


def tiled(slices, n_across, n_down):
    """Slices (n, rows, columns) side by side, row by row."""
    n, rows, columns = slices.shape
    whole = np.zeros((n_across * n_down, rows, columns), slices.dtype)
    whole[:n] = slices
    return whole.reshape(n_down, n_across, rows, columns).swapaxes(1, 2).reshape(n_down * rows, n_across * columns)


def write_mosaic(
    path, slices, *, axes=AXES, spacing=(0.8, 0.6), step_mm=2.5, is_second=True, entries=None, change=None, number=1
):
    """A mosaic whose first slice begins at ORIGIN; `step_mm` is negative where slices lie against the normal."""
    n, rows, columns = slices.shape
    side = ceil(sqrt(n))
    row, column = (np.array(axis, float) for axis in axes)
    corner = ORIGIN - row * spacing[1] * columns * (side - 1) / 2 - column * spacing[0] * rows * (side - 1) / 2
    normal = np.cross(row, column) * np.sign(step_mm)
    found = {
        "EchoLinePosition": ["32"],
        "NumberOfImagesInMosaic": [str(n)],
        "SliceNormalVector": [f"{x:.8f}" for x in normal],
    }
    found.update(entries or {})

    def bend(_, image):
        image.SOPClassUID, image.Modality = MRImageStorage, "MR"
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        image.SpacingBetweenSlices, image.InstanceNumber, image.AcquisitionNumber = f"{abs(step_mm)}", number, number
        del image.RescaleSlope, image.RescaleIntercept
        header = image.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        header.add_new(0x10, "OB", csa(found, is_second=is_second))
        if change is not None:
            change(image)

    write_series(path, tiled(slices, side, side)[None], axes=axes, spacing=spacing, origin=corner, change=bend)
    return path


@settings(max_examples=30)
@given(st.data())
def test_each_voxel_of_a_mosaic_lies_in_its_slice(folder, data):
    n, rows, columns = data.draw(st.integers(2, 10)), data.draw(st.integers(2, 5)), data.draw(st.integers(2, 5))
    axes = data.draw(rotations(170))[:2]
    spacing = data.draw(st.tuples(*[st.floats(0.2, 5).map(lambda x: round(x, 3))] * 2))
    step_mm = data.draw(st.sampled_from([2.5, -2.5, -0.7]))
    slices = RANDOM.integers(0, 4000, (n, rows, columns)).astype(np.uint16)
    shutil.rmtree(folder / "any", ignore_errors=True)
    path = write_mosaic(
        *(folder / "any", slices), axes=axes, spacing=spacing, step_mm=step_mm, is_second=data.draw(st.booleans())
    )
    volume = io.read(path)
    assert volume.geometry.shape == (columns, rows, n)
    for k, values in enumerate(slices):
        assert_lies(volume, values, ORIGIN + k * step_mm * np.cross(*axes), axes, spacing)


SLICES = RANDOM.integers(0, 4000, (5, 3, 4)).astype(np.uint16)


def test_mosaics_of_several_times_are_refused_and_one_can_be_chosen(tmp_path):
    for time in (1, 2, 3):
        write_mosaic(tmp_path / str(time), SLICES + time, number=time)
        dataset = dcmread(tmp_path / str(time) / "001.dcm")
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.4"
        dataset.save_as(tmp_path / str(time) / "001.dcm")
    with pytest.raises(InputError, match="5 positions .* 3 images each.*--read select=AcquisitionNumber=1"):
        io.read(tmp_path)
    volume = io.read(tmp_path, ReadOptions(select="AcquisitionNumber=2"))
    np.testing.assert_array_equal(volume.array[0].T, SLICES + 2)


def test_a_tile_is_an_image_of_its_own_size_and_no_mosaic_any_more(tmp_path):
    write_mosaic(tmp_path / "s", SLICES)
    tiles = split(find_images(tmp_path / "s").images[0], ReadOptions())
    assert [tile.tile for tile in tiles] == [(0, 0, 9, 12), (0, 4, 9, 12), (0, 8, 9, 12), (3, 0, 9, 12), (3, 4, 9, 12)]
    assert [tile.index for tile in tiles] == [None] * 5
    header = tiles[4].header
    assert (header.Rows, header.Columns, list(header.ImageType)) == (3, 4, ["ORIGINAL", "PRIMARY", "M", "ND"])
    assert all(part is tile for tile in tiles for part in split(tile, ReadOptions()))


def test_a_mosaic_without_its_private_header_is_refused(tmp_path):
    def bare(image):
        del image[0x0029, 0x1010]

    write_mosaic(tmp_path / "bare", SLICES, change=bare)
    with pytest.raises(InputError, match="Siemens mosaic .*number of tiles, SliceNormalVector"):
        io.read(tmp_path / "bare")
    write_mosaic(tmp_path / "half", SLICES, entries={"SliceNormalVector": []})
    with pytest.raises(InputError, match=r"Siemens mosaic .*\(SliceNormalVector\)"):
        io.read(tmp_path / "half")


def test_a_mosaic_that_contradicts_itself_is_refused(tmp_path):
    write_mosaic(tmp_path / "many", SLICES, entries={"NumberOfImagesInMosaic": ["26"]})
    with pytest.raises(InputError, match="26 tiles, but its 12 × 9 pixels cannot be 6 × 6 equal ones"):
        io.read(tmp_path / "many")
    write_mosaic(tmp_path / "oblique", SLICES, entries={"SliceNormalVector": ["0.6", "0", "0.8"]})
    with pytest.raises(InputError, match="0.800 between its two normals"):
        io.read(tmp_path / "oblique")
    write_mosaic(tmp_path / "step", SLICES, change=lambda image: delattr(image, "SpacingBetweenSlices"))
    with pytest.raises(InputError, match="SpacingBetweenSlices missing"):
        io.read(tmp_path / "step")


def test_the_private_count_tells_a_mosaic_that_is_not_called_one(tmp_path):
    def uncalled(image):
        image.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "FA"]
        image.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 5)

    write_mosaic(tmp_path / "s", SLICES, change=uncalled)
    np.testing.assert_array_equal(io.read(tmp_path / "s").array[0].T, SLICES)


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.data())
def test_a_damaged_private_header_is_refused_but_never_a_defect(folder, data):
    content = bytearray(csa({"EchoLinePosition": ["32"], "NumberOfImagesInMosaic": ["5"], "SliceNormalVector": ["0"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])

    def damage(image):
        image[0x0029, 0x1010].value = content

    shutil.rmtree(folder / "damaged", ignore_errors=True)
    path = write_mosaic(folder / "damaged", SLICES, change=damage)
    with contextlib.suppress(InputError, MachineError):
        io.read(path)


def write_vframe(path, slices, *, n_listed=None):
    """A picture of tiles as United Imaging writes it."""
    n = len(slices)
    across = ceil(sqrt(n))
    places = [ORIGIN + np.array([0, 0, -3.5 * k]) for k in range(n)]

    def bend(_, image):
        image.SOPClassUID, image.Modality = MRImageStorage, "MR"
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
        del image.RescaleSlope, image.RescaleIntercept, image.ImagePositionPatient
        items = []
        for place in places[:n_listed]:
            items.append(Dataset())
            items[-1].ImagePositionPatient = [f"{x:.8g}" for x in place]
        block = image.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(n))
        block.add_new(0x51, "SQ", Sequence(items))

    write_series(path, tiled(slices, across, ceil(n / across))[None], change=bend)
    return places


def test_tiles_of_united_imaging_lie_where_their_sequence_says(tmp_path):
    places = write_vframe(tmp_path / "s", SLICES)
    volume = io.read(tmp_path / "s")
    for values, place in zip(SLICES, places, strict=True):
        assert_lies(volume, values, place, AXES, (0.8, 0.6))
    write_vframe(tmp_path / "less", SLICES, n_listed=4)
    with pytest.raises(InputError, match="UIH VFRAME .*without ImagePositionPatient for each of its 5 tiles"):
        io.read(tmp_path / "less")


# Real files.


@pytest.mark.data
def test_each_time_of_a_real_mosaic_is_its_volume_of_the_reference(shared_data):
    folder = shared_data / "dicom" / "mr" / "siemens_mosaic_ax"
    reference = io.read(f"{folder}.nii.gz", ReadOptions(channels="last"))
    chosen = [io.read(folder, ReadOptions(select=f"AcquisitionNumber={n}")) for n in (1, 2)]
    assert [channel_of(volume, reference) for volume in chosen] == [0, 1]


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_the_private_header_is_read_as_nibabel_reads_it(shared_data):
    from nibabel.nicom import csareader

    path = next((shared_data / "dicom" / "mr" / "siemens_mosaic_ax").iterdir())
    theirs = csareader.get_csa_header(dcmread(path))["tags"]
    ours = _csa(find_images(path).images[0])
    assert ours.keys() == theirs.keys()
    for name, entry in theirs.items():
        assert [str(value) for value in entry["items"] if value != ""] == [
            str(type(value)(ours[name][n])) for n, value in enumerate(v for v in entry["items"] if v != "")
        ]


@pytest.mark.data
def test_real_tiles_of_united_imaging_lie_where_dcm2niix_puts_them(shared_data, tmp_path):
    program = pytest.importorskip("dcm2niix").bin
    folder = shared_data / "dicom" / "mr" / "uih_vframe"
    subprocess.run([program, "-f", "u", "-o", tmp_path, folder], check=True, capture_output=True)
    reference = io.read(tmp_path / "u.nii", ReadOptions(channels="last"))
    volumes = [io.read(folder, ReadOptions(volume=n)) for n in (0, 1)]
    assert {channel_of(volume, reference) for volume in volumes} == {0, 1}
