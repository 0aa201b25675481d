"""Phantoms: repeatable, whole, the right way round in every orientation, and not to be had by a threshold."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap
from medseg.sample.anatomy import LABELS, Patient, paint
from medseg.sample.phantom import N_PHANTOMS, N_TRAINING, Phantom, make_phantom
from medseg.sample.scanner import AXES, HU_STEP, Scanner, rotation, texture

LIVER, SPLEEN, KIDNEYS = 1, 2, 3


COMMITTED = Path(__file__).resolve().parents[2] / "sample_data"


@pytest.fixture(scope="module")
def phantoms():
    """All phantoms as committed (test_folder.py holds that they are what `make_phantom` makes)."""
    found = []
    for path in sorted(COMMITTED.glob("images*/*.nii.gz"), key=lambda path: path.name):
        image, labels = nib.load(path), nib.load(str(path).replace("/images", "/labels"))
        geometry = Geometry(image.shape, image.affine)
        hu, labels = np.asarray(image.dataobj), np.asarray(labels.dataobj)
        found.append(Phantom(path.name.removesuffix(".nii.gz"), geometry, hu, labels))
    return found


def test_the_same_number_and_seed_give_the_same_voxels_and_another_seed_gives_others(phantoms):
    again, other = make_phantom(3), make_phantom(3, seed=1)
    np.testing.assert_array_equal(phantoms[2].hu, again.hu)
    np.testing.assert_array_equal(phantoms[2].labels, again.labels)
    assert again.geometry.same_as(phantoms[2].geometry)
    assert other.hu.shape != again.hu.shape or (other.hu != again.hu).any()


def test_sides_spacings_orientations_and_tilts_vary(phantoms):
    grids = [phantom.geometry for phantom in phantoms]
    assert all(48 <= side <= 96 for grid in grids for side in grid.shape)
    assert all(1.7 <= spacing <= 3.001 for grid in grids for spacing in grid.spacing_mm)
    assert len({grid.orientation for grid in grids}) >= 15
    assert len({grid.shape for grid in grids}) >= 15
    oblique = [grid for grid in grids if np.sort(np.abs(grid.affine[:3, :3]), axis=0)[1].max() > 0.02]
    assert 4 <= len(oblique) <= N_PHANTOMS - 4
    assert {axis for grid in grids for axis in np.flatnonzero(np.array(grid.spacing_mm) > 2.9)} == {0, 1, 2}
    assert all(grid.is_orthogonal for grid in grids)


def test_liver_and_spleen_are_one_piece_and_kidneys_two_of_a_size_that_can_be_learnt(phantoms):
    for phantom in phantoms:
        volumes = LabelMap(phantom.labels, phantom.geometry, LABELS).volumes_ml()
        assert 80 < volumes["liver"] < 220, phantom.case
        assert 12 < volumes["spleen"] < 70, phantom.case
        assert 20 < volumes["kidneys"] < 80, phantom.case
        pieces = [ndimage.label(phantom.labels == value)[1] for value in (LIVER, SPLEEN, KIDNEYS)]
        assert pieces == [1, 1, 2], phantom.case


def test_the_liver_lies_on_the_right_and_kidneys_below_the_spleen_whatever_the_axes(phantoms):
    for phantom in phantoms:
        liver, spleen, kidneys = (
            phantom.geometry.to_world(np.argwhere(phantom.labels == value)).mean(axis=0)
            for value in (LIVER, SPLEEN, KIDNEYS)
        )
        assert liver[0] > 15, phantom.case
        assert spleen[0] < -25, phantom.case
        assert kidneys[2] < spleen[2] - 15, phantom.case


def test_liver_and_spleen_share_their_intensity(phantoms):
    for phantom in phantoms:
        inner = [np.median(phantom.hu[ndimage.binary_erosion(phantom.labels == value)]) for value in (LIVER, SPLEEN)]
        assert abs(inner[0] - inner[1]) <= 2 * HU_STEP, phantom.case


def test_intensities_are_those_of_ct(phantoms):
    for phantom in phantoms:
        assert phantom.hu.dtype == np.int16
        assert (phantom.hu % HU_STEP == 0).all()
        assert np.median(phantom.hu[phantom.hu < -900]) == -1000, "air"
        assert phantom.hu.max() > 250, "bone"
        assert phantom.hu.min() >= -1024


def test_no_threshold_with_its_largest_piece_finds_a_label(phantoms):
    """For every interval [low, high) of a grid of thresholds: the mean Dice of its largest component is ≤ 0.6."""
    edges = [0, 40, 50, 60, 70, 80, 100, 120, 140, 160, 200, 5000]
    intervals = [(low, high) for low in edges for high in edges if low < high]
    training = phantoms[:N_TRAINING]
    dice = np.zeros((len(intervals), 3))
    for phantom in training:
        organs = np.bincount(phantom.labels.ravel(), minlength=4)
        for row, (low, high) in enumerate(intervals):
            pieces, n_pieces = ndimage.label((phantom.hu >= low) & (phantom.hu < high))
            if n_pieces == 0:
                continue
            sizes = np.bincount(pieces.ravel())
            largest = 1 + int(sizes[1:].argmax())
            shared = np.bincount(phantom.labels[pieces == largest], minlength=4)
            dice[row] += (2 * shared / (sizes[largest] + organs))[1:] / len(training)
    best = dice.max(axis=0)
    assert (best <= 0.6).all(), dict(zip(LABELS.names, best.round(3), strict=True))
    assert best.max() > 0.2, "an interval that finds nothing of anything would prove nothing"


def test_a_patient_has_the_same_volumes_on_a_fine_and_on_a_turned_anisotropic_grid():
    patient = Patient.draw(np.random.default_rng(5), phase=2)
    fine = Geometry.from_spacing((82, 64, 74), (2, 2, 2), (-81, -63, -73))
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.array((1.0, 2, 3)), 8) * np.array((1.7, 2.2, 3))
    affine[:3, 3] = -affine[:3, :3] @ np.array((49, 31, 25))
    turned = Geometry((99, 63, 51), affine)
    volumes = []
    for geometry in (fine, turned):
        hu, labels = paint(np.random.default_rng(0), patient, geometry)
        body_ml = np.count_nonzero(hu > -500) * geometry.voxel_volume_ml
        volumes.append([*LabelMap(labels, geometry, LABELS).volumes_ml().values(), body_ml])
    np.testing.assert_allclose(volumes[0], volumes[1], rtol=0.04)


def test_there_are_48_axes_and_a_scanner_has_those_it_is_given():
    grids = [Scanner.draw(np.random.default_rng(0), axes, 5.0, 3.0).geometry for axes in AXES]
    assert len({grid.orientation for grid in grids}) == 48
    assert len({grid.orientation for grid in grids if "S" in grid.orientation or "I" in grid.orientation}) == 48
    canonical = [grid.reorient(grid.to_canonical) for grid in grids]
    assert all(grid.distance_mm(canonical[0]) < 1e-9 for grid in canonical), "the same place, whatever the axes"


def test_a_rotation_turns_by_its_angle_and_keeps_lengths():
    turn = rotation(np.array((0.0, 0, 2)), 90)
    np.testing.assert_allclose(turn @ (1, 0, 0), (0, 1, 0), atol=1e-12)
    oblique = rotation(np.array((1.0, -2, 0.5)), 17)
    np.testing.assert_allclose(oblique @ oblique.T, np.eye(3), atol=1e-12)
    assert np.rad2deg(np.arccos((np.trace(oblique) - 1) / 2)) == pytest.approx(17)


def test_texture_has_unit_deviation_and_grains_of_the_same_size_in_mm_along_all_axes():
    grain = texture(np.random.default_rng(0), (64, 64, 64), np.array((1.0, 1.0, 2.0)), 6.0)
    assert grain.std() == pytest.approx(1)

    def likeness(step, axis):
        return (grain * np.roll(grain, step, axis)).mean()

    assert likeness(4, 0) == pytest.approx(likeness(2, 2), abs=0.05)
    assert likeness(4, 0) > 0.3
