"""`medseg evaluate PREDICTED REFERENCE`: how good are they."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.options import Shared, shared_options
from medseg.core.errors import UsageError
from medseg.core.escapes import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medseg.core.events import Event
    from medseg.core.labels import Labels
    from medseg.evaluate import EvaluateOptions, Evaluation
    from medseg.evaluate.tables import Form

SOME_FAILED = 1
ALL_FAILED = 3


@shared_options
def command(
    predicted: Annotated[
        Path | None, typer.Argument(metavar="PREDICTED", help="A mask, or a folder of masks.", show_default=False)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Argument(metavar="REFERENCE", help="The truth: a mask, a folder, or a data set.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Folder for the results: numbers, tables, report.html."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", metavar="CSV", help="A table (case, predicted, reference) instead of the two."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="dice,hd95,...|all", help="What to measure.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="NAME,...|NAME=VALUE,...", help="Which labels to judge, or what they are called."
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option("--tolerance", metavar="MM|LABEL=MM", help="Tolerance of NSD; repeatable. Default: 1.0."),
    ] = None,
    boundary: Annotated[
        Literal["faces", "surfels", "voxels"],
        typer.Option("--boundary", help="Between what distances are measured; surfels: DeepMind's, voxels: MONAI's."),
    ] = "faces",
    hd95_definition: Annotated[
        Literal["max", "pooled"], typer.Option("--hd95-definition", help="Larger of two percentiles, or one of both.")
    ] = "max",
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Also judge lesions one by one: found, missed, spurious, F1, PQ.")
    ] = False,
    connectivity: Annotated[
        int, typer.Option("--connectivity", metavar="6|18|26", help="Neighbours of a voxel in one lesion.")
    ] = 26,
    reader: Annotated[
        list[Path] | None,
        typer.Option(
            "--reader",
            metavar="MASKS",
            help="Another reader's masks of the same cases; all readers together make the reference. Repeatable.",
        ),
    ] = None,
    consensus: Annotated[
        Literal["staple", "majority"], typer.Option("--consensus", help="How several readers make one reference.")
    ] = "staple",
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="COLUMN|PATTERN",
            help="What cases of a patient share, for intervals and tests: a column of the table, a pattern of ids.",
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Another run on the same cases: its masks, its results, or nnU-Net's summary.json; repeatable.",
        ),
    ] = None,
    table: Annotated[
        Literal["text", "markdown", "latex", "csv"] | None,
        typer.Option("--table", help="Print the tables in this form."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option("--fail-under", metavar="dice=0.85", help="End with 1 if a figure is worse; repeatable."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT that medseg did not write, or that were changed.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Compare masks with the truth."""
    from medseg.cli.screen import console, follow
    from medseg.evaluate import check, parse_labels, parse_thresholds, refuse_foreign_results, write_results

    if out is not None and not overwrite:
        refuse_foreign_results(out)
    thresholds = parse_thresholds(fail_under or [])
    declared, chosen = parse_labels(labels.split(",") if labels else [])
    options = replace(
        _options(metrics, chosen, tolerance or [], shared),
        boundary=boundary,
        hd95_definition=hd95_definition,
        lesions=lesions,
        connectivity=connectivity,
        consensus=consensus,
    )
    if pairs is not None:
        work = _of_table(pairs, predicted, reference, reader, group_by, options, declared)
    else:
        work = _work(predicted, reference, reader or [], group_by, options, declared)
    found: list[Evaluation] = []
    follow(_events(work, found), shared)
    if compare:
        follow(_events(_compared(found[0], predicted, compare), found), shared)
    evaluation = found[-1]
    written = () if out is None else write_results(evaluation, out, overwrite=overwrite)
    _print(evaluation, table, written, shared)
    unmet = check(evaluation, thresholds)
    for sentence in unmet:
        console(shared).print(f"Not met: {sentence}", markup=False, style="red")
    if evaluation.n_compared == 0:
        raise typer.Exit(ALL_FAILED)
    if evaluation.n_failed or unmet:
        raise typer.Exit(SOME_FAILED)


def _options(
    metrics: str | None,
    labels: tuple[str, ...],
    tolerance: list[str],
    shared: Shared,
) -> "EvaluateOptions":
    from medseg.evaluate import DEFAULT_METRICS, EvaluateOptions, parse_tolerances
    from medseg.io import ReadOptions

    for_all, single = parse_tolerances(tolerance)
    return EvaluateOptions(
        metrics=tuple(name.strip() for name in metrics.split(",")) if metrics else DEFAULT_METRICS,
        labels=labels,
        tolerance_mm=for_all,
        tolerances_mm=single,
        jobs=shared.jobs or os.cpu_count() or 1,
        max_memory_bytes=shared.max_memory_bytes,
        seed=shared.seed or 0,
        read=ReadOptions.parse(shared.read),
    )


def _work(
    predicted: Path | None,
    reference: Path | None,
    readers: list[Path],
    group: str | None,
    options: "EvaluateOptions",
    labels: "Labels | None",
) -> "Iterator[Event | Evaluation]":
    from medseg.evaluate import run

    if predicted is None or reference is None:
        raise UsageError("medseg evaluate needs PREDICTED and REFERENCE, or a table of both with --pairs.")
    names = [path.resolve().name for path in readers]
    # Folders of readers may be called alike: a/masks, b/masks.
    called = {
        name if names.count(name) == 1 else f"reader {n}": path
        for n, (name, path) in enumerate(zip(names, readers, strict=True), start=2)
    }
    return run(predicted, reference, options, labels, readers=called, group=group)


def _of_table(
    pairs: Path,
    predicted: Path | None,
    reference: Path | None,
    readers: list[Path] | None,
    group: str | None,
    options: "EvaluateOptions",
    labels: "Labels | None",
) -> "Iterator[Event | Evaluation]":
    from medseg.evaluate import read_table, run_pairs

    if predicted is not None or reference is not None or readers:
        raise UsageError("--pairs names every mask; leave out PREDICTED, REFERENCE and --reader.")
    return run_pairs(read_table(pairs, group or "group"), options, labels)


def _compared(evaluation: "Evaluation", predicted: Path | None, others: list[Path]) -> "Iterator[Event | Evaluation]":
    from medseg.evaluate import run_comparison

    if predicted is None:
        raise UsageError("--compare needs PREDICTED and REFERENCE: a table of pairs names no other run's masks.")
    return run_comparison(evaluation, others, predicted.resolve().name)


def _events(work: "Iterator[Event | Evaluation]", found: "list[Evaluation]") -> "Iterator[Event]":
    """The events of an evaluation; its result, which comes last, is put aside."""
    from medseg.core.events import Event

    for item in work:
        if isinstance(item, Event):
            yield item
        else:
            found.append(item)


def _print(evaluation: "Evaluation", form: "Form | None", written: tuple[Path, ...], shared: Shared) -> None:
    """The tables, which are the result and so also printed by `--quiet`; the summary as an object with `--json`."""
    from medseg.cli.screen import console
    from medseg.evaluate import render, tables

    screen = console(shared)
    if shared.json:
        print(json.dumps({"event": "evaluated", **evaluation.to_json()}))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(for_terminal(render(tables(evaluation), form or "text", width)), end="")
    if written and not shared.quiet:
        names = ", ".join(path.name for path in written)
        screen.print(f"Written to {written[0].parent}: {names}", markup=False)
