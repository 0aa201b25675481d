"""`medseg inspect DATA [-o inspect.html]`: what is in there, what is wrong with it, and how it would be read."""
# ruff: noqa: A005  # a module a verb; nobody imports `inspect` from here

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli import streams
from medseg.cli.options import Shared, shared_options
from medseg.core.escapes import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from medseg.config.schema import Config
    from medseg.core.events import Event
    from medseg.inspect import Finding, Inspection

UNUSABLE = 3

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}

MOST_CASES_SHOWN = 6
"""Cases that a finding lists on the screen; the JSON has them all."""


@shared_options
def command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A data set, a folder of scans, or a scan.")],
    out: Annotated[
        list[Path] | None,
        typer.Option("-o", "--out", metavar="FILE.html|FILE.json", help="A page with pictures, or JSON; repeatable."),
    ] = None,
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="PRESET|FILE", help="A preset's name or a YAML file.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option("--layout", metavar="NAME", help="How DATA is laid out, where that is in doubt.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file of that name that medseg did not write.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Say what is in a data set, what is wrong with it, and how it would be read."""
    from medseg.cli.screen import console, follow
    from medseg.inspect import InspectOptions, refuse_foreign_file, refuse_suffix, run

    for path in out or []:
        refuse_suffix(path)
        if not overwrite:
            refuse_foreign_file(path)
    chosen = _config(config, [*(set_ or []), *([f"data.layout={layout}"] if layout else [])], shared)
    options = InspectOptions(
        data=chosen.data,
        jobs=shared.jobs or os.cpu_count() or 1,
        max_memory_bytes=shared.max_memory_bytes,
        seed=chosen.seed,
    )
    found: list[Inspection] = []
    follow(_events(run(data, options), found), shared)
    inspection = found[0]
    if shared.json:
        print(json.dumps({"event": "inspected", **inspection.to_json()}))
    else:
        _show(inspection, console(shared), shared)
    for path in out or []:
        inspection.write(path)
    if out and not shared.quiet:
        console(shared).print(f"Written: {' and '.join(map(str, out))}", markup=False)
    if shared.verbose > 1:
        for report in inspection.reports:
            streams.say_error(for_terminal(report.trace.rstrip()))
    if not inspection.is_clean:
        raise typer.Exit(UNUSABLE)


def _config(source: str | None, overrides: list[str], shared: Shared) -> "Config":
    """The configuration with what the shared options say; later wins."""
    from medseg.config.load import load_config
    from medseg.io import ReadOptions

    config = load_config(source, overrides)
    read = {**config.data.read, **shared.read}
    ReadOptions.parse(read)
    data = config.data.model_copy(update={"read": read})
    return config.model_copy(update={"data": data, "seed": config.seed if shared.seed is None else shared.seed})


def _events(work: "Iterator[Event | Inspection]", found: "list[Inspection]") -> "Iterator[Event]":
    """The events of an inspection; its result, which comes last, is put aside."""
    from medseg.core.events import Event

    for item in work:
        if isinstance(item, Event):
            yield item
        else:
            found.append(item)


def _show(inspection: "Inspection", screen: "Console", shared: Shared) -> None:
    """Findings and verdict, which are the result and so also printed by `--quiet`; before them what the data are."""
    if not shared.quiet:
        for sentence in (*inspection.notes, *inspection.words):
            screen.print(sentence, markup=False)
        screen.print()
    for finding in inspection.findings:
        _print_finding(finding, screen)
    screen.print(inspection.verdict, markup=False, style="bold")


def _print_finding(finding: "Finding", screen: "Console") -> None:
    cases = ", ".join(finding.cases[:MOST_CASES_SHOWN])
    more = len(finding.cases) - MOST_CASES_SHOWN
    where = f" [{cases}{f' and {more} more' if more > 0 else ''}]" if cases else ""
    screen.print(
        f"{finding.severity.capitalize()}: {finding.title}{where}", markup=False, style=_STYLES[finding.severity]
    )
    screen.print(f"  {finding.text}", markup=False)
    for line in finding.remedy.splitlines():
        screen.print(f"  {'→' if line == finding.remedy.splitlines()[0] else ' '} {line}", markup=False)
