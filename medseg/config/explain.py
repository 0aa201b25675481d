"""What is wrong with a configuration, in one line: the key with its dots, the value, what is allowed, what was meant.

The keys and what they allow are read off the schema, so a new key explains itself. The module knows no files.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from medseg.config.schema import Config

__all__ = ["guess", "is_section", "wrong_key", "wrong_value"]

ALIKE = 0.6
"""How alike a name must be to be offered as the one that was meant (difflib's ratio)."""


def wrong_key(dotted: str, value: object) -> str | None:
    """Why `dotted` cannot be given `value`, or None if it is a key of the configuration (and no section)."""
    keys, sections = _keys(), _sections()
    if dotted in keys or any(dotted.startswith(f"{key}.") for key, info in keys.items() if _is_mapping(info)):
        return None
    if dotted in sections:
        return f"{dotted} is {_shown(value)}, but it is a section with the keys {', '.join(sections[dotted])}."
    return f"{dotted} is no key of the configuration.{_guess_key(dotted) or _neighbours(dotted)}"


def wrong_value(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The first thing that the schema refuses, as a sentence.

    Args:
        error: What pydantic raised for `values`.
        values: Sections of keys, which are all right.
        origins: Dotted key, or "" for all others, → where its value came from, to open the sentence with.
    """
    first = error.errors(include_url=False)[0]
    location = tuple(str(part) for part in first["loc"])
    dotted, info = _key_at(location)
    origin = next((origins[key] for key in (dotted, f"{dotted}.{first['loc'][-1]}") if key in origins), None)
    opening = origins.get("", "") if origin is None else origin
    if info is None:
        sentence = str(first["msg"]).removeprefix("Value error, ")
        return f"{opening}{dotted}.{sentence}."
    value: Any = values
    for name in dotted.split("."):
        value = value[name]
    if (entry := _entry_of(info)) is not None and isinstance(value, dict):
        return opening + _wrong_entry(entry, dotted, location[dotted.count(".") + 1 :], value, str(first["msg"]))
    meant = guess(value, _choices(info.annotation)) if isinstance(value, str) else ""
    return f"{opening}{dotted} is {_shown(value)}, but must be {_allowed(info)}.{meant}"


def _wrong_entry(
    entry: type[BaseModel], dotted: str, location: tuple[str, ...], values: Mapping[str, Any], said: str
) -> str:
    """The sentence for what is wrong below `dotted`, in one of several entries of the same keys."""
    name, *inside = location
    value = values[name]
    if not inside:
        return f"{dotted}.{name}: {said.removeprefix('Value error, ')}."
    key = inside[0]
    if key not in entry.model_fields:
        known = ", ".join(entry.model_fields)
        return f"{dotted}.{name} has no key {key}.{guess(key, entry.model_fields)} Its keys are {known}."
    where = f"{dotted}.{name}.{key}" if isinstance(value, dict) else f"{dotted}.{name}"
    value = value[key] if isinstance(value, dict) else value
    return f"{where} is {_shown(value)}, but must be {_allowed(entry.model_fields[key])}."


def guess(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' for the nearest of `known`, or nothing if none is near."""
    nearest = get_close_matches(name, list(known), 1, ALIKE)
    return f" Did you mean {nearest[0]}?" if nearest else ""


def is_section(dotted: str) -> bool:
    return dotted in _sections()


@cache
def _keys() -> dict[str, FieldInfo]:
    """Every key of the configuration by its dotted name."""
    return {dotted: info for dotted, info in _walk(Config, "") if not _is_section(info)}


@cache
def _sections() -> dict[str, tuple[str, ...]]:
    """Every section by its dotted name, with the names of what is in it; "" is the whole."""
    inside = {dotted: info.annotation for dotted, info in _walk(Config, "") if _is_section(info)}
    return {"": tuple(Config.model_fields)} | {
        dotted: tuple(section.model_fields) for dotted, section in inside.items() if section is not None
    }


def _walk(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in section.model_fields.items():
        yield f"{prefix}{name}", info
        if _is_section(info):
            yield from _walk(info.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]  # a section is a model


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def _is_mapping(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is dict


def _entry_of(info: FieldInfo) -> type[BaseModel] | None:
    """The model of the values of a mapping, None if they are plain."""
    values = get_args(info.annotation)[1] if _is_mapping(info) else None
    return values if isinstance(values, type) and issubclass(values, BaseModel) else None


def _key_at(location: tuple[str, ...]) -> tuple[str, FieldInfo | None]:
    """The key that pydantic's location lies in; locations go on into lists and unions, keys do not."""
    for end in range(len(location), 0, -1):
        dotted = ".".join(location[:end])
        if dotted in _keys():
            return dotted, _keys()[dotted]
        if dotted in _sections():
            return dotted, None
    return "", None


def _guess_key(dotted: str) -> str:
    """The same name in another section, else the most similar name of its own section, else of any."""
    section, _, last = dotted.rpartition(".")
    by_last: dict[str, list[str]] = {}
    for key in (*_sections(), *_keys()):
        by_last.setdefault(key.rpartition(".")[2], []).append(key)
    for names in ([last] if last in by_last else [], _sections().get(section, ()), by_last):
        if alike := get_close_matches(last, names, 1, ALIKE):
            return f" Did you mean {' or '.join(by_last[alike[0]])}?"
    return ""


def _neighbours(dotted: str) -> str:
    section = dotted.rpartition(".")[0]
    if section and section in _sections():
        return f" The keys of {section} are {', '.join(_sections()[section])}."
    return f" The sections are {', '.join(_sections()[''])}."


def _allowed(info: FieldInfo) -> str:
    """What a key allows, in words.

    >>> _allowed(_keys()["training.learning_rate"])
    'a number > 0 and ≤ 10, or null'
    """
    limits = _limits_of(info.metadata)
    words = list(_words(info.annotation, limits))
    *others, last = words
    return f"{', '.join(others)}{',' if limits else ''} or {last}" if others else last


def _limits_of(constraints: Iterable[object]) -> str:
    """Bounds in words: "≥ 1 and ≤ 8". Those of the elements of a list lie in pydantic's own field, in its metadata."""
    flat = [inner for outer in constraints for inner in (outer, *getattr(outer, "metadata", ()))]
    return " and ".join(
        f"{sign} {bound}"
        for constraint in flat
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if (bound := getattr(constraint, name, None)) is not None
    )


def _words(annotation: Any, limits: str) -> Iterator[str]:  # noqa: ANN401 (a type, or what typing makes of one)
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from (str(choice) for choice in arguments)
    elif get_origin(annotation) is tuple:
        yield _list_words(annotation)
    elif get_origin(annotation) is dict:
        plain = get_args(annotation)[1] is str
        yield "KEY: VALUE pairs of text" if plain else "names, each with a value or with keys of its own"
    elif get_origin(annotation) is Annotated:
        yield from _words(arguments[0], _limits_of(arguments[1:]))
    elif arguments:
        for member in arguments:
            yield from _words(member, limits)
    else:
        word = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
        numeric = annotation in (int, float)
        yield f"{word[annotation]} {limits}" if limits and numeric else word[annotation]


def _list_words(annotation: Any) -> str:  # noqa: ANN401
    element, second = (*get_args(annotation), None)[:2]
    if second is not Ellipsis:
        limits = _limits_of(get_args(element)[1:])
        return f"a list of {len(get_args(annotation))} numbers{' ' * bool(limits)}{limits}"
    if get_origin(element) is tuple:
        return "a list of lists of whole numbers"
    whole, limits = element, ""
    if get_origin(element) is Annotated:
        whole, *conditions = get_args(element)
        limits = _limits_of(conditions)
    words = "a list of whole numbers" if whole is int else "a list of numbers"
    return f"{words} {limits}" if limits else words


def _choices(annotation: Any) -> Iterator[str]:  # noqa: ANN401
    if get_origin(annotation) is Literal:
        yield from (choice for choice in get_args(annotation) if isinstance(choice, str))
    elif get_origin(annotation) is not tuple:
        for member in get_args(annotation):
            yield from _choices(member)


def _shown(value: object) -> str:
    """A value as the user wrote it, near enough, and no longer than a line bears."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."
