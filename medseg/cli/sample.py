"""`medseg sample OUT`: a small data set to try everything on."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import Shared, shared_options


@shared_options
def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; it must be new or empty.")],
    shared: Shared,
) -> None:
    """Make a small data set of CT-like phantoms to try medseg on."""
    from medseg.cli.screen import console, follow
    from medseg.sample import make_sample

    follow(make_sample(out, shared.seed or 0), shared)
    if not shared.json and not shared.quiet:
        console(shared).print(f"Now try: medseg train {out} -o run --budget 3m", markup=False)
