"""The trained thing as a folder: weights by fold, the plan they belong to, and a card for people.

A MODEL folder can be copied anywhere; it holds all that prediction needs and nothing of any patient, no path and no
pickle. `medseg.model.store` says what lies in it.
"""

from medseg.model.store import MODEL_SCHEMA, NAMELESS, Model, ModelInfo, load_model, save_model

__all__ = ["MODEL_SCHEMA", "NAMELESS", "Model", "ModelInfo", "load_model", "save_model"]
