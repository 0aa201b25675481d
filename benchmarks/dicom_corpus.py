"""What medseg makes of 113 real DICOM cases, beside five other readers, and of variants of them.

    python -m benchmarks.dicom_corpus DATA [--write docs/dicom.md] [--variants] [--jobs 2]

DATA is the corpus: a folder with index.csv, readers.csv and the cases. Each case is read through medseg's door in a
process of its own with a time limit, so that a crash or a hang is an outcome like others, and judged by
`tests/io/corpus.py`: against references by world position, voxel by voxel, or by the reason that a refusal gives; the
choices that a refusal offers are followed. With --variants, every regular series is also changed in some 35 ways whose
truth follows from the original. Prints Markdown; --write replaces the part of a document between its marks.
Ends with 1 if a case is wrong.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medseg.core.volume import LabelMap, Volume
from tests.io.corpus import Refused, Verdict, choices, judge, outcome_of, rows
from tests.io.variants import VARIANTS, load_series, plain, try_variant

LIMIT_S = 120
START, END = "<!-- corpus: written by benchmarks/dicom_corpus.py -->", "<!-- corpus: end -->"
WITHOUT_JUDGE = {"mr/uih_vframe"}
"""Cases whose choices have positions that only a vendor's private elements tell."""

NOT_REGULAR = {"derived/duplicate_slice", "derived/unrelated_files"}
"""Volumes with more files than slices: no originals of variants."""

OUTCOMES = ("right", "refused as it should", "wrong without a word", "refused or failed wrongly", "not tried")


def main() -> int:
    arguments = parsed()
    if arguments.one:
        print(json.dumps(judged(arguments.data, arguments.one)))
        return 0
    if arguments.variants_of:
        print(json.dumps(varied(arguments.data / arguments.variants_of)))
        return 0
    table = rows(arguments.data)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = dict(
            zip([row.path for row in table], pool.map(lambda row: apart(arguments.data, row.path), table), strict=True)
        )
    text = "\n".join([*summary(arguments.data, found), "", *details(table, found)])
    bad = [path for path, facts in found.items() if not facts["good"]]
    if arguments.variants:
        lines, wrong = variants(arguments)
        text, bad = text + "\n\n" + "\n".join(lines), bad + wrong
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, after = page.split(START)[0], page.split(END)[1]
        arguments.write.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    return 1 if bad else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--variants-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def judged(data: Path, path: str) -> dict:
    """One row, in this process: its verdict, what came, and whether the choices that were offered hold."""
    row = next(row for row in rows(data) if row.path == path)
    outcome = outcome_of(row)
    verdict = judge(row, outcome)
    offered = []
    if isinstance(outcome, Refused) and path not in WITHOUT_JUDGE:
        offered = [(choice, found) for choice, found in choices(row, outcome.sentence)]
    wrong = [f"{choice}: {found.kind}, {found.why}" for choice, found in offered if not found.is_good]
    return {
        "kind": verdict.kind,
        "good": verdict.is_good and not wrong,
        "came": " ".join(filter(None, [told(outcome, verdict).replace(f"{row.place}", row.path), *wrong])),
        "refused": isinstance(outcome, Refused),
        "choices": len(offered),
    }


def told(outcome, verdict: Verdict) -> str:
    """An outcome in a line, with medseg's own sentences."""
    if isinstance(outcome, Volume | LabelMap):
        shape = outcome.geometry.shape
        kind = "volume" if isinstance(outcome, Volume) else f"{len(outcome.labels.values)} structures,"
        kind = kind.replace("1 structures", "1 structure")
        notes = " ".join(outcome.meta.warnings)
        return f"{kind} {' × '.join(map(str, shape))}. {notes}" + ("" if verdict.is_good else f" {verdict.why}")
    return verdict.why


def apart(data: Path, path: str) -> dict:
    """One row in a process of its own."""
    return child([str(data), "--one", path])


