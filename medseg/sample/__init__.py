"""A small data set to try everything on: computed CT phantoms, solvable for a network and for no threshold.

`implicit` holds shapes, `anatomy` the body made of them, `scanner` grids and noise, `phantom` joins them into one scan;
these are pure. `folder` writes the data set, `series` a scan as DICOM. The room knows no model and no metric.
"""

from medseg.sample.folder import make_sample
from medseg.sample.phantom import N_PHANTOMS, N_TRAINING, Phantom, make_phantom

__all__ = ["N_PHANTOMS", "N_TRAINING", "Phantom", "make_phantom", "make_sample"]
