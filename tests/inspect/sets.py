"""Small data sets whose defects are known: scans of noise that looks like tissue, with two kidneys and a cord."""

import json

import numpy as np
from scipy import ndimage

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume

SHAPE = (32, 24, 20)
LABELS = {"background": 0, "kidney left": 1, "kidney right": 2, "cord": 3}
GRID = Geometry.from_spacing(SHAPE, (1.5, 1.5, 3.0), (-20, -15, 4))
"""RAS, slices along the third axis."""


def labels_of(seed):
    """The kidneys on their sides (left: small x), and a cord through all slices."""
    rng = np.random.default_rng(seed)
    i, j, k = np.indices(SHAPE)
    array = np.zeros(SHAPE, np.uint8)
    for value, x in ((1, 7), (2, 25)):
        middle = np.array((x, 12, 10)) + rng.uniform(-1, 1, 3)
        radius = rng.uniform(4.2, 5.2)
        array[(i - middle[0]) ** 2 + (j - middle[1]) ** 2 + (k - middle[2]) ** 2 < radius**2] = value
    array[(i - 16) ** 2 + (j - 5) ** 2 < 9] = 3
    return array


def image_of(array, seed):
    rng = np.random.default_rng(1000 + seed)
    tissue = ndimage.gaussian_filter(rng.normal(size=array.shape), 1.5)
    return (400 + 300 * tissue / tissue.std() + 250 * (array == 3) + 120 * (array > 0)).astype(np.int16)


def case_name(number):
    return f"case_{number:02d}"


def write_case(root, number, image, labels, grid=GRID, label_grid=None, folder="Tr"):
    name = f"{case_name(number)}"
    io.write(Volume(image[None], grid), root / f"images{folder}" / f"{name}_0000.nii.gz")
    if labels is not None:
        io.write(LabelMap(labels, label_grid or grid), root / f"labels{folder}" / f"{name}.nii.gz")


def declare(root, labels=LABELS):
    content = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))


def make_set(root, n=10, edit=None):
    """An nnU-Net set of `n` cases; `edit(number, image, labels)` may change a case: (image, labels, more)."""
    for number in range(n):
        labels = labels_of(number)
        image, more = image_of(labels, number), {}
        if edit is not None:
            image, labels, more = edit(number, image, labels)
        write_case(root, number, image, labels, **more)
    declare(root)
    return root


def only(number):
    """Whether a case is the one to be changed, as a decorator: the others stay as they are."""

    def wrap(change):
        def edit(current, image, labels):
            result = change(image, labels) if current == number else (image, labels)
            return result if len(result) == 3 else (*result, {})

        return edit

    return wrap
