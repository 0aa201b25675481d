"""`medseg predict INPUT... -m MODEL -o OUT`: masks for new scans."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from collections.abc import Generator

    from medseg.core.events import Event, Finished
    from medseg.io import SegType

SOME_FAILED = 1
ALL_FAILED = 3


@shared_options
def command(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Scans, folders of scans, DICOM series, data sets.")
    ],
    model: Annotated[Path, typer.Option("-m", "--model", metavar="MODEL", help="A run or a model folder.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for the masks, or a file for a single scan.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            metavar="nifti|nrrd|seg.nrrd|mha|png|dicom-seg|rtstruct",
            help="Kind of mask, repeatable; default: as the scan, NIfTI for DICOM.",
        ),
    ] = None,
    seg_type: Annotated[
        str, typer.Option("--seg-type", metavar="binary|labelmap", help="Of a DICOM SEG; labelmap is small, and young.")
    ] = "binary",
    overlap: Annotated[
        float | None, typer.Option("--overlap", min=0.0, max=0.95, help="Share that windows overlap by.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Average over the mirrored views that training saw.")
    ] = False,
    folds: Annotated[
        list[str] | None,
        typer.Option("--folds", metavar="0|1|...|all", help="Fold that votes, repeatable; default: all."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probabilities of the classes (large files).")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Draw a picture of each mask on its scan.")] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="LABEL=NAME|LABEL={...}",
            help="Call a label otherwise, or say its code: 'GTV={name: Tumour, code: ..., meaning: ...}'; repeatable.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict everything again, and replace also what medseg did not write.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Predict masks for new scans."""
    from medseg.cli.screen import console, duration
    from medseg.config.load import parse_label_outputs
    from medseg.io import ReadOptions
    from medseg.predict import PredictOptions, predict_cases

    options = PredictOptions(
        formats=tuple(formats or ()),
        seg_type=_seg_type(seg_type),
        overlap=overlap,
        mirror=mirror,
        folds=tuple(folds) if folds else None,
        device=shared.device,
        max_memory=shared.max_memory_bytes,
        read=ReadOptions.parse(shared.read) if shared.read else None,
        probabilities=probabilities,
        preview=preview,
        labels=parse_label_outputs(label or ()),
        overwrite=overwrite,
    )
    _use_threads(shared.threads)
    finished = _followed(predict_cases(inputs, model, out, options), out, shared)
    counts = dict(finished.summary) if finished else {}
    done, current, elsewhere, failed = (counts.get(key, 0) for key in ("predicted", "current", "elsewhere", "failed"))
    if not shared.quiet and finished is not None:
        parts = [f"{done} predicted in {duration(finished.elapsed_s)}"]
        parts += [f"{current} already up to date"] if current else []
        parts += [f"{elsewhere} left to another process"] if elsewhere else []
        parts += [f"{failed} failed"] if failed else []
        console(shared).print(f"{', '.join(parts)}. The masks are in {out}.", markup=False)
    if failed:
        raise typer.Exit(SOME_FAILED if done + current + elsewhere else ALL_FAILED)


def _followed(events: "Generator[Event, None, None]", out: Path, shared: Shared) -> "Finished | None":
    """What `follow` returns; a signal closes the work, which keeps all that was done, and is answered."""
    from medseg.cli.screen import Stopped, Terminated, follow
    from medseg.core.events import CaseFailed, CasePredicted

    done = 0

    def counted() -> "Generator[Event, None, None]":
        nonlocal done
        for event in events:
            done += isinstance(event, CasePredicted | CaseFailed)
            yield event

    with closing(events):
        try:
            return follow(counted(), shared)
        except KeyboardInterrupt:
            exit_code = 130
        except Terminated as end:
            exit_code = end.exit_code
    cases = "1 case is" if done == 1 else f"{done} cases are"
    raise Stopped(f"Stopped: {cases} done and recorded in {out}; the same command goes on with the rest.", exit_code)


def _seg_type(given: str) -> "SegType":
    from medseg.core.errors import UsageError

    if given not in ("binary", "labelmap"):
        raise UsageError(f"--seg-type is '{given}', but must be binary or labelmap.")
    return "binary" if given == "binary" else "labelmap"


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
