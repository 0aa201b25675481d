"""`medseg train DATA -o RUN`: a model from a folder of scans and masks."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.options import Shared, shared_options
from medseg.core.errors import UsageError
from medseg.core.events import Event, Finished
from medseg.core.words import counted

if TYPE_CHECKING:
    from medseg.config.schema import Config
    from medseg.train.setup import TrainOptions

SOME_FAILED = 1
"""The exit code where held-out cases could not be validated."""

STARTED_S = time.monotonic()
"""When this process began to be medseg: a budget covers starting up, too."""


def _list_presets(wanted: bool) -> None:
    if not wanted:
        return
    from medseg.config.load import list_presets

    for name, purpose in list_presets().items():
        print(f"{name:14} {purpose}")
    raise typer.Exit


@shared_options
def command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder (or a table) of scans and masks.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="RUN", help="Folder for the run.")] = None,
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="PRESET|FILE", help="A preset's name or a YAML file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; repeatable.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout", metavar="NAME", help="How the data lie, where that is in doubt: table, msd, nnunet, ..."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What to call the model, also in DICOM; default: a neutral name."),
    ] = None,
    fold: Annotated[str, typer.Option("--fold", metavar="0|1|...|all", help="Which fold validates.")] = "0",
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="15m|2h", help="Time for all of it. Default: 1 h on a CPU, 2 h on a GPU."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, max=1_000_000, help="Epochs instead of a budget.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad cases out instead of stopping.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print fingerprint, plan, network, memory and speed; write nothing.")
    ] = False,
    _list: Annotated[
        bool,
        typer.Option("--list-presets", callback=_list_presets, is_eager=True, help="List the presets and leave."),
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Train a model on a folder of scans and masks."""
    if out is None and not dry_run:
        raise UsageError("medseg train needs a folder for the run: give -o RUN (or --dry-run to see the plan only).")
    if resume and (config or set_ or layout or name or budget or epochs or skip_bad):
        raise UsageError(
            "A run keeps what it began with: --resume goes without -c, --set, --layout, --name, --budget, --epochs, "
            "--skip-bad."
        )
    from medseg.config.units import parse_seconds
    from medseg.train.setup import TrainOptions

    options = TrainOptions(
        config=_config(config, [*(set_ or []), *_overrides(layout, name)], epochs, shared),
        fold=_fold(fold),
        budget_s=None if budget is None else parse_seconds(budget, "--budget"),
        resume=resume,
        skip_bad=skip_bad,
        device=shared.device,
        threads=shared.threads,
        max_memory_bytes=shared.max_memory_bytes,
        used_s=time.monotonic() - STARTED_S,
    )
    if dry_run:
        _dry_run(data, options, shared)
    elif out is not None:
        _train(data, out, options, shared)


def _train(data: Path, out: Path, options: "TrainOptions", shared: Shared) -> None:
    from medseg.cli.screen import StopSwitch, console, duration, follow
    from medseg.train.run import run

    # Closed here, whatever ends the listening: then what was done so far is saved.
    with StopSwitch().armed() as stop, closing(run(data, out, options, stop)) as events:
        finished = follow(events, shared)
    if finished is None:
        return
    if finished.summary.get("interrupted"):
        again = ["medseg", "train", str(data), "-o", str(out), "--fold", str(options.fold), "--resume"]
        resumable = f"All of it is saved; go on with: {shlex.join(again)}"
        console(shared).print(
            f"Stopped. {resumable if finished.summary['resumable'] else 'Nothing was begun, nothing is left behind.'}",
            markup=False,
        )
        raise typer.Exit(stop.exit_code)
    if not shared.quiet:
        console(shared).print(_closing(finished, out, duration(finished.elapsed_s)), markup=False)
    if finished.summary["failed"]:
        raise typer.Exit(SOME_FAILED)


def _closing(finished: Finished, out: Path, took: str) -> str:
    from medseg.core.words import operations

    summary = finished.summary
    steps = counted(summary["steps"], "step")
    lines = [f"Trained {steps} ({operations(summary['pflop'])}, {summary['arithmetic']}) in {took}."]
    headline = summary["validation"].get("headline", {})
    if headline.get("dice") is not None:
        figures = out / f"fold_{summary['fold']}" / "validation"
        lines.append(f"Validation Dice {headline['dice']:.3f}; all figures: {figures}")
    lines.append(f"The model is {out / 'model'}. Now: medseg predict SCANS -m {out} -o OUT")
    return "\n".join(lines)


def _overrides(layout: str | None, name: str | None) -> list[str]:
    """What options say that is also said by keys; a text in quotes is YAML's text, whatever it holds."""
    layouts = [f"data.layout={layout}"] if layout else []
    return [*layouts, *([] if name is None else [f"training.name={json.dumps(name)}"])]


def _config(source: str | None, overrides: list[str], epochs: int | None, shared: Shared) -> "Config":
    """The configuration with what the shared options and `--epochs` say; later wins."""
    from medseg.config.load import load_config

    config = load_config(source, overrides)
    if shared.seed is not None:
        config = config.model_copy(update={"seed": shared.seed})
    if shared.read:
        data = config.data.model_copy(update={"read": {**config.data.read, **shared.read}})
        config = config.model_copy(update={"data": data})
    if epochs is not None:
        training = config.training.model_copy(update={"epochs": epochs})
        config = config.model_copy(update={"training": training})
    return config


def _fold(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not text.isdecimal():
        raise UsageError(f"--fold {text!r} is no fold: give a number from 0 on, or all.")
    return int(text)


def _dry_run(data: Path, options: "TrainOptions", shared: Shared) -> None:
    from medseg.cli.plan_view import show
    from medseg.cli.screen import console, follow
    from medseg.train.dry_run import DryRun, dry_run

    found: list[DryRun] = []

    def kept() -> Iterator[Event]:
        for event in dry_run(data, options):
            if isinstance(event, DryRun):
                found.append(event)
            yield event

    follow(kept(), shared)
    if not shared.json:
        show(found[0], console(shared))
