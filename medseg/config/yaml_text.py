"""YAML as people mean it: the core schema of YAML 1.2, duplicate keys refused, nothing executed.

PyYAML follows YAML 1.1, in which 1e-3 is text, `on` is true and 1:30 is ninety. Here numbers are numbers, only `true`
and `false` are truth values, and the rest is text. The module knows nothing of what the values are for.
"""

import re
from typing import Any, ClassVar

import yaml

from medseg.core.errors import UsageError

__all__ = ["parse_yaml", "to_yaml"]

_LONGEST = 1 << 20
"""Characters of a text; a configuration has a few thousand."""

_DEEPEST = 32
"""Levels of nesting; a configuration has five. PyYAML needs minutes for thousands of them."""


def parse_yaml(text: str, where: str) -> object:
    """The value that a YAML text stands for. `where` (a path, an option) opens the sentence of an error.

    Raises:
        UsageError: It is no valid YAML, a key is there twice, or it is too long or nested too deeply.
    """
    if len(text) > _LONGEST:
        raise UsageError(
            f"{where}: this text of {len(text)} characters is no configuration; at most {_LONGEST} are read."
        )
    if _depth(text) > _DEEPEST:
        raise UsageError(f"{where}: this is nested more than {_DEEPEST} levels deep, so it is no configuration.")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise UsageError(f"{where}{line}: this is not valid YAML: {problem}.") from error
    except RecursionError as error:
        raise UsageError(f"{where}: this is nested too deeply to be a configuration.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{where}: this is not valid YAML: {' '.join(str(error).split())}.") from error


def _depth(text: str) -> int:
    """The most levels that a text can have: brackets that are open, dashes in front of a line."""
    opened = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        opened = max(0, opened + (1 if bracket in "[{" else -1))
        deepest = max(deepest, opened)
    dashes = max((match.count("-") for match in re.findall(r"(?m)^[ \t]*(?:[-?:][ \t]+)+", text)), default=0)
    return max(deepest, dashes)


def to_yaml(values: dict[str, Any]) -> str:
    """Mappings one key a line, lists on one line, keys in the order given; `parse_yaml` reads equal values back."""
    # Escapes what is not ASCII: PyYAML would write the line breaks of Unicode so that they are not read back.
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=120)
    return text


class _Loader(yaml.SafeLoader):
    """Reads numbers and truth values by `_CORE_SCHEMA` alone."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read as text."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


_CORE_SCHEMA = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", list("-+.0123456789")),
}
"""Tag → pattern, and the characters that it may begin with. A whole number with leading zeros (010) is text: an id."""

for _tag, (_pattern, _first) in _CORE_SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)

_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))
