"""Placing slices: in any order and orientation, with any defect, a value lies where it was taken or is refused."""

import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import generate_uid

from medseg import io
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.io import ReadOptions
from tests.io.dicom_files import write_series, write_slice
from tests.strategies import ORIENTATIONS, rotations

STORED = np.random.default_rng(0).integers(0, 3000, (6, 3, 4)).astype(np.uint16)
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # it takes minutes: each example is a folder of files
LPS_RAS = np.array([-1, -1, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("placed")


@dataclass
class Truth:
    """Where each stored value lies, and what it is worth."""

    folder: object
    stored: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing: tuple
    positions: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray
    paths: list = field(default_factory=list)

    def value(self, k):
        return self.stored[k] * self.slopes[k] + self.intercepts[k]

    def ras(self, k):
        """World places of slice k: (rows, columns, 3)."""
        between_rows, between_columns = self.spacing
        r, c = (n[..., None] for n in np.indices(self.stored.shape[1:]))
        return (self.positions[k] + c * between_columns * self.row + r * between_rows * self.column) * LPS_RAS

    def assert_holds(self, volume, slices):
        """Each value of these slices is in the volume, at its place, and nothing else is but what was interpolated."""
        frames = volume.meta.header["frames"]
        assert volume.geometry.shape[2] == len(frames)
        assert sum(frame is not None for frame in frames) == len(slices)
        for k in slices:
            voxels = volume.geometry.to_voxel(self.ras(k))
            i, j, n = np.rint(voxels).astype(int).reshape(-1, 3).T
            assert np.abs(voxels - np.rint(voxels)).max() < 0.051
            np.testing.assert_allclose(volume.array[0, i, j, n], self.value(k).ravel(), rtol=1e-5, atol=1e-3)
            assert {frames[m].path for m in n} == {self.paths[k]}


@st.composite
def series(draw, folder, largest_tilt_deg=0.0, n_slices=6):
    """Any of 48 orientations, turned; any spacing; a tilt; a slope of each slice; files in any order."""
    orientation = draw(st.sampled_from(ORIENTATIONS))
    axes = np.eye(3)[:, list(orientation.order)] * np.where(orientation.flips, -1, 1)
    row, column, along = (draw(rotations()) @ axes).T
    row, column = (np.array([float(f"{x:.10g}") for x in v]) for v in (row, column))
    spacing = tuple(draw(st.floats(0.2, 4).map(lambda x: round(x, 3))) for _ in range(3))
    sideways = spacing[2] * np.tan(np.deg2rad(draw(st.floats(0, largest_tilt_deg))))
    angle = draw(st.floats(0, 6.2))
    step = along * spacing[2] + sideways * (row * np.cos(angle) + column * np.sin(angle))
    is_signed, has_slopes = draw(st.booleans()), draw(st.booleans())
    stored = (STORED.astype(int) - 1500 if is_signed else STORED)[:n_slices].astype(
        np.int16 if is_signed else np.uint16
    )
    k = np.arange(n_slices)
    slopes, intercepts = (0.5 + k, -k.astype(float)) if has_slopes else (np.ones(n_slices), np.full(n_slices, -1024.0))
    positions = np.array([-10.0, 20.0, 30.0]) + k[:, None] * step
    truth = Truth(folder, stored, row, column, spacing[:2], positions, slopes, intercepts)

    def change(k, slice_):
        slice_.RescaleSlope, slice_.RescaleIntercept = f"{slopes[k]}", f"{intercepts[k]}"

    shutil.rmtree(folder, ignore_errors=True)
    names = draw(st.permutations(range(n_slices)))
    paths = write_series(folder, stored, axes=(row, column), spacing=spacing[:2], step=step, change=change)
    truth.paths = [path.rename(path.with_name(f"{name:02d}")) for path, name in zip(paths, names, strict=True)]
    return truth


@settings(max_examples=40, phases=NO_SHRINKING)
@given(st.data())
def test_each_voxel_of_a_regular_series_is_in_its_place(folder, data):
    truth = data.draw(series(folder / "s"))
    volume = io.read(folder / "s")
    truth.assert_holds(volume, range(6))
    assert volume.geometry.is_orthogonal
    grid, n_channels = io.read_geometry(folder / "s")
    assert (grid, n_channels) == (volume.geometry, 1)


@settings(max_examples=25, phases=NO_SHRINKING)
@given(st.data())
def test_each_voxel_of_a_tilted_series_is_in_its_place(folder, data):
    truth = data.draw(series(folder / "s", largest_tilt_deg=40))
    truth.assert_holds(io.read(folder / "s"), range(6))


def moved(truth, k, by_mm):
    slice_ = dcmread(truth.paths[k])
    slice_.ImagePositionPatient = [f"{x:.10g}" for x in truth.positions[k] + by_mm]
    write_slice(slice_, truth.paths[k])


def lost(truth, draw):
    truth.paths[draw(st.integers(1, 4))].unlink()
    return "lacks 1 slice"


def end_lost(truth, draw):
    truth.paths[draw(st.sampled_from([0, 5]))].unlink()


def two_lost_ends(truth, draw):
    truth.paths[0].unlink()
    truth.paths[5].unlink()


def copied(truth, draw):
    shutil.copy(truth.paths[draw(st.integers(0, 5))], truth.folder / "copy")


def shifted(truth, draw):
    """Along the normal, by more than may be jitter."""
    step = truth.positions[1] - truth.positions[0]
    moved(truth, draw(st.integers(1, 4)), step * draw(st.sampled_from([-0.4, -0.1, 0.1, 0.4])))
    return "uneven slice distances|lacks"


def shifted_sideways(truth, draw):
    moved(truth, draw(st.integers(1, 4)), truth.row * truth.spacing[1] * draw(st.sampled_from([-3, 0.2, 1])))
    return "do not lie on one straight line"


def second_image(truth, draw):
    """At the place of another slice, with other pixels."""
    slice_ = dcmread(truth.paths[draw(st.integers(0, 5))])
    slice_.SOPInstanceUID = generate_uid()
    write_slice(slice_, truth.folder / "second")
    return "1 position of series 5 holds 2 images"


def same_name_other_pixels(truth, draw):
    slice_ = dcmread(truth.paths[draw(st.integers(0, 5))])
    slice_.PixelData = bytes(len(slice_.PixelData))
    write_slice(slice_, truth.folder / "second")
    return "nothing in the headers tells them apart"


def turned(truth, draw):
    slice_ = dcmread(truth.paths[draw(st.integers(0, 5))])
    slice_.ImageOrientationPatient = [*slice_.ImageOrientationPatient[3:], *slice_.ImageOrientationPatient[:3]]
    slice_.SOPInstanceUID = generate_uid()
    write_slice(slice_, truth.folder / "turned")


def other_matrix(truth, draw):
    slice_ = dcmread(truth.paths[draw(st.integers(0, 5))])
    slice_.Rows, slice_.Columns = 4, 3
    slice_.SOPInstanceUID = generate_uid()
    write_slice(slice_, truth.folder / "other")
    return "2 different stacks"


def cut_in_the_header(truth, draw):
    path = truth.paths[draw(st.integers(0, 5))]
    content = path.read_bytes()
    path.write_bytes(content[: draw(st.integers(132, len(content) // 2))])
    return "is cut off or damaged: its header breaks off|has no|different stacks|does not say"


DEFECTS = (
    *(lost, end_lost, two_lost_ends, copied, shifted, shifted_sideways, second_image, same_name_other_pixels, turned),
    *(other_matrix, cut_in_the_header),
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@settings(max_examples=6, phases=NO_SHRINKING)
@given(st.data())
def test_a_defect_is_refused_by_name_or_leaves_the_rest_in_its_place(folder, defect, data):
    truth = data.draw(series(folder / "s", largest_tilt_deg=data.draw(st.sampled_from([0, 20]))))
    sentence = defect(truth, data.draw)
    if sentence is not None:
        with pytest.raises(InputError, match=sentence):
            io.read(folder / "s")
        return
    truth.assert_holds(io.read(folder / "s"), [k for k in range(6) if truth.paths[k].exists()])


@settings(max_examples=15, phases=NO_SHRINKING)
@given(st.data())
def test_missing_slices_are_interpolated_when_asked(folder, data):
    truth = data.draw(series(folder / "s", largest_tilt_deg=20))
    gone = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True))
    for k in gone:
        truth.paths[k].unlink()
    volume = io.read(folder / "s", ReadOptions(missing="fill"))
    kept = [k for k in range(6) if k not in gone]
    truth.assert_holds(volume, kept)
    assert volume.geometry.shape == (4, 3, 6)
    assert f"lacks {len(gone)} slice" in volume.meta.warnings[0]
    for k in gone:
        below, above = max(n for n in kept if n < k), min(n for n in kept if n > k)
        share = (k - below) / (above - below)
        between = (1 - share) * truth.value(below) + share * truth.value(above)
        i, j, n = np.rint(volume.geometry.to_voxel(truth.ras(k))).astype(int).reshape(-1, 3).T
        assert {volume.meta.header["frames"][m] for m in n} == {None}
        tolerance = 0.5 if volume.array.dtype.kind == "i" else 1e-2
        np.testing.assert_allclose(volume.array[0, i, j, n], between.ravel(), rtol=0, atol=tolerance)


@settings(max_examples=8, phases=NO_SHRINKING)
@given(st.data())
def test_the_longest_unbroken_part_is_taken_when_asked(folder, data):
    truth = data.draw(series(folder / "s"))
    gone = data.draw(st.sampled_from([1, 2, 4]))
    truth.paths[gone].unlink()
    volume = io.read(folder / "s", ReadOptions(missing="largest-run"))
    truth.assert_holds(volume, range(gone) if gone > 2 else range(gone + 1, 6))
    assert "longest unbroken part" in volume.meta.warnings[0]


def test_uneven_slices_are_put_on_an_even_grid_when_asked(tmp_path):
    """A head scan with thin slices below and thick ones above: values that rise along the normal still do."""
    heights = np.concatenate([np.arange(0, 40, 4), np.arange(40, 90, 7)]).astype(float)
    stored = np.broadcast_to((heights * 10 + 1024)[:, None, None], (len(heights), 3, 4)).round().astype(np.uint16)

    def change(k, slice_):
        slice_.ImagePositionPatient = [-10, 20, f"{30 + heights[k]:.4f}"]

    write_series(tmp_path / "s", stored, change=change)
    with pytest.raises(InputError, match=r"uneven slice distances \(4 to 7 mm\); --read uneven=resample"):
        io.read_geometry(tmp_path / "s")
    volume = io.read(tmp_path / "s", ReadOptions(uneven="resample"))
    step = volume.geometry.spacing_mm[2]
    assert 3.8 < step < 4.2
    z = volume.geometry.to_world([(0, 0, k) for k in range(volume.geometry.shape[2])])[:, 2]
    np.testing.assert_allclose(volume.array[0, 0, 0], (z - 30) * 10, atol=0.51)
    assert z[0] == pytest.approx(30)
    assert z[-1] == pytest.approx(30 + heights[-1])
    assert "interpolated on an even grid" in volume.meta.warnings[0]
    frames = volume.meta.header["frames"]
    assert frames[0] is not None
    assert None in frames


def test_a_grid_that_would_be_mostly_invented_is_refused(tmp_path):
    heights = [0, 2.5, 5, 90, 92.5]
    write_series(tmp_path / "s", STORED[:5], change=lambda k, s: setattr(s, "ImagePositionPatient", [0, 0, heights[k]]))
    with pytest.raises(InputError, match="lacks 33 slices .* too many to interpolate"):
        io.read(tmp_path / "s", ReadOptions(missing="fill"))
    heights = [0, 0.3, 0.7, 90, 91]
    write_series(tmp_path / "t", STORED[:5], change=lambda k, s: setattr(s, "ImagePositionPatient", [0, 0, heights[k]]))
    with pytest.raises(InputError, match="an even grid would have"):
        io.read(tmp_path / "t", ReadOptions(uneven="resample"))


def test_the_spacing_of_the_detector_is_taken_only_when_asked(tmp_path):
    def change(k, slice_):
        slice_.ImagerPixelSpacing = slice_.PixelSpacing
        del slice_.PixelSpacing

    write_series(tmp_path / "s", STORED, change=change)
    with pytest.raises(InputError, match="ImagerPixelSpacing.*--read detector_spacing=accept"):
        io.read_geometry(tmp_path / "s")
    grid, _ = io.read_geometry(tmp_path / "s", ReadOptions(detector_spacing="accept"))
    assert grid.spacing_mm == pytest.approx((0.6, 0.8, 2.5))


@pytest.mark.parametrize(("share", "is_read"), [(0.04, True), (0.06, False)])
def test_a_slice_may_lie_a_twentieth_of_a_pixel_beside_the_line(tmp_path, share, is_read):
    write_series(tmp_path / "s", STORED, change=lambda k, s: move_third(k, s, (share * 0.6, 0, 0)))
    assert ("read" if is_read else "do not lie on one straight line") in outcome(tmp_path / "s")


@pytest.mark.parametrize(("share", "is_read"), [(0.009, True), (0.011, False)])
def test_a_distance_may_differ_by_a_hundredth_of_a_step(tmp_path, share, is_read):
    write_series(tmp_path / "s", STORED, change=lambda k, s: move_third(k, s, (0, 0, share * 2.5)))
    assert ("read" if is_read else "uneven slice distances") in outcome(tmp_path / "s")


@pytest.mark.parametrize(("angle_deg", "is_told"), [(0.09, False), (0.11, True)])
def test_a_tilt_is_told_from_a_tenth_of_a_degree_on_and_never_dropped(tmp_path, angle_deg, is_told):
    sideways = 2.5 * np.tan(np.deg2rad(angle_deg))
    write_series(tmp_path / "s", STORED, step=(0, sideways, 2.5))
    volume = io.read(tmp_path / "s")
    assert volume.geometry.affine[1, 2] == pytest.approx(-sideways, rel=1e-6)
    assert bool(volume.meta.warnings) == is_told


def move_third(k, slice_, by_mm):
    if k == 2:
        slice_.ImagePositionPatient = [f"{x + d:.8g}" for x, d in zip(slice_.ImagePositionPatient, by_mm, strict=True)]


def outcome(folder):
    try:
        io.read_geometry(folder)
    except InputError as refusal:
        return str(refusal)
    return "read"


@pytest.mark.parametrize(
    ("keyword", "value", "apart_mm"),
    [
        ("ImagePositionPatient", [-9.985, 20, 30], 0.01125),
        ("ImageOrientationPatient", [1, 0.0009, 0, 0, 1, 0], 0.12),
        ("PixelSpacing", [0.8, 0.60009], 0.018),
    ],
)
@pytest.mark.parametrize("bent", [0, 4])
def test_what_one_slice_says_otherwise_within_what_is_even_is_told(tmp_path, keyword, value, apart_mm, bent):
    """A digit that changed on the way moves a volume by hundredths of a millimetre: too little to refuse it."""
    stored = np.zeros((5, 80, 200), np.int16)

    def change(k, slice_):
        if k == bent:
            moved = [*value[:2], value[2] + 2.5 * k] if keyword == "ImagePositionPatient" else value
            setattr(slice_, keyword, moved)

    write_series(tmp_path / "s", stored)
    assert io.read(tmp_path / "s").meta.warnings == ()
    shutil.rmtree(tmp_path / "s")
    write_series(tmp_path / "s", stored, change=change)
    (note,) = io.read(tmp_path / "s").meta.warnings
    assert note == f"By their headers, slices lie up to {apart_mm:.2g} mm from the grid that was made of them."


def test_nothing_confirms_the_distance_of_two_slices_but_their_header(tmp_path):
    write_series(tmp_path / "a", STORED[:2], SliceThickness="2.5")
    assert io.read(tmp_path / "a").meta.warnings == ()
    write_series(tmp_path / "b", STORED[:2], SliceThickness="2.5", step=(0, 0, 7.5))
    assert io.read(tmp_path / "b").meta.warnings == (
        "Two slices lie 7.5 mm apart, though their header says 2.5 mm; places count.",
    )


def test_decimal_commas_are_read_as_points_and_told(tmp_path):
    def commas(path):
        content = path.read_bytes()
        for text in (b"-10\\20\\", b"0.8\\0.6", b"1\\0\\0\\0\\1\\0"):
            assert text in content
        for text in (b"32.5", b"37.5", b"42.5", b"0.8\\0.6"):
            content = content.replace(text, text.replace(b".", b","))
        path.write_bytes(content)

    paths = write_series(tmp_path / "s", STORED)
    plain = io.read(tmp_path / "s")
    for path in paths:
        commas(path)
    volume = io.read(tmp_path / "s")
    assert volume.geometry == plain.geometry
    np.testing.assert_array_equal(volume.array, plain.array)
    assert volume.meta.warnings == ("Decimal commas in ImagePositionPatient, PixelSpacing were read as points.",)
    ours = LabelMap((volume.array[0] > 500).astype(np.uint8), volume.geometry, Labels({"a": (1,)}))
    for form in io.DICOM_FORMS:
        path = tmp_path / form
        io.write_dicom(ours, path, form, source=volume.meta, producer=io.Producer("x", "sha256:0123"))
        np.testing.assert_array_equal(io.read_labels(path, image=tmp_path / "s").array, ours.array)
