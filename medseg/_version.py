"""The one place that says which medseg this is."""

__version__ = "0.1.0"
