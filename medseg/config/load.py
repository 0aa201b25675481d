"""From a preset or a YAML file and `--set` overrides to a `Config`.

Later wins: the defaults, then the file, then the overrides in their order. Presets are the files of `configs/`: inside
the package in a wheel, beside it in a checkout. A wrong key or value ends in one line (`config.explain`). No torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medseg.config.explain import guess, is_section, wrong_key, wrong_value
from medseg.config.schema import Config, LabelOutput
from medseg.config.yaml_text import parse_yaml, to_yaml
from medseg.core.errors import UsageError

__all__ = ["config_to_yaml", "list_presets", "load_config", "parse_label_outputs", "preset_path"]

Values = dict[str, Any]


LONGEST_SHOWN = 100
"""Characters of an override that a sentence repeats."""


def load_config(source: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """The configuration that a preset or file and `KEY=VALUE` overrides make together.

    Args:
        source: A preset's name, the path of a YAML file, or None for the defaults. Text without a folder and a suffix
            is a preset's name; a file of such a name is `./name`.
        overrides: Such as "training.learning_rate=1e-3"; the value is YAML, so a list is [1, 2] and nothing is null.

    Raises:
        UsageError: There is no such preset or file, it is no valid YAML, or a key or value is wrong.
    """
    values: Values = {}
    origins: dict[str, str] = {}
    if source is not None:
        path = _find(source)
        origins[""] = f"{path}: "
        for key, value in _leaves(_read(path)):
            _assign(values, key, value, str(path))
    for override in overrides:
        key, value = _parse_override(override)
        _assign(values, key, value, f"--set {_shown(override)}")
        origins[key] = f"--set {_shown(override)}: "
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UsageError(wrong_value(error, values, origins)) from error


def parse_label_outputs(texts: Sequence[str], option: str = "--label") -> dict[str, LabelOutput]:
    """What `LABEL=NAME` and `LABEL={name: …, code: …, meaning: …}` say of labels; the later of two wins.

    >>> parse_label_outputs(["GTV=Tumour"])["GTV"].name
    'Tumour'

    Raises:
        UsageError: A text is not of this form, or a key or value is wrong.
    """
    found: dict[str, LabelOutput] = {}
    for text in texts:
        label, _, value = (part.strip() for part in text.partition("="))
        if not label or not value:
            raise UsageError(f"{option} {text}: write LABEL=NAME, or LABEL={{name: …, code: …, meaning: …}}.")
        try:
            found[label] = LabelOutput.model_validate(parse_yaml(value, f"{option} {text}"))
        except ValidationError as error:
            raise UsageError(f"{option} {text}: {_first_problem(error)}") from error
    return found


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        keys = [name for name in LabelOutput.model_fields if name != "value"]
        return f"'{key}' is no key of a label.{guess(key, keys)} Keys are {', '.join(keys)}."
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}." if key else f"{message[:1].upper()}{message[1:]}."


def config_to_yaml(config: Config) -> str:
    """All keys with their values, as a file that `load_config` reads back to an equal configuration."""
    return to_yaml(config.model_dump(mode="json"))


def list_presets() -> dict[str, str]:
    """The presets by name, each with its purpose: the first line of its file, a comment."""
    return {
        path.stem: path.read_text("utf-8").partition("\n")[0].removeprefix("#").strip()
        for path in sorted(_presets_dir().glob("*.yaml"))
    }


def preset_path(name: str) -> Path:
    """The file of a preset.

    Raises:
        UsageError: There is no such preset.
    """
    presets = list_presets()
    if name not in presets:
        raise UsageError(f"There is no preset {name!r}.{guess(name, presets)} Presets are {', '.join(presets)}.")
    return _presets_dir() / f"{name}.yaml"


def _presets_dir() -> Path:
    package = Path(str(files("medseg")))
    in_wheel = package / "configs"
    return in_wheel if in_wheel.is_dir() else package.parent / "configs"


def _find(source: str | Path) -> Path:
    if isinstance(source, str) and Path(source).name == source and not Path(source).suffix:
        return preset_path(source)
    path = Path(source)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(
            f"The configuration file {path} {state}. Give a YAML file, or a preset: {', '.join(list_presets())}."
        )
    return path


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is not text in UTF-8, so it is no configuration.") from error
    except OSError as error:
        raise UsageError(f"{path}: the configuration cannot be read ({error.strerror}).") from error
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a configuration is made of sections such as 'training:', but this is not.")
    return values


def _leaves(section: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The keys of a file by their dotted names. A section whose keys are all commented out says nothing."""
    for name, value in section.items():
        dotted = f"{prefix}{name}"
        if is_section(dotted) and isinstance(value, dict):
            yield from _leaves(value, f"{dotted}.")
        elif not (is_section(dotted) and value is None):
            yield dotted, value


def _parse_override(override: str) -> tuple[str, object]:
    key, _, text = (part.strip() for part in override.partition("="))
    if not key or not text:
        raise UsageError(
            f"--set {_shown(override)}: write KEY=VALUE, such as training.learning_rate=1e-3; no value is null."
        )
    return key, parse_yaml(text, f"--set {_shown(override)}")


def _assign(values: Values, key: str, value: object, where: str) -> None:
    """Put a value at its place; `values` is changed.

    Raises:
        UsageError: The configuration has no such key.
    """
    if problem := wrong_key(key, value):
        raise UsageError(f"{where}: {problem}")
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UsageError(f"{where}: {section} is {values} already; say all its keys in one {{…}}.")
    values[last] = value


def _shown(override: str) -> str:
    """An override as a sentence can repeat it: a line at most."""
    return override if len(override) <= LONGEST_SHOWN else f"{override[:LONGEST_SHOWN]}…"
