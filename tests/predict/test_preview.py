import numpy as np
import pytest
from PIL import Image

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.views import LABEL_COLOURS
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.predict.preview import draw_preview
from tests.strategies import ORIENTATIONS

RED = tuple(int(LABEL_COLOURS[0][n : n + 2], 16) for n in (1, 3, 5))
NAMES = Labels({"tumour": (1,)})


def red_in_panels(path, n_panels):
    """Where the first label lies in each panel, as shares of its width and height from the upper left."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = np.abs(pixels - RED).max(axis=2) < 40
    legend = int(pixels.shape[1] * 2.0 / (4.2 * n_panels + 2.2))
    places = []
    for panel in np.array_split(red[:, :-legend], n_panels, axis=1):
        rows, columns = np.nonzero(panel)
        places.append((columns.mean() / panel.shape[1], rows.mean() / panel.shape[0]))
    return places


@pytest.mark.parametrize("orientation", [ORIENTATIONS[0], ORIENTATIONS[11], ORIENTATIONS[38]])
def test_a_preview_hangs_the_patient_as_radiologists_do(tmp_path, orientation):
    # A label at the patient's right, front and head; RAS indices grow to the right, the front and the head.
    canonical = Geometry.from_spacing((30, 30, 30))
    labels = np.zeros(canonical.shape, np.uint8)
    labels[22:27, 22:27, 22:27] = 1
    grid = canonical.reorient(orientation)
    image = Volume(np.full((1, *grid.shape), 0.3, np.float32), grid)
    draw_preview(tmp_path / "p.png", image, LabelMap(orientation.apply(labels), grid, NAMES), "case")
    axial, coronal, sagittal = red_in_panels(tmp_path / "p.png", 3)
    for across, down in (axial, coronal, sagittal):
        assert across < 0.5
        assert down < 0.5


def test_a_picture_is_shown_as_it_is(tmp_path):
    labels = np.zeros((40, 30, 1), np.uint8)
    labels[30:35, 3:8] = 1
    grid = Geometry.from_spacing((40, 30, 1))
    meta = Meta(kind="png", placed=False)
    draw_preview(
        tmp_path / "p.png",
        Volume(np.zeros((1, *grid.shape), np.uint8), grid, meta),
        LabelMap(labels, grid, NAMES, meta),
        "",
    )
    ((across, down),) = red_in_panels(tmp_path / "p.png", 1)
    assert across > 0.6
    assert down < 0.5


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 1, 7), (5, 6, 1)])
def test_thin_and_empty_results_have_a_preview_too(tmp_path, shape):
    grid = Geometry.from_spacing(shape)
    draw_preview(
        tmp_path / "p.png", Volume(np.zeros((1, *shape)), grid), LabelMap(np.zeros(shape, np.uint8), grid), "empty"
    )
    assert (tmp_path / "p.png").stat().st_size > 1000
