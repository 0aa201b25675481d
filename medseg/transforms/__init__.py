"""Between the native grid and the network: resampling, intensities, and random changes of training patches.

Everything here is free of torch, so that plans can be made without it; `medseg.transforms.augment` works on tensors and
is imported by its own name.
"""

from medseg.transforms.grid import (
    IGNORED,
    AxisWeights,
    axis_weights,
    nearest_weights,
    resample_axis,
    resample_classes,
    resample_image,
    resample_linear,
)
from medseg.transforms.intensity import normalise
from medseg.transforms.preprocess import PlanGrid, Prepared, plan_grid, preprocess, preprocess_labels
from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing

__all__ = [
    "IGNORED",
    "AxisWeights",
    "ChannelNormalisation",
    "PlanGrid",
    "Prepared",
    "Preprocessing",
    "axis_weights",
    "nearest_weights",
    "normalise",
    "plan_grid",
    "preprocess",
    "preprocess_labels",
    "resample_axis",
    "resample_classes",
    "resample_image",
    "resample_linear",
]