def child(arguments: list[str], limit_s: float = LIMIT_S) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.dicom_corpus", *arguments],
            capture_output=True, text=True, timeout=limit_s, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"kind": "crashed", "good": False, "came": f"no answer in {limit_s} s", "refused": False, "choices": 0}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        came = f"the process ended with {done.returncode}: {last}"
        return {"kind": "crashed", "good": False, "came": came, "refused": False, "choices": 0}
    return json.loads(done.stdout)


def summary(data: Path, found: dict) -> list[str]:
    """How many cases each reader got right: those that the other readers were tried on, and all for medseg."""
    with (data / "readers.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    readers = [name for name in table[0] if name not in ("path", "expected")]
    counts = {name: Counter(other_outcome(line["expected"], line[name]) for line in table) for name in readers}
    same = [found[line["path"]] for line in table]
    return [
        f"| reader | {' | '.join(OUTCOMES)} |",
        f"| --- |{' ---: |' * len(OUTCOMES)}",
        f"| **medseg**, all {len(found)} cases | {cells(Counter(map(own_outcome, found.values())))} |",
        f"| **medseg**, the {len(table)} image series of these | {cells(Counter(map(own_outcome, same)))} |",
        *(f"| {name} | {cells(counts[name])} |" for name in readers),
    ]


def cells(counts: Counter) -> str:
    return " | ".join(str(counts[outcome]) if counts[outcome] else "–" for outcome in OUTCOMES)


def own_outcome(facts: dict) -> str:
    if facts["good"]:
        return "refused as it should" if facts["refused"] else "right"
    return "wrong without a word" if facts["kind"] == "silently wrong" else "refused or failed wrongly"


def other_outcome(expected: str, said: str) -> str:
    """The words of readers.csv in the terms of this table."""
    if said == "n/a":
        return "not tried"
    if said.startswith("right"):
        return "right"
    if said.startswith(("wrong", "returned")):
        return "wrong without a word"
    return "refused as it should" if expected.startswith(("refuse", "list")) else "refused or failed wrongly"


def details(table: list, found: dict) -> list[str]:
    """A line for each case."""
    lines = ["| case | expected | medseg | what it said |", "| --- | --- | --- | --- |"]
    for row in table:
        facts = found[row.path]
        said = facts["came"]
        if facts["choices"]:
            said += f" *({facts['choices']} offered {'choice' if facts['choices'] == 1 else 'choices'} followed)*"
        verdict = facts["kind"] if facts["good"] else f"**{facts['kind']}**"
        lines.append(f"| {row.path} | {short(row.expected, 90)} | {verdict} | {short(said, 420)} |")
    return lines


def short(text: str, most: int) -> str:
    text = re.sub(r"\s+", " ", text.replace("|", "\\|")).strip()
    return text if len(text) <= most else text[: most - 1] + "…"


def variants(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """All variants of all regular series of four and more files."""
    series = [
        row.path
        for row in rows(arguments.data)
        if row.expected.startswith("volume") and row.place.is_dir() and len(list(row.place.iterdir())) >= 4
        and "enh" not in row.path
        and row.path not in NOT_REGULAR
    ]  # fmt: skip
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda path: child([str(arguments.data), "--variants-of", path], 1800), series))
    by_variant: dict[str, Counter] = defaultdict(Counter)
    wrong = []
    for path, result in zip(series, results, strict=True):
        if "came" in result:
            wrong.append(f"{path}: {result['came']}")
        for name, (kind, why) in result.items() if "came" not in result else ():
            by_variant[name][kind] += 1
            if kind != "right":
                wrong.append(f"{path}, {name.replace('_', ' ')}: {kind}, {why}")
    n = sum(sum(counts.values()) for counts in by_variant.values())
    lines = [f"{n} variants of {len(series)} series: {n - len(wrong)} right.", *(f"- {line}" for line in wrong)]
    return lines, wrong


def varied(place: Path) -> dict:
    """All variants of one series, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series = [plain(file) for file in load_series(place)]
    found = {}
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            verdict = try_variant(variant, series, Path(folder), 0)
            found[variant.__name__] = (verdict.kind, verdict.why.replace(folder, ""))
    return found


if __name__ == "__main__":
    sys.exit(main())
