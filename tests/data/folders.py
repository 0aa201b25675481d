"""Small real data sets on disk, written with our own door: nothing here is faked but the anatomy."""

import json
from pathlib import Path

import numpy as np

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume

GRID = Geometry((6, 5, 4), np.array([[-1, 0, 0, 10], [0, 2, 0, -5], [0, 0, 3, 7], [0, 0, 0, 1]], float))
"""An LAS grid away from the origin, anisotropic: mistakes in axes show."""


def image(grid=GRID, seed=0, n_channels=1):
    rng = np.random.default_rng(seed)
    return Volume(rng.integers(0, 1000, (n_channels, *grid.shape)).astype(np.int16), grid)


def label_map(grid=GRID, values=(1, 2)):
    array = np.zeros(grid.shape, np.uint8)
    for number, value in enumerate(values):
        array[number + 1, 1:3, 1] = value
    return LabelMap(array, grid)


def put_image(path, grid=GRID, seed=0, n_channels=1):
    io.write(image(grid, seed, n_channels), path)
    return Path(path)


def put_labels(path, grid=GRID, values=(1, 2)):
    io.write(label_map(grid, values), path)
    return Path(path)


def declare(root, **content):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content))


def msd(root, n=3, training=True, **content):
    """A Decathlon folder of cases c_0 … with two labels."""
    for number in range(n):
        put_image(root / "imagesTr" / f"c_{number}.nii.gz", seed=number)
        put_labels(root / "labelsTr" / f"c_{number}.nii.gz")
    pairs = [{"image": f"./imagesTr/c_{i}.nii.gz", "label": f"./labelsTr/c_{i}.nii.gz"} for i in range(n)]
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "front", "2": "back"}, **content}
    declare(root, **content, **({"training": pairs} if training else {}))
    return root


def nnunet(root, n=3, channels=("CT", "PET"), **content):
    """An nnU-Net raw folder of cases c_0 … with one file a channel and two labels."""
    for number in range(n):
        for channel in range(len(channels)):
            put_image(root / "imagesTr" / f"c_{number}_{channel:04d}.nii.gz", seed=10 * number + channel)
        put_labels(root / "labelsTr" / f"c_{number}.nii.gz")
    declared = {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": {"background": 0, "front": 1, "back": 2},
        "file_ending": ".nii.gz",
    }
    declare(root, **{**declared, **content})
    return root


def paired(root, n=3, images="images", labels="labels", suffixes=("",), label_suffix=""):
    for number in range(n):
        for channel, suffix in enumerate(suffixes):
            put_image(root / images / f"c_{number}{suffix}.nii.gz", seed=10 * number + channel)
        put_labels(root / labels / f"c_{number}{label_suffix}.nii.gz")
    return root


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path
