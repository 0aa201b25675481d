"""The story of an inspection: open the data set, look at every case (in parallel if asked), and conclude.

`run` is a generator of events whose last item is the `Inspection`; `inspect` listens to nobody and returns it. Cases
come back from their processes as small reports, so memory is that of the cases in work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import AmbiguousError, InputError
from medseg.core.events import CaseRead, Event
from medseg.core.given import as_given
from medseg.core.labels import Labels
from medseg.core.memory import allowed_bytes
from medseg.core.workers import side_by_side
from medseg.data.dataset import BadCase, Case, Dataset, natural_key
from medseg.data.fingerprint import Fingerprint, conclude, samples_a_case
from medseg.data.inputs import Inputs, find_inputs
from medseg.data.layouts import existing, open_dataset, recognised
from medseg.data.patients import patients_of
from medseg.data.splits import Splits, make_splits
from medseg.inspect import images, labels, sides, twins
from medseg.inspect.context import Context
from medseg.inspect.findings import Finding, gathered, ordered
from medseg.inspect.inspection import Inspection
from medseg.inspect.reading import Job, bytes_to_look_at, inspect_case, lost_case
from medseg.inspect.remedies import remedy_for
from medseg.inspect.report import CaseReport, Role
from medseg.io.foreign import why_unread
from medseg.io.listing import listing

__all__ = ["InspectOptions", "inspect", "run"]

WORTH_A_PROCESS = 8
"""A process takes a second or two to start: fewer cases than this are looked at sooner without it."""

_BYTES_A_PROCESS = 300 * 2**20

SCANS = "scans"
"""What a folder of images without labels is called where layouts have names."""


@dataclass(frozen=True)
class InspectOptions:
    """How to look.

    Attributes:
        data: Layout, groups, folds and how files are read, as training takes them.
        jobs: How many processes at once.
        max_memory_bytes: What they may take together; what is free by default.
        seed: Which voxels are sampled, and which folds training would draw.
    """

    data: DataConfig = field(default_factory=DataConfig)
    jobs: int = 1
    max_memory_bytes: int | None = None
    seed: int = 0


def inspect(path: Path | str, options: InspectOptions | None = None) -> Inspection:
    """Look at a data set, a folder of scans or a single scan: what `medseg inspect` does.

    Raises:
        UsageError: The path does not exist, or an option is wrong. What is wrong with the data is a finding.
        MachineError: No process could be started.
    """
    for item in run(path, options):
        if isinstance(item, Inspection):
            return item
    raise AssertionError("an inspection ends with its result")


def run(path: Path | str, options: InspectOptions | None = None) -> Iterator[Event | Inspection]:
    """Like `inspect`, as it goes on: a `CaseRead` for each case, and at last the `Inspection`."""
    root, options = existing(Path(path)), options or InspectOptions()
    try:
        dataset = _opened(root, options.data)
    except InputError as error:
        yield Inspection("", (), (_refusal(error, root),))
        return
    jobs = [*_jobs(dataset, options)]
    reports: list[CaseReport] = []
    for report in side_by_side(inspect_case, jobs, _processes(jobs, options), lost_case):
        reports.append(report)
        yield CaseRead(report.case, len(reports), len(jobs), "inspecting")
    reports.sort(key=lambda report: natural_key(report.case))
    yield _concluded(dataset, tuple(reports), options, root)


def _opened(root: Path, config: DataConfig) -> Dataset:
    """The data set; images without labels, as `medseg predict` would take them, where it is none.

    Raises:
        InputError: It is neither, or it can be read in more than one way.
    """
    root, read = io.main_file(root), io.ReadOptions.parse(config.read)
    if root.is_file() and io.kind_of(root) is not None:
        return _scans(root, find_inputs([root], options=read))
    if root.is_file() and root.suffix.lower() not in (".csv", ".tsv"):
        raise InputError(f"{root} is no table of cases (.csv, .tsv), and it {why_unread(root, with_kinds=False)}.")
    try:
        return open_dataset(root, config)
    except AmbiguousError:
        raise
    except InputError as refusal:
        if root.is_file() or config.layout != "auto" or recognised(root) is not None or _is_empty(root):
            raise
        try:
            return _scans(root, find_inputs([root], options=read))
        except InputError as error:
            raise InputError(f"{refusal} Taken as scans to predict: {error}") from error


def _scans(root: Path, found: Inputs) -> Dataset:
    n = len(found.cases)
    note = f"No data set to train on: {n} scan{'s' if n != 1 else ''}, read as medseg predict does."
    notes = tuple(dict.fromkeys((note, *found.remarks, *found.notes)))
    return Dataset(
        root,
        SCANS,
        (),
        None,
        found.channels,
        unlabelled=tuple(found.cases),
        problems=tuple(found.problems),
        notes=notes,
    )


def _is_empty(folder: Path) -> bool:
    inside = listing(folder)
    return not (inside.files or inside.folders or inside.special or inside.n_hidden)


def _refusal(error: InputError, root: Path) -> Finding:
    """What cannot be opened, as the one finding; where a table would settle it, the table is the remedy."""
    text = as_given(str(error), root)
    if isinstance(error, AmbiguousError):
        remedy = f"Save this as cases.csv in the folder, corrected where needed:\n{as_given(error.table, root)}"
        return Finding("layout", "error", text.replace(as_given(error.table, root), "").strip(), remedy)
    return Finding("layout", "error", text, _ARRANGE if _LOOKED_FOR in text else _DO_SO)


def _incomplete(bad: BadCase) -> Finding:
    return Finding("incomplete", "error", bad.reason, remedy_for(bad.reason, _COMPLETE), (bad.id,))


def _jobs(dataset: Dataset, options: InspectOptions) -> Iterator[Job]:
    read = io.ReadOptions.parse(options.data.read)
    n_samples = samples_a_case(len(dataset.cases) + len(dataset.unlabelled))
    for case in (*dataset.cases, *dataset.unlabelled):
        yield Job(
            case,
            _role(case),
            dataset.labels,
            dataset.channels,
            read,
            n_samples,
            options.seed,
            options.max_memory_bytes,
        )


def _role(case: Case) -> Role:
    if case.attributes.get("split") == "test":
        return "test"
    return "unlabelled" if case.label is None else "labelled"


def _processes(jobs: Sequence[Job], options: InspectOptions) -> int:
    n = min(options.jobs, len(jobs) // WORTH_A_PROCESS)
    limit = allowed_bytes(options.max_memory_bytes) if n > 1 else None
    if limit is None:
        return max(1, n)
    largest = max(bytes_to_look_at(job) for job in jobs)
    return max(1, min(n, limit // (largest + _BYTES_A_PROCESS)))


def _concluded(dataset: Dataset, reports: tuple[CaseReport, ...], options: InspectOptions, root: Path) -> Inspection:
    splits, about_splits = _folds(dataset, options)
    fingerprint, known, about_labels = _fingerprint(dataset, reports)
    channels = dataset.channels or _channels(reports)
    everyone = (*dataset.cases, *dataset.unlabelled)
    context = Context(
        reports=reports,
        cases={case.id: case for case in everyone},
        patients=patients_of(everyone),
        labels=known,
        channels=channels,
        fingerprint=fingerprint,
        folds=() if splits is None else splits.folds,
    )
    found = [
        *(
            Finding("incomplete", "error", bad.reason, remedy_for(bad.reason, _COMPLETE), (bad.id,))
            for bad in dataset.problems
        ),
        *(finding for report in reports for finding in report.findings),
        *about_splits,
        *about_labels,
        *(finding for rule in (images, labels, sides, twins) for finding in rule.findings(context)),
    ]
    return Inspection(
        layout=dataset.layout,
        notes=tuple(as_given(note, root) for note in (*dataset.notes, *(splits.notes if splits else ()))),
        findings=ordered(gathered(_told(finding, root) for finding in found)),
        fingerprint=fingerprint,
        channels=channels,
        label_names=known.names if known else (),
        reports=reports,
    )


_ARRANGE = "Arrange it as one of these, or list the cases in a table cases.csv (case, image, label)."
_DO_SO = "Do what the sentence says, or list the cases in a table cases.csv (case, image, label)."
_LOOKED_FOR = "(looked for "
"""What a refusal says that recognised nothing."""

_COMPLETE = "Add what is missing, or take the case out of the data set."


def _folds(dataset: Dataset, options: InspectOptions) -> tuple[Splits | None, list[Finding]]:
    """The folds that training would use."""
    if not dataset.cases:
        return None, []
    try:
        return make_splits(dataset, options.data.folds, options.seed), []
    except InputError as error:
        remedy = "Correct the folds: a group belongs to one side."
        return None, [Finding("two_splits", "error", str(error), remedy)]


def _fingerprint(
    dataset: Dataset, reports: Sequence[CaseReport]
) -> tuple[Fingerprint | None, Labels | None, list[Finding]]:
    """The fingerprint of the usable cases, what the labels mean, and what there is to say about that."""
    facts = [report.facts for report in reports if report.usable and report.facts is not None]
    if not facts:
        return None, dataset.labels, []
    try:
        concluded = conclude(facts, dataset, dataset.labels)
    except InputError as error:
        text = str(error)
        return None, dataset.labels, [Finding("nothing_labelled", "error", text, "Declare or draw the labels.")]
    remedy = "Look whether that is meant; a dataset.json says what values mean."
    found = [Finding("reading", "warning", note, remedy) for note in concluded.notes]
    return concluded.fingerprint, concluded.labels, found


def _channels(reports: Sequence[CaseReport]) -> tuple[str, ...]:
    n = max((len(report.facts.channels) for report in reports if report.facts), default=0)
    return ("image",) if n == 1 else tuple(f"channel {number}" for number in range(n))


def _told(finding: Finding, root: Path) -> Finding:
    return replace(finding, text=as_given(finding.text, root), remedy=as_given(finding.remedy, root))
