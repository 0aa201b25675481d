"""An evaluation as a page: how good, how sure, where it fails and what that looks like; failures first.

`render` makes the page, `write_results` writes everything that `medseg evaluate -o` promises: the numbers, the tables
for a paper, and the page. Pictures are read again from the files of a few cases; nothing else is read, and no number is
measured anew. Nothing in the page says where a machine keeps its files.
"""

import json
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.report.page import render
from medseg.evaluate.results import REPORT, RESULTS, SUMMARY, TABLE, refuse_foreign_results
from medseg.evaluate.tables import render as rendered
from medseg.evaluate.tables import tables
from medseg.io.files import remove_leftovers, replacing
from medseg.io.presence import exclusive

__all__ = ["render", "write_results"]


def write_results(evaluation: Evaluation, folder: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write metrics.csv, summary.json, table.md, table.tex and report.html into a folder, each whole or not at all.

    Args:
        evaluation: What to write.
        folder: Where to.
        overwrite: Replace also what medseg did not write.

    Returns:
        Their paths.

    Raises:
        UsageError: Files of these names are there that medseg did not write, or that were changed since.
        MachineError: The disk is full or cannot be written to.
    """
    if not overwrite:
        refuse_foreign_results(folder)
    shown = tables(evaluation)
    texts = {
        TABLE: evaluation.to_csv(),
        "table.md": rendered(shown, "markdown"),
        "table.tex": rendered(shown, "latex"),
        REPORT: render(evaluation),
    }
    contents = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    digests = {name: f"sha256:{sha256(content).hexdigest()}" for name, content in contents.items()}
    summary = {**evaluation.to_json(), "files": digests}
    text = json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    contents[SUMMARY] = text.encode("utf-8", "backslashreplace")
    remove_leftovers(folder)
    # All of them get their names together, so that the summary speaks of the files that lie beside it.
    with exclusive(folder / ".medseg-lock"), ExitStack() as stack:
        for name in RESULTS:
            stack.enter_context(replacing(folder / name)).write_bytes(contents[name])
    return tuple(folder / name for name in RESULTS)
