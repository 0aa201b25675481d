"""Which cases there are, how they are divided, and what they are like: paths and names first, voxels only to measure.

`open_dataset` finds the cases of a training folder, `find_cases` those to predict; `make_splits` divides them by group;
`read_case` brings image and label map onto one grid; `measure` makes the `Fingerprint` that a plan follows from.
"""

from medseg.data.cases import read_case, read_image, together
from medseg.data.dataset import BadCase, Case, Dataset, resolve_labels
from medseg.data.fingerprint import Fingerprint, Measured, measure
from medseg.data.groups import grouped
from medseg.data.inputs import find_cases
from medseg.data.layouts import LAYOUTS, open_dataset
from medseg.data.splits import Fold, Splits, fold, load_splits, make_splits, save_splits

__all__ = [
    "LAYOUTS",
    "BadCase",
    "Case",
    "Dataset",
    "Fingerprint",
    "Fold",
    "Measured",
    "Splits",
    "find_cases",
    "fold",
    "grouped",
    "load_splits",
    "make_splits",
    "measure",
    "open_dataset",
    "read_case",
    "read_image",
    "resolve_labels",
    "save_splits",
    "together",
]
