"""From volumes to masks: windows, blending, the way back to the native grid, and what is written.

`Predictor` is a trained model as a function from `Volume` to `Prediction`; `predict_cases` runs it over files and
folders as a generator of events.
"""

from medseg.predict.arithmetic import Arithmetic
from medseg.predict.batch import PredictOptions, predict_cases
from medseg.predict.outputs import FORMATS, PREDICTIONS_SCHEMA
from medseg.predict.predictor import Prediction, Predictor

__all__ = [
    "FORMATS",
    "PREDICTIONS_SCHEMA",
    "Arithmetic",
    "PredictOptions",
    "Prediction",
    "Predictor",
    "predict_cases",
]
