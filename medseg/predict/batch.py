"""Prediction of many cases: find them, do what is missing, write it, and go on past a case that fails.

A generator of events; who listens shows them. Nothing is written before the whole request is known to make sense, and
no file appears under its name before it is complete, so the work can be stopped anywhere and taken up again. Several
processes may work on one folder: each takes the cases that no other has.
"""

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg import io
from medseg.config.schema import LabelOutput
from medseg.core.errors import InputError, MachineError, MedsegError, UsageError, machine_error
from medseg.core.events import CaseFailed, CasePredicted, Event, Finished, Noted, Warned
from medseg.core.given import as_given, as_kept
from medseg.core.volume import LabelMap, Volume
from medseg.data.cases import read_image
from medseg.data.checks import like_a_label_map
from medseg.data.dataset import BadCase, Case, too_long
from medseg.data.inputs import find_inputs
from medseg.data.pictures import as_a_model_sees
from medseg.io.files import remove_leftovers
from medseg.io.origin import refuse_folder
from medseg.model import Model, load_model
from medseg.predict.arithmetic import Dtype
from medseg.predict.device import resolve_device
from medseg.predict.ledger import Ledger
from medseg.predict.masks import MaskWriter, form_of, mask_writer
from medseg.predict.naming import Naming, naming
from medseg.predict.outputs import FORMATS, Record, expected_format, facts_of, input_digest, scan_digest
from medseg.predict.predictor import Predictor
from medseg.predict.preview import draw_preview
from medseg.predict.targets import refuse_among_scans, refuse_existing, refuse_foreign, refuse_twin_outputs

__all__ = ["PredictOptions", "predict_cases"]

_PREVIEW, _PROBABILITIES = "_preview.png", "_probabilities.nii.gz"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """How to predict, as one value.

    Attributes:
        formats: Kinds to write (`FORMATS`); by default that of the input, PNG for pictures, NIfTI for DICOM.
        seg_type: Of DICOM segmentations: "binary", or "labelmap" where no labels overlap.
        overlap: Least share of a window that neighbours have in common; the plan's by default.
        mirror: Average over the mirrored views that training saw.
        folds: Folds of the model that vote ("0", "all"); every one by default.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        max_memory: Bytes that resampling and blending may each hold at a time; what is free by default.
        arithmetic: The type that networks compute in; "auto" times it.
        read: How files are read where that is not as in training.
        probabilities: Also write CASE_probabilities.nii.gz: that of each class, background first.
        preview: Also draw CASE_preview.png.
        labels: Label of the model → what it is called and coded in what is written.
        overwrite: Do every case again, and replace whatever lies there, also what medseg did not write.
    """

    formats: tuple[str, ...] = ()
    seg_type: io.SegType = "binary"
    overlap: float | None = None
    mirror: bool = False
    folds: tuple[str, ...] | None = None
    device: str = "auto"
    max_memory: int | None = None
    arithmetic: Dtype | Literal["auto"] = "auto"
    read: io.ReadOptions | None = None
    probabilities: bool = False
    preview: bool = False
    labels: Mapping[str, LabelOutput] = field(default_factory=dict)
    overwrite: bool = False


def predict_cases(
    inputs: Sequence[Path | str], model: Path | str, out: Path | str, options: PredictOptions | None = None
) -> Generator[Event, None, None]:
    """Segment every case in `inputs` and write the masks into the folder `out`, with `predictions.json`.

    One case and an `out` with the suffix of an image write that file, and no record.

    Yields:
        `CasePredicted` (status "predicted", "current" where nothing was to do, or "elsewhere" where another process is
        at it) or `CaseFailed` for each case, `Warned`, and `Finished` with the counts "predicted", "current", "failed",
        and "elsewhere" if there are any.

    Raises:
        UsageError: The request makes no sense: nothing to predict, nowhere to write, or it would write over files that
            are not medseg's.
        InputError: The inputs hold no scan that can be told apart, or the model is damaged.
        MachineError: The disk is full: going on would waste the work.
    """
    start = time.perf_counter()
    options = options or PredictOptions()
    paths, out = [Path(path) for path in inputs], Path(out)
    _check_request(paths, out, options)
    trained = load_model(model)
    read = trained.read.updated((options.read or io.ReadOptions()).to_pairs())
    found = find_inputs(paths, trained.plan.channels, read)
    cases = tuple(as_a_model_sees(case, trained.plan.channels, read) for case in found.cases)
    work = _Work(trained, out, options, cases, tuple(paths))
    yield from (Noted(as_given(remark, paths)) for remark in found.remarks)
    yield from (Warned(as_given(note, paths)) for note in (*found.notes, *work.notes))
    if options.mirror and not trained.plan.mirror_axes:
        yield Warned("This model was trained without mirroring, so there are no mirrored views to average over.")
    counts = {"predicted": 0, "current": 0, "failed": 0}
    try:
        for event in work.events():
            status = "failed" if isinstance(event, CaseFailed) else event.status
            counts[status] = counts.get(status, 0) + 1
            yield event
        for done, problem in enumerate(found.problems, start=len(cases) + 1):
            counts["failed"] += 1
            yield work.refuse(problem, done, len(cases) + len(found.problems))
    finally:
        work.close()
    yield from map(Noted, work.remarks())
    yield Finished(str(out), time.perf_counter() - start, counts)


