"""medseg: train a U-Net on medical scans, predict masks for new ones, and judge them.

    ct = medseg.read("scan/")                        Volume: .array, .geometry
    predictor = medseg.Predictor.load("model/")
    result = predictor(ct)                           Prediction: .labels (LabelMap), .volumes_ml
    medseg.write(result.labels, "mask.nii.gz")
    table = medseg.evaluate(predicted, reference)
    found = medseg.inspect("data/")                  Inspection: .findings, .fingerprint
    run = medseg.train("data/", out="run/", budget="15m")

Names are imported when they are first used: `import medseg` loads neither torch nor MONAI.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg._version import __version__

if TYPE_CHECKING:
    from medseg import metrics
    from medseg.core.errors import InputError, MachineError, MedsegError, ModelError, PlanError, UsageError
    from medseg.core.geometry import Geometry
    from medseg.core.labels import Labels
    from medseg.core.volume import LabelMap, Volume
    from medseg.evaluate import evaluate
    from medseg.inspect import inspect
    from medseg.io import ReadOptions, read, read_labels, write
    from medseg.predict import Prediction, Predictor
    from medseg.train import train

_HOMES = {
    "Geometry": "medseg.core.geometry",
    "InputError": "medseg.core.errors",
    "LabelMap": "medseg.core.volume",
    "Labels": "medseg.core.labels",
    "MachineError": "medseg.core.errors",
    "MedsegError": "medseg.core.errors",
    "ModelError": "medseg.core.errors",
    "PlanError": "medseg.core.errors",
    "Prediction": "medseg.predict",
    "Predictor": "medseg.predict",
    "ReadOptions": "medseg.io",
    "UsageError": "medseg.core.errors",
    "Volume": "medseg.core.volume",
    "read": "medseg.io",
    "read_labels": "medseg.io",
    "write": "medseg.io",
}

__all__ = [
    "Geometry",
    "InputError",
    "LabelMap",
    "Labels",
    "MachineError",
    "MedsegError",
    "ModelError",
    "PlanError",
    "Prediction",
    "Predictor",
    "ReadOptions",
    "UsageError",
    "Volume",
    "__version__",
    "evaluate",
    "inspect",
    "metrics",
    "read",
    "read_labels",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  each name has its own type, declared above
    if name in ("evaluate", "inspect", "metrics", "train"):
        # Rooms; three of them have the name of their verb and can be called (decision 0007).
        return import_module(f"medseg.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
