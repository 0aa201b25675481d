"""Whatever a data set holds, it is trained, predicted and evaluated, or refused in a sentence: never a defect.

Drawn are small sets as people have them: scans without a lesion, one voxel, one slice, one case, a label that fills the
image, values with gaps up to 65,535, regions, voxels to ignore, several channels, pictures, blank and flattened images.
In one process, so that an example takes a second or two.
"""

import contextlib
import io as text_io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from medseg import io
from medseg.cli.app import run
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from tests.strategies import spacings_mm

pytestmark = pytest.mark.journey

TINY = (
    "network.first_features=4",
    "network.stages=2",
    "plan.batch=2",
    "training.steps_an_epoch=2",
    "training.arithmetic=float32",
    "training.memory_format=channels_first",
)

LABEL_MAPS = ("ball", "empty", "one voxel", "one slice", "everywhere", "noise", "ignored", "half ignored")
IMAGES = ("tissue", "tissue", "constant", "zero", "hot voxel", "padded", "huge", "whole numbers")


@dataclass(frozen=True)
class Drawn:
    """A data set in nnU-Net's layout: what each case holds, by words, and what values mean."""

    shapes: tuple[tuple[int, int, int], ...]
    spacing_mm: tuple[float, float, float]
    label_maps: tuple[str, ...]
    images: tuple[str, ...]
    values: tuple[int, ...]
    regions: bool
    ignore: int | None
    n_channels: int
    folds: int

    @property
    def must_train(self) -> bool:
        """Whether nothing stands in the way: every case has labelled voxels of every value, and something to see."""
        return set(self.label_maps) <= {"noise"} and set(self.images) <= {"tissue", "whole numbers"}

    def write(self, root: Path) -> Path:
        labels: dict[str, int | list[int]] = {"background": 0}
        if self.regions:
            labels["all"] = list(self.values)
            labels["first"] = self.values[0]
        else:
            labels |= {f"structure {value}": value for value in self.values}
        if self.ignore is not None:
            labels["ignore"] = self.ignore
        channels = {str(number): f"channel {number}" for number in range(self.n_channels)}
        about = {"channel_names": channels, "labels": labels, "file_ending": ".nii.gz"}
        (root / "dataset.json").write_text(json.dumps(about))
        for number, (shape, label_map, image) in enumerate(zip(self.shapes, self.label_maps, self.images, strict=True)):
            rng = np.random.default_rng(number)
            grid = Geometry.from_spacing(shape, self.spacing_mm)
            array = self._labels(label_map, shape, rng)
            io.write(LabelMap(array, grid), root / f"labelsTr/c{number}.nii.gz")
            for channel in range(self.n_channels):
                voxels = image_of(image, array, rng)
                io.write(Volume(voxels[None], grid), root / f"imagesTr/c{number}_{channel:04d}.nii.gz")
        return root

    def _labels(self, what: str, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
        array = np.zeros(shape, np.uint16)
        middle = tuple(side // 2 for side in shape)
        if what == "ball":
            apart = sum((axis - m) ** 2 for axis, m in zip(np.indices(shape), middle, strict=True))
            for n, value in enumerate(self.values):
                array[apart <= (max(shape) / 3 / (n + 1)) ** 2] = value
        elif what == "one voxel":
            array[middle] = self.values[-1]
        elif what == "one slice":
            array[..., middle[2]] = self.values[0]
        elif what == "everywhere":
            array[:] = self.values[0]
        elif what == "noise":
            array = rng.choice(np.array((0, *self.values), np.uint16), shape)
            array.flat[: len(self.values)] = self.values[: array.size]
        elif what == "ignored" and self.ignore is not None:
            array[:] = self.ignore
        elif what == "half ignored" and self.ignore is not None:
            array[middle] = self.values[0]
            array[: middle[0]] = self.ignore
        return array


def image_of(what: str, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tissue = (rng.normal(100, 20, labels.shape) + 80 * (labels > 0)).astype(np.float32)
    if what == "constant":
        tissue[:] = 7
    elif what == "zero":
        tissue[:] = 0
    elif what == "hot voxel":
        tissue.flat[0] = 1e30
    elif what == "padded":
        tissue[0] = -3.4e38
    elif what == "huge":
        tissue *= 1e30
    return tissue.astype(np.int16) if what == "whole numbers" else tissue


@st.composite
def drawn(draw):
    n_cases = draw(st.integers(1, 5))
    flat = draw(st.booleans())
    side = st.integers(1, 20)
    shapes = st.tuples(side, side, st.just(1) if flat else side)
    values = draw(st.lists(st.integers(1, 65_534), min_size=1, max_size=4, unique=True))
    return Drawn(
        shapes=tuple(draw(shapes) for _ in range(n_cases)),
        spacing_mm=draw(spacings_mm()),
        label_maps=tuple(draw(st.sampled_from(LABEL_MAPS)) for _ in range(n_cases)),
        images=tuple(draw(st.sampled_from(IMAGES)) for _ in range(n_cases)),
        values=tuple(values),
        regions=draw(st.booleans()),
        ignore=draw(st.sampled_from((None, 65_535))),
        n_channels=draw(st.integers(1, 4)),
        folds=draw(st.integers(2, 3)),
    )


def medseg(*arguments: object) -> tuple[int, str]:
    """The exit code of a command and all that it said."""
    said = text_io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run([*map(str, arguments)])
    note(f"{arguments[0]}: {code}\n{said.getvalue()}")
    return code, said.getvalue()


@given(data_set=drawn())
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_data_set_goes_the_whole_way_or_is_refused_in_a_sentence(data_set):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        data = data_set.write(root / "data")
        sets = [word for pair in (*TINY, f"data.folds={data_set.folds}") for word in ("--set", pair)]
        code, said = medseg("train", data, "-o", root / "run", "--epochs", 1, "--device", "cpu", "--jobs", 1, *sets)
        assert code == 0 or (code == 3 and not data_set.must_train), said
        event(f"training ends with {code}")
        assert said.strip().endswith((".", "OUT"))
        if code:
            assert not (root / "run" / "plan.json").exists()
            return
        code, said = medseg("predict", data, "-m", root / "run", "-o", root / "out", "--device", "cpu", "--jobs", 1)
        assert code == 0, said
        code, said = medseg("evaluate", root / "out", data, "-o", root / "scores", "--jobs", 1)
        assert code == 0, said
        scores = json.loads((root / "scores/summary.json").read_text())
        assert (scores["n_cases"], scores["n_failed"]) == (len(data_set.shapes), 0)
        assert all(0 <= value <= 1 for name, value in scores["headline"].items() if name == "dice")
