"""A data set → everything that is wrong or unusual about it, and what it is like. Never torch, never the screen.

`inspect` looks at a data set, a folder of scans or a single scan and returns an `Inspection`; `run` does the same as a
generator of events. A worker reads each case once and reports (`reading`, `report`); rules judge the reports side by
side (`images`, `labels`, `sides`, `twins`). The module itself can be called (decision 0007):
`medseg.inspect("data/")` is `medseg.inspect.inspect("data/")`.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.inspect._run import InspectOptions, inspect, run
    from medseg.inspect.findings import KINDS, SEVERITIES, Finding, Kind, Severity
    from medseg.inspect.inspection import Inspection, refuse_foreign_file, refuse_suffix

_HOMES = {
    "Finding": "medseg.inspect.findings",
    "InspectOptions": "medseg.inspect._run",
    "Inspection": "medseg.inspect.inspection",
    "KINDS": "medseg.inspect.findings",
    "Kind": "medseg.inspect.findings",
    "SEVERITIES": "medseg.inspect.findings",
    "Severity": "medseg.inspect.findings",
    "inspect": "medseg.inspect._run",
    "refuse_foreign_file": "medseg.inspect.inspection",
    "refuse_suffix": "medseg.inspect.inspection",
    "run": "medseg.inspect._run",
}

__all__ = [
    "KINDS",
    "SEVERITIES",
    "Finding",
    "InspectOptions",
    "Inspection",
    "Kind",
    "Severity",
    "inspect",
    "refuse_foreign_file",
    "refuse_suffix",
    "run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  each name has its own type, declared above
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg.inspect' has no attribute '{name}'")


class _Callable(ModuleType):
    def __call__(self, path: Path | str, options: "InspectOptions | None" = None) -> "Inspection":
        from medseg.inspect._run import inspect

        return inspect(path, options)


sys.modules[__name__].__class__ = _Callable
