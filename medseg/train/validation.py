"""Whole-volume validation: the held-out cases through the real reader, the real predictor and the real metric.

On the way a few cases and their Dice suffice; at the end all are predicted, written, compared in every default metric,
and the tables are written beside the masks.
"""

__all__ = ["Validation", "validate"]
