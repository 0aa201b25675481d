"""Prediction of many cases: find them, do what is missing, write it, and go on past a case that fails.

A generator of events; who listens shows them. Nothing is written before the whole request is known to make sense, and
no file appears under its name before it is complete, so the work can be stopped anywhere and taken up again.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg import io
from medseg.core.errors import MachineError, MedsegError, UsageError
from medseg.core.events import CaseFailed, CasePredicted, Event, Finished, Warned
from medseg.core.given import as_given
from medseg.core.volume import LabelMap, Volume
from medseg.data.cases import read_image
from medseg.data.dataset import Case
from medseg.data.inputs import find_inputs
from medseg.model import Model, load_model
from medseg.predict.arithmetic import Dtype
from medseg.predict.device import resolve_device
from medseg.predict.masks import MaskWriter, form_of, mask_writer
from medseg.predict.outputs import FORMATS, Ledger, Record, default_format, input_digest
from medseg.predict.predictor import Predictor
from medseg.predict.preview import draw_preview

__all__ = ["PredictOptions", "predict_cases"]

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
        max_memory: Bytes that blending may hold at a time; no bound by default.
        arithmetic: The type that networks compute in; "auto" times it.
        read: How files are read where that is not as in training.
        probabilities: Also write CASE_probabilities.nii.gz: what was said of each class, background first.
        preview: Also draw CASE_preview.png.
        overwrite: Do every case again, whatever lies there.
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
    overwrite: bool = False


def predict_cases(
    inputs: Sequence[Path | str], model: Path | str, out: Path | str, options: PredictOptions | None = None
) -> Iterator[Event]:
    """Segment every case in `inputs` and write the masks into the folder `out`, with `predictions.json`.

    One case and an `out` with the suffix of an image write that file, and no record.

    Yields:
        `CasePredicted` (status "predicted", or "current" where nothing was to do) or `CaseFailed` for each case,
        `Warned`, and `Finished` with the counts "predicted", "current" and "failed".

    Raises:
        UsageError: The request makes no sense: nothing to predict, nowhere to write.
        InputError: The inputs hold no scan that can be told apart, or the model is damaged.
        MachineError: The disk is full: going on would waste the work.
    """
    start = time.perf_counter()
    options = options or PredictOptions()
    paths, out = [Path(path) for path in inputs], Path(out)
    _check_request(paths, out, options)
    trained = load_model(model)
    read = trained.read.updated((options.read or io.ReadOptions()).to_pairs())
    found = find_inputs(paths, len(trained.plan.channels), read)
    cases = tuple(found.cases)
    work = _Work(trained, out, options, cases, tuple(paths))
    yield from (Warned(as_given(note, paths)) for note in (*found.notes, *work.notes))
    if options.mirror and not trained.plan.mirror_axes:
        yield Warned("This model was trained without mirroring, so there are no mirrored views to average over.")
    counts = {"predicted": 0, "current": 0, "failed": 0}
    try:
        for done, case in enumerate(cases, start=1):
            event = work.do(case, done, len(cases))
            counts["failed" if isinstance(event, CaseFailed) else event.status] += 1
            yield event
    finally:
        work.close()
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
    ledger: Ledger | None = field(default=None, init=False)
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
        self.writer, self.notes = mask_writer(self.model, how, self.options.formats, self.options.seg_type)
        if not self.single:
            self.ledger = Ledger(self.out, self.model.digest)
            self.ledger.save()

    def how(self, case: Case) -> dict[str, Any]:
        """The options that decide what a result is; a result of others is out of date."""
        options = self.options
        return {
            "overlap": self.model.plan.overlap if options.overlap is None else options.overlap,
            "mirror": options.mirror,
            "folds": list(self.model.choose(options.folds)),
            "formats": list(options.formats),
            **({"seg_type": options.seg_type} if "dicom-seg" in options.formats else {}),
            "preview": options.preview,
            "probabilities": options.probabilities,
            "read": self.read.updated(case.read).to_pairs(),
        }

    @property
    def read(self) -> io.ReadOptions:
        """As in training, but for what the user says otherwise."""
        return self.model.read.updated((self.options.read or io.ReadOptions()).to_pairs())

    def do(self, case: Case, done: int, total: int) -> CasePredicted | CaseFailed:
        """Predict and write one case, or say why not."""
        start = time.perf_counter()
        found: str | None = None
        try:
            found = input_digest(case)
            known = None if self.options.overwrite else self.ledger
            there = None if known is None else known.current(case.id, found, self.how(case))
            if there is not None:
                return _event(there, "current", done, total)
            record = self._predict(case, found, start)
        except MachineError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the disk, not the case: the next one would be computed in vain
            record = self._failed(case, found, str(error), start)
        except MedsegError as error:
            record = self._failed(case, found, str(error), start)
        except MemoryError:
            reason = "The memory does not suffice for this case. Close other programs, or crop the image."
            record = self._failed(case, found, reason, start)
        except Exception as error:  # noqa: BLE001  the one place of the batch where a defect must not take the others along
            _LOG.info("Case %s failed unexpectedly", case.id, exc_info=True)
            reason = f"A defect of medseg, please report it: {type(error).__name__}: {error}"
            record = self._failed(case, found, reason, start)
        if self.ledger is not None:
            self.ledger.add(record)
        if record.status == "failed":
            return CaseFailed(case.id, record.reason or "", done, total)
        return _event(record, "predicted", done, total)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.save()

    def _predict(self, case: Case, found: str, start: float) -> Record:
        volume = read_image(case, self.read, self.model.plan.channels)
        files = self._files(case, volume)
        for form, path in files:
            self.writer.check(form, path, volume)
        if self.predictor is None:
            self.predictor = self._load()
        said: Volume | None = None
        if self.options.probabilities:
            result, said = self.predictor.with_probabilities(volume)
        else:
            result = self.predictor(volume)
        outputs, notes = self._write(case, volume, result.labels, files)
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
            {name: round(ml, 6) for name, ml in result.volumes_ml.items()},
            tuple(as_given(note, self.given) for note in (*result.warnings, *notes)),
        )

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

    def _files(self, case: Case, volume: Volume) -> tuple[tuple[str, Path], ...]:
        """What is to be written: forms and names."""
        if self.single:
            return ((form_of(self.out, self.options.formats), self.out),)
        forms = self.options.formats or (default_format(volume.meta.kind, volume.geometry.shape),)
        return tuple((form, self.out / f"{case.id}{io.suffix_for(form)}") for form in dict.fromkeys(forms))

    def _write(
        self, case: Case, volume: Volume, labels: LabelMap, files: Sequence[tuple[str, Path]]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Write all that was asked for; the names, relative to the folder, and what could not be said."""
        written = [self.writer.write(form, path, labels) for form, path in files]
        paths = [path for forms, _ in written for path in forms]
        if self.options.preview:
            paths.append(self._beside(case, "_preview.png"))
            draw_preview(paths[-1], volume, labels, case.id)
        return tuple(path.name for path in paths), tuple(note for _, notes in written for note in notes)

    def _write_probabilities(self, case: Case, said: Volume) -> str:
        """As NIfTI whatever the masks are: it holds four axes, and grids that lean. Returns the name."""
        path = self._beside(case, "_probabilities.nii.gz")
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
            reason=as_given(reason, self.given),
        )


def _event(record: Record, status: str, done: int, total: int) -> CasePredicted:
    return CasePredicted(
        record.case, status, record.outputs, record.seconds, record.volumes_ml, done, total, record.warnings
    )


def _names_a_file(out: Path) -> bool:
    return not out.is_dir() and io.kind_of(out.name) is not None


def _check_request(paths: Sequence[Path], out: Path, options: PredictOptions) -> None:
    """Refuse what cannot be meant, before anything is read or written."""
    if not paths:
        raise UsageError("Nothing to predict: give a scan, or a folder of scans.")
    for path in paths:
        if not path.exists():
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
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out} is there already. Give another name, or say --overwrite.")
