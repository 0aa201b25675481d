"""An evaluation as a page: how good, how sure, where it fails and what that looks like; failures first.

`render` makes the page, `write_results` writes everything that `medseg evaluate -o` promises: the numbers, the tables
for a paper, and the page. Pictures are read again from the files of a few cases; nothing else is read, and no number is
measured anew. Nothing in the page says where a machine keeps its files.
"""

from pathlib import Path

from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.report.page import render
from medseg.evaluate.tables import render as rendered
from medseg.evaluate.tables import tables
from medseg.io.files import write_text

__all__ = ["render", "write_results"]


def write_results(evaluation: Evaluation, folder: Path) -> tuple[Path, ...]:
    """Write metrics.csv, summary.json, table.md, table.tex and report.html into a folder, each whole or not at all.

    Returns:
        Their paths.
    """
    shown = tables(evaluation)
    texts = {
        "table.md": rendered(shown, "markdown"),
        "table.tex": rendered(shown, "latex"),
        "report.html": render(evaluation),
    }
    numbers = evaluation.write(folder)
    for name, text in texts.items():
        write_text(folder / name, text)
    return (*numbers, *(folder / name for name in texts))
