"""How medseg bears damage: every file of the DICOM corpus cut and changed, thousands of times.

    python -m benchmarks.dicom_damage DATA RESULTS [--cuts 20] [--bytes 1000] [--minutes 20] [--only PART] [--every 1]

For each file the damages are drawn by a seed (`tests/io/damage.py`): cuts, and single changed bytes. Each is read
through medseg's door in a process of its own, which reads many and is watched: no answer in a minute is a hang, an end
of the process a crash, and the next one goes on behind. Files are taken in rounds of a few damages each, so that a run
that ends early has touched every file as often. RESULTS (a folder) keeps what was found, and a further call goes on
there; all that counts is printed at the end, with the damages that must not be. Ends with 1 if there are any.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

from tests.io.damage import Damage, damages, dicom_files, judge, patient_of, says

ROUND = 34
"""Damages of a file in one round: a thirtieth of all."""

HANG_S = 60
FAST = Path("/dev/shm")
"""A file system in memory, where there is one."""

ALLOWED = ("same", "refused", "said", "says so")


def main() -> int:
    arguments = parsed()
    if arguments.worker:
        return worker(arguments)
    arguments.results.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    files = [file for file in dicom_files(arguments.data) if not arguments.only or arguments.only in str(file)]
    files = files[:: arguments.every]
    n_all = arguments.cuts + arguments.bytes
    for first in range(0, n_all, ROUND):
        for file in files:
            if time.monotonic() - begin > 60 * arguments.minutes:
                break
            watch(arguments, file, first, min(first + ROUND, n_all))
    return report(arguments, len(files))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", help="files whose path has this in it")
    parser.add_argument("--every", type=int, default=1, help="one file of so many")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Reader:
    """The process that reads, alive over many files; started again where it ended or hung."""

    process: subprocess.Popen | None = None

    @classmethod
    def ask(cls, arguments: argparse.Namespace, question: dict) -> dict | None:
        """Its answer; None where it ended or gave none in time."""
        if cls.process is None:
            places = [str(arguments.data), str(arguments.results)]
            cls.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.dicom_damage", *places, "--worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        cls.process.stdin.write(json.dumps(question) + "\n")
        cls.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(cls.process.stdout, selectors.EVENT_READ)
            answer = cls.process.stdout.readline() if selector.select(HANG_S) else None
        if answer:
            return json.loads(answer)
        cls.process.kill()
        cls.process.wait()
        cls.process = None
        return None if answer is not None else {}


def watch(arguments: argparse.Namespace, file: Path, first: int, last: int) -> None:
    """The damages `first` to `last` of a file, but those that were done before."""
    kept = arguments.results / f"{zlib.crc32(str(file.relative_to(arguments.data)).encode()):08x}.jsonl"
    done = kept.read_text().splitlines() if kept.is_file() else []
    whole = file.read_bytes()
    planned = list(damages(whole, arguments.cuts, arguments.bytes, zlib.crc32(file.name.encode())))
    with kept.open("a") as out:
        for damage in planned[max(first, len(done)) : last]:
            question = {"file": str(file.relative_to(arguments.data)), "at": damage.at, "value": damage.value}
            answer = Reader.ask(arguments, question)
            if answer is None:
                answer = {"what": "crashed", "why": "the process ended"}
            elif not answer:
                answer = {"what": "hung", "why": f"no answer in {HANG_S} s"}
            out.write(json.dumps({**question, **answer}) + "\n")


def worker(arguments: argparse.Namespace) -> int:
    """Read questions from standard input, answer on standard output."""
    name, place, before, whole = None, None, None, b""
    for line in sys.stdin:
        question = json.loads(line)
        if question["file"] != name:
            if place is not None:
                place.cleanup()
            name = question["file"]
            place = tempfile.TemporaryDirectory(dir=FAST if FAST.is_dir() else None)
            patient = patient_of(arguments.data / name, arguments.data, Path(place.name))
            before, whole = patient.read(), patient.file.read_bytes()
        patient.file.write_bytes(Damage(question["at"], question["value"]).of(whole))
        after = patient.read()
        what = judge(before, after)
        if what == "silent" and says(patient.file, whole):
            what = "says so"
        why = (
            "" if what in ("same", "refused") else (after.defect or f"{before.grid} became {after.grid}; {after.notes}")
        )
        print(json.dumps({"what": what, "why": why.replace(place.name, "")}), flush=True)
    if place is not None:
        place.cleanup()
    return 0


def report(arguments: argparse.Namespace, n_files: int) -> int:
    """What all runs found, and what must not be."""
    found = [json.loads(line) for kept in sorted(arguments.results.glob("*.jsonl")) for line in kept.open()]
    counts = Counter(one["what"] for one in found)
    n_cuts = sum(one["value"] is None for one in found)
    bad = [one for one in found if one["what"] not in ALLOWED]
    print(f"{len(found):,} damages of {n_files} files: {n_cuts:,} cuts, {len(found) - n_cuts:,} changed bytes.")
    for what, n in counts.most_common():
        print(f"  {what}: {n:,} ({n / len(found):.2%})")
    for one in bad[:50]:
        print(f"  {one['what']}: {one['file']}, {Damage(one['at'], one['value'])}: {one['why'][:300]}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
