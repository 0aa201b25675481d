"""MODEL/ on disk: saved whole, found again only if not a byte has changed.

    model.json           schema, name, plan, how files are read, versions, sha256 of each fold's weights, and for each
                         fold what it was trained on and how it validated
    fold_0.safetensors   the weights of a fold, float32; fold_1 …, or fold_all
    README.md            the model card (`card`)

`model.json` is written last and names the digests, so a folder that was being written when the power failed is found
out, never taken for a model.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from medseg._version import __version__
from medseg.config.schema import LabelConfig
from medseg.core.errors import ModelError, UsageError
from medseg.io.files import digest, read_json, replacing, write_json, write_text
from medseg.io.options import ReadOptions
from medseg.model.card import model_card
from medseg.nn.networks import build
from medseg.nn.summary import skeleton
from medseg.plan.plan import Plan

__all__ = ["MODEL_SCHEMA", "NAMELESS", "Model", "ModelInfo", "load_model", "save_model"]

MODEL_SCHEMA = "medseg/model/1"

NAMELESS = "medseg model"
"""What a model is called that nobody gave a name."""

_FOLD = re.compile(r"fold_(\d+|all)")

_ESSENTIALS = frozenset(
    {"channels", "labels", "ignore", "dimensions", "slice_axis", "preprocessing", "network", "patch"}
)
"""What the plans of all folds of a model must agree on, or their probabilities could not be averaged."""

StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelInfo:
    """What is known about the folds that are saved together, besides their weights.

    Attributes:
        plan: What they were trained by.
        name: What to call the model.
        read: How the training read its files, so that prediction reads alike.
        training: Plain facts of the training: "steps", "pflop", "cases", … Numbers, short words, and mappings of them;
            nothing of a patient and no path.
        metrics: How the folds validated: a whole `summary.json`, or {"dice": 0.88, "n_cases": 33, …}; empty if they did
            not.
        codes: Label → what the configuration declares of its code and colour in DICOM.
        is_named: Whether somebody chose the name, so that it may go into DICOM objects.
        description: What it is for, in words; may be empty.
    """

    plan: Plan
    name: str = NAMELESS
    read: ReadOptions = field(default_factory=ReadOptions)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, LabelConfig] = field(default_factory=dict)
    is_named: bool = False
    description: str = ""


class _Weights(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^fold_(\d+|all)\.safetensors$")
    sha256: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class _Description(BaseModel):
    """`model.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: str = Field(alias="schema")
    name: str
    plan: Plan
    read: dict[str, str]
    versions: dict[str, str]
    weights: dict[str, _Weights]
    training: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    codes: dict[str, LabelConfig] = {}
    named: bool = False
    """Absent in models of medseg 0.1.0, whose names are those of folders."""
    description: str = ""

    @model_validator(mode="after")
    def _each_fold_has_its_file(self) -> "_Description":
        """Else one digest would answer for the bytes of another file."""
        wrong = [name for name, weights in self.weights.items() if weights.file != f"{name}.safetensors"]
        if wrong or not self.weights:
            raise ValueError(f"the weights of {wrong[0] if wrong else 'no fold'} are not in a file of that name")
        return self

    def to_json(self) -> dict[str, Any]:
        content = {**self.model_dump(mode="json", by_alias=True), "plan": self.plan.to_json()}
        codes = {name: code.model_dump(mode="json", exclude_defaults=True) for name, code in self.codes.items()}
        # Where nothing is said, the digest of a model is what it was before there were these keys.
        optional = {"codes": codes, "named": self.named, "description": self.description}
        return {**{k: v for k, v in content.items() if k not in optional}, **{k: v for k, v in optional.items() if v}}


@dataclass(frozen=True)
class Model:
    """A model on disk that was found whole; weights are read when a network is asked for.

    Attributes:
        folder: The MODEL folder.
        plan: What training and prediction do with data.
        folds: Names of its folds: "fold_0", "fold_1", …, "fold_all".
        digest: "sha256:…" of the whole model: description and weights.
        read: How files are read.
        codes: What is declared of labels for DICOM, by their names.
        is_named: Whether somebody chose its name; that of a model of medseg 0.1.0 is a folder's.
        description: What it is for, in words; may be empty.
    """

    folder: Path
    name: str
    plan: Plan
    folds: tuple[str, ...]
    digest: str
    read: ReadOptions
    codes: Mapping[str, LabelConfig] = field(default_factory=dict)
    is_named: bool = False
    description: str = ""

    @property
    def title(self) -> str:
        """What to call it before others: the name that somebody gave it, else a neutral one that tells models apart."""
        return self.name if self.is_named else f"model {self.digest.removeprefix('sha256:')[:8]}"

    def network(self, fold: int | str) -> nn.Module:
        """The network of a fold with its weights, on the CPU, in evaluation mode and without gradients.

        Raises:
            UsageError: The model has no such fold.
            ModelError: The weights are not those of the planned network.
        """
        (name,) = self.choose([fold])
        path = self.folder / f"{name}.safetensors"
        weights = _read_weights(path)
        try:
            # Compared before memory is taken: a description may ask for more than any machine has.
            _check_fit(weights, skeleton(self.plan.network).state_dict(), path)
            network = build(self.plan.network)
        except (UsageError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self.folder / 'model.json'} describes a network that cannot be made: {error}"
            ) from error
        network.load_state_dict(weights)
        return network.requires_grad_(False).eval()

    def choose(self, folds: Sequence[int | str] | None) -> tuple[str, ...]:
        """The names of the folds asked for (0, "0", "fold_0", "all"), in the order given; None stands for every one.

        Raises:
            UsageError: The model has no such fold.
        """
        if folds is None:
            return self.folds
        names = tuple(dict.fromkeys(_fold_name(fold) for fold in folds))
        missing = [name for name in names if name not in self.folds]
        if missing or not names:
            raise UsageError(
                f"The model has no {', '.join(missing) or 'fold without a name'}; it has {', '.join(self.folds)}."
            )
        return names


def save_model(folder: Path | str, info: ModelInfo, weights: Mapping[int | str, StateDict]) -> Model:
    """Write folds into a MODEL folder, new or there already; folds that it had before are kept.

    Every file is written beside its name, forced to the disk and renamed.

    Args:
        folder: The MODEL folder.
        info: What is known about these folds.
        weights: Fold (0, "0", "fold_0", "all") → state dict of its network; saved as float32.

    Raises:
        ModelError: The folder holds folds of another plan, or is damaged.
        MachineError: The disk is full or cannot be written to.
    """
    folder = Path(folder)
    named = {_fold_name(fold): state for fold, state in weights.items()}
    there = _read_description(folder) if (folder / "model.json").is_file() else None
    if there is not None and set(there.weights) - set(named):
        _refuse_another_plan(there.plan, info.plan, folder)
    written = {name: _write_weights(folder / f"{name}.safetensors", state) for name, state in named.items()}
    kept = there if there is not None and set(there.weights) - set(named) else None
    description = _Description.model_validate(
        {
            "schema": MODEL_SCHEMA,
            "name": info.name,
            "plan": info.plan,
            "read": info.read.to_pairs(),
            "versions": {"medseg": __version__, "torch": str(torch.__version__)},
            "weights": _in_order({**(kept.weights if kept else {}), **written}),
            "training": _in_order({**(kept.training if kept else {}), **dict.fromkeys(named, _finite(info.training))}),
            "metrics": _in_order({**(kept.metrics if kept else {}), **dict.fromkeys(named, _finite(info.metrics))}),
            "codes": {name: code.model_copy(update={"value": None}) for name, code in info.codes.items()},
            "named": info.is_named,
            "description": info.description,
        }
    )
    write_json(folder / "model.json", description.to_json(), fsync=True)
    write_text(folder / "README.md", model_card(description.to_json()))
    return load_model(folder)


def load_model(path: Path | str) -> Model:
    """The model of a RUN or MODEL folder, every byte of its weights checked.

    Raises:
        UsageError: There is no such folder.
        ModelError: The folder holds no model (yet), or one that is damaged or too new.
    """
    folder = _model_folder(Path(path))
    description = _read_description(folder)
    for weights in description.weights.values():
        _check_digest(folder / weights.file, weights.sha256)
    content = json.dumps(description.to_json(), sort_keys=True).encode()
    return Model(
        folder=folder,
        name=description.name,
        plan=description.plan,
        folds=tuple(description.weights),
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        read=ReadOptions.parse(description.read),
        codes=description.codes,
        is_named=description.named,
        description=description.description,
    )


def _model_folder(path: Path) -> Path:
    """The MODEL folder that a user's path means, which may be a RUN."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; a model is a folder that medseg train has made (RUN or RUN/model).")
    if not path.is_dir():
        raise UsageError(f"{path} is a file; a model is a folder that medseg train has made (RUN or RUN/model).")
    for folder in (path, path / "model"):
        if (folder / "model.json").is_file():
            return folder
    if (path / "plan.json").is_file() or (path / "config.yaml").is_file():
        raise ModelError(
            f"{path} is a run whose training has not finished; resume it with: medseg train DATA -o {path} --resume"
        )
    raise ModelError(f"{path} holds no model: there is no model.json in it, and it is no run of medseg train.")


def _read_description(folder: Path) -> _Description:
    path = folder / "model.json"
    content = read_json(path, "the description of a model")
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != MODEL_SCHEMA:
        raise ModelError(
            f"{path} has the schema {schema!r}, but this medseg ({__version__}) reads '{MODEL_SCHEMA}'. "
            "If the model was made by a newer medseg, update this one."
        )
    try:
        description = _Description.model_validate(content)
        ReadOptions.parse(description.read)
    except UsageError as error:
        raise ModelError(f"{path} was made by a medseg that reads otherwise: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path} is damaged or not of this version: {where}: {first['msg']}.") from error
    return description


def _check_digest(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing, though model.json names it. Copy the whole model folder again.")
    if digest(path) != expected:
        raise ModelError(
            f"{path} is damaged: its bytes are not those that were saved (sha256 differs). Copy the model folder again."
        )


def _write_weights(path: Path, state: StateDict) -> _Weights:
    tensors = {name: _plain(tensor) for name, tensor in state.items()}
    with replacing(path, fsync=True) as partial:
        # Through a file of ours: safetensors would call a full disk an error of its own, and hide the file from others.
        partial.write_bytes(as_safetensors(tensors))
        found = digest(partial)
    return _Weights(file=path.name, sha256=found)


def _plain(tensor: Tensor) -> Tensor:
    """A tensor as the file holds it: on the CPU, float32 if real, in C order, and with memory of its own."""
    tensor = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return tensor.clone(memory_format=torch.contiguous_format)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as weights ({error}). Copy the model folder again.") from error


def _check_fit(weights: StateDict, expected: StateDict, path: Path) -> None:
    """Refuse weights that are not, by names, shapes and types, those of the planned network."""
    problems = [
        *(f"{name} is missing" for name in expected.keys() - weights.keys()),
        *(f"{name} has no place" for name in weights.keys() - expected.keys()),
        *(
            f"{name} is {_form(weights[name])} instead of {_form(expected[name])}"
            for name in expected.keys() & weights.keys()
            if _form(weights[name]) != _form(expected[name])
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ModelError(f"{path} does not hold the weights of the planned network: {min(problems)}{more}.")


def _form(tensor: Tensor) -> str:
    """Shape and type of a tensor, as they are compared and told."""
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _refuse_another_plan(there: Plan, new: Plan, folder: Path) -> None:
    old_values, new_values = there.model_dump(), new.model_dump()
    differing = sorted(name for name in _ESSENTIALS if old_values[name] != new_values[name])
    if differing:
        raise ModelError(
            f"{folder} holds folds of another plan: {', '.join(differing)} differ. Folds of one model are trained by "
            "one plan; save this one to another folder."
        )


def _finite(facts: Any) -> Any:  # noqa: ANN401  any JSON value
    """The same value with null where a number is NaN or infinite: JSON has no word for them."""
    if isinstance(facts, Mapping):
        return {str(key): _finite(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_finite(value) for value in facts]
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts


def _fold_name(fold: int | str) -> str:
    """A fold's name as files have it.

    >>> _fold_name(0), _fold_name("all"), _fold_name("fold_3")
    ('fold_0', 'fold_all', 'fold_3')
    """
    name = fold if isinstance(fold, str) and fold.startswith("fold_") else f"fold_{fold}"
    if not _FOLD.fullmatch(name):
        raise UsageError(f"'{fold}' is no fold; folds are 0, 1, … and all.")
    return name


def _in_order(by_fold: Mapping[str, Any]) -> dict[str, Any]:
    """By the number of the fold, "fold_all" last."""
    return dict(sorted(by_fold.items(), key=lambda item: (item[0] == "fold_all", len(item[0]), item[0])))
