"""How MONAI reads with our door: the reader, the data set of prepared cases and the loaders of training.

`MedsegReader` is `medseg.io` behind MONAI's `ImageReader`, so any MONAI pipeline reads what medseg reads, with the same
refusals. It is how training reads: `PreparedCases` loads with it, checks that image and label belong together and
brings both to the plan grid. Everything is picklable, so loaders work with spawned processes; the default is none.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.data.cases import read_case