@dataclass
class _Work:
    """What all cases of a call share. The predictor is loaded for the first case that needs it."""

    model: Model
    out: Path
    options: PredictOptions
    cases: tuple[Case, ...]
    given: tuple[Path, ...]
    single: bool = field(init=False)
    predictor: Predictor | None = field(default=None, init=False)
    broken: MedsegError | None = field(default=None, init=False)
    """Why the model cannot be used."""
    n_on_own_grid: Counter[int] = field(default_factory=Counter, init=False)
    """By channel, in how many cases it was brought from a grid of its own to that of the first channel."""
    ledger: Ledger | None = field(default=None, init=False)
    names: Naming = field(init=False)
    writer: MaskWriter = field(init=False)
    notes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.single = _names_a_file(self.out)
        if self.single and len(self.cases) > 1:
            raise UsageError(f"{self.out} names one file, but there are {len(self.cases)} cases. Give a folder.")
        # Asked now, so that a wrong fold or device does not wait for the first case.
        self.model.choose(self.options.folds)
        resolve_device(self.options.device)
        how = self.how(Case("", ()))
        self.names = naming(self.model, self.options.labels)
        writer = mask_writer(self.model, self.names, how, self.options.formats, self.options.seg_type)
        self.writer, self.notes = writer
        if self.single:
            if self.cases and not self.options.overwrite:
                refuse_existing(self.out.parent / name for name in self._names(self.cases[0]))
            remove_leftovers(self.out.parent)
            return
        refuse_among_scans(self.cases, self.out)
        names = {case.id: self._names(case) for case in self.cases if too_long(case) is None}
        refuse_twin_outputs(names)
        refuse_folder(self.out / "predictions.json")
        self.ledger = Ledger(self.out, self.model.digest)
        if not self.options.overwrite:
            by_id = {case.id: case for case in self.cases}
            refuse_foreign(self.ledger, names, lambda case_id: self._is_current(by_id[case_id]))
        self.ledger.open()

    def _is_current(self, case: Case) -> bool:
        """Whether a case needs no work; its files are read only if it might be so."""
        record = None if self.ledger is None else self.ledger.record_of(case.id)
        if self.ledger is None or record is None or not self.ledger.is_of(record, self.how(case)):
            return False
        try:
            return self.ledger.current(case.id, input_digest(case), self.how(case)) is not None
        except MedsegError:
            return False

    def events(self) -> Iterator[CasePredicted | CaseFailed]:
        """Do all cases; those that another process has are asked for again at the end, for it may have died."""
        done, total = 0, len(self.cases)
        left: list[Case] = []
        for case in self.cases:
            event = self.do(case, done + 1, total)
            if event is None:
                left.append(case)
                continue
            done += 1
            yield event
        for case in left:
            done += 1
            yield self.do(case, done, total) or CasePredicted(case.id, "elsewhere", (), 0.0, {}, done, total)

    def how(self, case: Case) -> dict[str, Any]:
        """The options that decide what a result is; a result of others is out of date."""
        options = self.options
        return {
            "overlap": self.model.plan.overlap if options.overlap is None else options.overlap,
            "mirror": options.mirror,
            "folds": list(self.model.choose(options.folds)),
            "formats": list(options.formats),
            **({"seg_type": options.seg_type} if "dicom-seg" in options.formats else {}),
            **({"labels": _written(options.labels)} if options.labels else {}),
            "preview": options.preview,
            "probabilities": options.probabilities,
            "read": self.read.updated(case.read).to_pairs(),
            **({"layers": list(case.layers)} if case.layers else {}),
        }

    @property
    def read(self) -> io.ReadOptions:
        """As in training, but for what the user says otherwise."""
        return self.model.read.updated((self.options.read or io.ReadOptions()).to_pairs())

    def do(self, case: Case, done: int, total: int) -> CasePredicted | CaseFailed | None:
        """Predict and write one case, or say why not; None if another process has it."""
        start = time.perf_counter()
        found: str | None = None
        try:
            if (reason := too_long(case)) is not None:
                raise InputError(reason)
            found = input_digest(case)
            known = self._known(case, found)
            if known is not None:
                return _event(known, "current", done, total)
            if self.ledger is not None:
                if not self.ledger.claim(case.id, self._names(case)):
                    return None
                self.ledger.refresh()
                known = self._known(case, found)
                if known is not None:
                    self.ledger.release()
                    return _event(known, "current", done, total)
            record = self._predict(case, found, start)
        except MachineError as error:
            if error is self.broken or isinstance(error.__cause__, OSError):
                raise  # the disk, not the case: the next one would be computed in vain
            record = self._failed(case, found, str(error), start)
        except MedsegError as error:
            if error is self.broken:
                raise  # the model, not the case: the next one would fail alike
            record = self._failed(case, found, str(error), start)
        except MemoryError:
            reason = "The memory does not suffice for this case. Close other programs, or crop the image."
            record = self._failed(case, found, reason, start)
        except OSError as error:
            raise machine_error(error) or error from error
        except Exception as error:  # noqa: BLE001  the one place of the batch where a defect must not take the others along
            _LOG.info("Case %s failed unexpectedly", case.id, exc_info=True)
            reason = f"A defect of medseg, please report it: {type(error).__name__}: {error}"
            record = self._failed(case, found, reason, start)
        self._record(record)
        if record.status == "failed":
            return CaseFailed(case.id, record.reason or "", done, total)
        return _event(record, "predicted", done, total)

    def refuse(self, problem: BadCase, done: int, total: int) -> CaseFailed:
        """Record a case that was found, and cannot be used."""
        record = self._failed(Case(problem.id, problem.images), None, problem.reason, time.perf_counter())
        self._record(record)
        return CaseFailed(problem.id, record.reason or "", done, total)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()

    def _known(self, case: Case, found: str) -> Record | None:
        """The record of a case that needs no work."""
        if self.ledger is None or self.options.overwrite:
            return None
        return self.ledger.current(case.id, found, self.how(case))

    def _record(self, record: Record) -> None:
        if self.ledger is None:
            return
        earlier = None if self.options.overwrite else self.ledger.holds_another(record.case, record.input)
        if record.status == "failed" and earlier is not None:
            # The result of an earlier scan of this name is there, and its record must stay with it.
            self.ledger.release()
        else:
            self.ledger.add(record.stamped())

    def _refuse_to_replace(self, case: Case, found: str, volume: Volume) -> None:
        """Refuse to write over the result of another scan, and over what has come into the folder meanwhile.

        Raises:
            InputError: The folder holds such a result or file.
        """
        if self.ledger is None or self.options.overwrite:
            return
        known = self.ledger.holds_another(case.id, found)
        if known is not None and (known.scan is None or known.scan != scan_digest(volume)):
            when = f", predicted {known.time[:10]}" if known.time else ""
            raise InputError(
                f"The folder of masks has a result of another scan under this name ({known.outputs[0]}{when}): its "
                "files are not these. Give this scan another name, write to another folder, or say --overwrite if it "
                "replaces that one."
            )
        whose = {name: self.ledger.ownership(name, case.id) for name in self._names(case)}
        theirs = [name for name, owner in whose.items() if owner not in ("absent", "ours")]
        if theirs:
            raise InputError(
                f"{theirs[0]} lies in the folder of masks and is not as medseg wrote it for this case. Write to "
                "another folder, or say --overwrite to replace it."
            )

    def _predict(self, case: Case, found: str, start: float) -> Record:
        volume = read_image(case, self.read, self.model.plan.channels)
        self.n_on_own_grid.update(volume.meta.own_grids.keys())
        self._refuse_to_replace(case, found, volume)
        replaced = None if self.ledger is None else self.ledger.holds_another(case.id, found)
        files = self._files(case)
        for form, path in files:
            self.writer.check(form, path, volume)
        if self.predictor is None:
            self.predictor = self._loaded()
        said: Volume | None = None
        if self.options.probabilities:
            result, said = self.predictor.with_probabilities(volume)
        else:
            result = self.predictor(volume)
        outputs, notes = self._write(case, volume, self.names.renamed(result.labels), files)
        doubt = like_a_label_map(volume, self.model.plan.label_names)
        notes += (doubt,) if doubt is not None else ()
        if said is not None:
            outputs += (self._write_probabilities(case, said),)
        return Record(
            case.id,
            "predicted",
            found,
            self.model.digest,
            self.how(case),
            outputs,
            time.perf_counter() - start,
            {name: round(ml, 6) for name, ml in self.names.by_new_names(result.volumes_ml).items()},
            tuple(as_kept(note, (*self.given, self.out)) for note in (*result.warnings, *notes, *_told_of(replaced))),
            scan=scan_digest(volume),
            files=None if self.single else {name: facts_of(self.out / name) for name in outputs},
        )

    def remarks(self) -> Iterator[str]:
        """What is true of several cases and needs no action."""
        channels = self.model.plan.channels
        for number, n in sorted(self.n_on_own_grid.items())[: len(channels) - 1]:
            cases = "1 case" if n == 1 else f"{n} cases"
            yield (
                f"{channels[number]} has a grid of its own in {cases} and was brought to that of {channels[0]} by "
                "linear interpolation, as training does."
            )

    def _loaded(self) -> Predictor:
        try:
            return self._load()
        except MedsegError as error:
            self.broken = error
            raise

    def _load(self) -> Predictor:
        options = self.options
        return Predictor(
            self.model.plan,
            [self.model.network(fold) for fold in self.model.choose(options.folds)],
            options.device,
            overlap=options.overlap,
            mirror=options.mirror,
            max_memory=options.max_memory,
            arithmetic=options.arithmetic,
        )

    def _files(self, case: Case) -> tuple[tuple[str, Path], ...]:
        """What is to be written: forms and names."""
        if self.single:
            return ((form_of(self.out, self.options.formats), self.out),)
        forms = self.options.formats or (expected_format(case, self.read.updated(case.read)),)
        return tuple((form, self.out / f"{case.id}{io.suffix_for(form)}") for form in dict.fromkeys(forms))

    def _names(self, case: Case) -> tuple[str, ...]:
        """All files that a case becomes, relative to the folder."""
        names = [name for form, path in self._files(case) for name in self.writer.names(form, path)]
        if self.options.preview:
            names.append(self._beside(case, _PREVIEW).name)
        if self.options.probabilities:
            names.append(self._beside(case, _PROBABILITIES).name)
        return tuple(names)

    def _write(
        self, case: Case, volume: Volume, labels: LabelMap, files: Sequence[tuple[str, Path]]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Write all that was asked for; the names, relative to the folder, and what could not be said."""
        written = [self.writer.write(form, path, labels) for form, path in files]
        paths = [path for forms, _ in written for path in forms]
        if self.options.preview:
            paths.append(self._beside(case, _PREVIEW))
            draw_preview(paths[-1], volume, labels, case.id)
        return tuple(path.name for path in paths), tuple(note for _, notes in written for note in notes)

    def _write_probabilities(self, case: Case, said: Volume) -> str:
        """As NIfTI whatever the masks are: it holds four axes, and grids that lean. Returns the name."""
        path = self._beside(case, _PROBABILITIES)
        io.write(said, path)
        return path.name

    def _beside(self, case: Case, ending: str) -> Path:
        """What lies beside the mask of a case."""
        name = io.stem(self.out) if self.single else case.id
        return (self.out.parent if self.single else self.out) / f"{name}{ending}"

    def _failed(self, case: Case, found: str | None, reason: str, start: float) -> Record:
        return Record(
            case.id,
            "failed",
            found,
            self.model.digest,
            self.how(case),
            seconds=time.perf_counter() - start,
            reason=as_kept(reason, (*self.given, self.out)),
        )


def _event(record: Record, status: str, done: int, total: int) -> CasePredicted:
    return CasePredicted(
        record.case, status, record.outputs, record.seconds, record.volumes_ml, done, total, record.warnings
    )


def _written(labels: Mapping[str, LabelOutput]) -> dict[str, Any]:
    return {name: labels[name].model_dump(mode="json", exclude_unset=True) for name in sorted(labels)}


def _told_of(replaced: Record | None) -> tuple[str, ...]:
    if replaced is None:
        return ()
    when = f" of {replaced.time[:10]}" if replaced.time else ""
    return (f"The files of this scan are not as they were (saved again or moved); its result{when} was replaced.",)


def _names_a_file(out: Path) -> bool:
    return not out.is_dir() and io.kind_of(out.name) is not None


def _check_request(paths: Sequence[Path], out: Path, options: PredictOptions) -> None:
    """Refuse what cannot be meant, before anything is read or written."""
    if not paths:
        raise UsageError("Nothing to predict: give a scan, or a folder of scans.")
    for path in paths:
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"{path} does not exist.")
    unknown = [kind for kind in options.formats if kind not in FORMATS]
    if unknown:
        raise UsageError(f"'{unknown[0]}' is no format for masks; they are {', '.join(FORMATS)}.")
    if _names_a_file(out):
        _check_file(paths, out, options)
    elif out.exists() and not out.is_dir():
        raise UsageError(
            f"{out} is a file without the suffix of an image; give a folder, or a name such as mask.nii.gz."
        )
    for path in paths:
        source = path if path.is_dir() else path.parent
        if out.resolve() == source.resolve():
            raise UsageError(
                f"{out} is where the scans are: masks there would be taken for scans the next time. "
                "Write to another folder."
            )


def _check_file(paths: Sequence[Path], out: Path, options: PredictOptions) -> None:
    form_of(out, options.formats)
    if any(out.resolve() == path.resolve() for path in paths):
        raise UsageError(f"{out} is the scan itself; give its mask another name.")
    if not options.overwrite:
        refuse_existing([out])
