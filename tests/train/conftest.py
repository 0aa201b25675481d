"""Small real things for the race: a data set on disk, its plan and a prepared cache."""

import numpy as np
import pytest
import torch

from medseg import io
from medseg.config.schema import Config, DataConfig
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from medseg.data.fingerprint import measure
from medseg.data.layouts import open_dataset
from medseg.io.options import ReadOptions
from medseg.plan.rules import DeviceFacts, make_plan

torch.set_num_threads(1)


def ball_case(rng, shape=(20, 24, 16)):
    """A noisy ball, value 7, with a core of value 3, anywhere in the volume."""
    centre = rng.uniform(0.35, 0.65, 3) * shape
    radius = rng.uniform(4, 6)
    distance = np.sqrt(sum((x - c) ** 2 for x, c in zip(np.indices(shape), centre, strict=True)))
    labels = np.where(distance < radius, 7, 0)
    labels[distance < radius / 2] = 3
    image = np.choose(np.searchsorted([3, 7], labels), [200, 100]) * (labels > 0)
    return (image + rng.normal(0, 20, shape)).astype(np.float32), labels.astype(np.uint8)


def write_balls(folder, n=6, spacing=(1.0, 1.0, 2.0)):
    rng = np.random.default_rng(3)
    for number in range(n):
        image, labels = ball_case(rng)
        grid = Geometry.from_spacing(image.shape, spacing).flip(0)
        io.write(Volume(image[None], grid), folder / "images" / f"ball_{number}.nii.gz")
        io.write(LabelMap(labels, grid), folder / "labels" / f"ball_{number}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def balls(tmp_path_factory):
    return write_balls(tmp_path_factory.mktemp("balls"))


@pytest.fixture(scope="session")
def measured(balls):
    work = measure(open_dataset(balls, DataConfig()), ReadOptions())
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


SMALL = Config(
    plan={"patch": (16, 16, 8), "batch": 2},
    network={"features": (4, 8), "kernels": ((3, 3, 3),) * 2, "strides": ((1, 1, 1), (2, 2, 2))},
    training={"steps_an_epoch": 5, "ema": 0.9},
)


@pytest.fixture(scope="session")
def plan(measured):
    return make_plan(measured.fingerprint, SMALL, measured.labels, DeviceFacts("cpu", 50, 4), 60)


@pytest.fixture
def labels():
    return Labels({"core": (3,), "shell": (7,)})
