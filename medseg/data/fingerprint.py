"""What a data set is like, measured: sizes, spacings, intensities and labels, as one frozen value.

Each case is read once, checked, reduced to `CaseFacts` and forgotten; `combine` makes the `Fingerprint` of them, from
which the plan follows. Shapes and spacings are those of the closest canonical (RAS) axis order, in voxels and mm; of
the upright grid around it, where it leans (gantry tilt).
Intensities are pooled over cases from seeded samples, so that no case is held and equal data give equal fingerprints,
in any order.
"""

import re
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medseg import io
from medseg.core.errors import InputError
from medseg.core.events import CaseFailed, CaseRead, Event, Noted, Warned
from medseg.core.geometry import Voxels
from medseg.core.given import as_given
from medseg.core.labels import Labels, folded, translated, union
from medseg.core.shear import straightening
from medseg.core.volume import LabelMap, Volume
from medseg.data.cases import read_case
from medseg.data.checks import constant_channels, count_values, refuse_images
from medseg.data.contrast import Flattened, flattened
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key, resolve_labels

__all__ = [
    "FINGERPRINT_SCHEMA",
    "STRIPPED_SHARE",
    "CaseFacts",
    "CaseGrid",
    "ChannelFacts",
    "ChannelSample",
    "Conclusion",
    "Fingerprint",
    "LabelFacts",
    "Measured",
    "combine",
    "conclude",
    "flattened_channels",
    "measure",
    "measure_case",
    "own_grid_notes",
    "samples_a_case",
]

FINGERPRINT_SCHEMA: Final = "medseg/fingerprint/1"

SAMPLES_A_CASE = 10_000
"""Voxels sampled of a case, inside the foreground and over the whole image each."""

LEAST_SAMPLES_A_CASE = 100
SAMPLES_IN_ALL = 4_000_000
"""Large data sets take fewer of each case: this many of a channel are held at once."""

STRIPPED_SHARE = 0.25
"""Images of which more voxels are exactly 0 are stripped (of the skull, of the table): statistics leave those out."""

FINER = 2
"""A further channel whose voxels are so many times smaller than the first one's loses detail worth a word."""

_PERCENTILES = (0.5, 50, 99.5)

_AIR_HU = (-4_100, -900)
"""The smallest value of a CT lies here: air is -1000, and what the scanner did not see is padded with -1024 … -3024."""

_DENSE_HU = (200, 32_767)
"""The largest value of a CT lies here: bone from about 300, metal up to what 16 bits hold."""

_CT_NAMES = frozenset({"ct", "cta", "cbct", "hu"})
_OTHER_NAMES = frozenset(
    {"mr", "mri", "t1", "t1w", "t1c", "t1ce", "t2", "t2w", "t2star", "flair", "pd", "dwi", "adc", "swi"}
)
_OTHER_NAMES |= {"pet", "pt", "suv", "us", "ultrasound", "red", "green", "blue"}
"""Words of channel names that settle what the intensities are."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CaseGrid(_Facts):
    """The grid of a case in canonical (RAS) axis order, how its file is oriented, and its size in memory (float32)."""

    case: str
    shape: Voxels
    spacing_mm: tuple[float, float, float]
    orientation: str
    placed: bool
    memory_mib: float


class ChannelFacts(_Facts):
    """Intensities of one channel: inside the foreground of all cases, and (`whole_…`) over the whole images.

    `low`, `median`, `high` are the percentiles 0.5, 50 and 99.5; `zero_share` is the mean share of voxels that are
    exactly 0; `is_ct` says whether the numbers look like Hounsfield units, and `ct_reason` why; `n_own_grid` is the
    number of cases in which the channel has a grid of its own and was brought to that of the first channel.
    """

    name: str
    low: float
    median: float
    high: float
    mean: float
    sd: float
    whole_low: float
    whole_median: float
    whole_high: float
    whole_mean: float
    whole_sd: float
    zero_share: float
    is_ct: bool
    ct_reason: str
    n_own_grid: int = 0


class LabelFacts(_Facts):
    """One label or region: in how many cases it occurs, its volume where it does, its share of all annotated voxels."""

    name: str
    values: tuple[int, ...]
    n_cases: int
    smallest_ml: float
    median_ml: float
    largest_ml: float
    frequency: float


class Fingerprint(_Facts):
    """What a data set is like. Frozen, comparable, and the same after a round trip through JSON."""

    schema_: Literal["medseg/fingerprint/1"] = Field(default=FINGERPRINT_SCHEMA, alias="schema")
    cases: tuple[CaseGrid, ...] = Field(min_length=1)
    median_shape: Voxels
    median_spacing_mm: tuple[float, float, float]
    placed: bool
    """Whether the grids lie in space in mm (most of them do); else a "mm" is a pixel."""
    channels: tuple[ChannelFacts, ...] = Field(min_length=1)
    labels: tuple[LabelFacts, ...] = Field(min_length=1)

    @property
    def n_cases(self) -> int:
        return len(self.cases)

    @property
    def anisotropy(self) -> float:
        """The largest median spacing over the smallest."""
        return max(self.median_spacing_mm) / min(self.median_spacing_mm)

    @property
    def median_label_ml(self) -> dict[str, float]:
        """The median volume of each label in the cases that have it; labels that never occur are left out."""
        return {label.name: label.median_ml for label in self.labels if label.n_cases}

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, eq=False)
class ChannelSample:
    """Intensities of one channel of one case: float32 samples, and facts on all of its voxels."""

    foreground: NDArray[np.float32]
    whole: NDArray[np.float32]
    zero_share: float
    smallest: float
    largest: float


@dataclass(frozen=True, eq=False)
class CaseFacts:
    """What is kept of a case: its grid, voxels a label value, the volume of a voxel, samples of each channel.

    `labels` says what the values of `counts` mean in this case, where its label map has names. `own_spacings_mm` has
    the spacing (along canonical axes) of each channel that was brought to the grid of the first, by its number.
    """

    grid: CaseGrid
    counts: Mapping[int, int]
    voxel_ml: float
    channels: tuple[ChannelSample, ...]
    labels: Labels | None = None
    own_spacings_mm: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What `measure` returns: the fingerprint of the good cases, the labels (found if undeclared), the bad cases.

    `counts` are the voxels of each value by case, numbered as `labels` are; `flattened` says by channel which cases a
    z-score would leave without contrast.
    """

    fingerprint: Fingerprint
    labels: Labels
    bad: tuple[BadCase, ...]
    counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    flattened: Mapping[str, Mapping[str, Flattened]] = field(default_factory=dict)


@dataclass(frozen=True)
class Conclusion:
    """What follows from the facts of all cases: the fingerprint, the labels, notes, and the counts of `Measured`."""

    fingerprint: Fingerprint
    labels: Labels
    notes: tuple[str, ...]
    counts: Mapping[str, Mapping[int, int]]


def measure(
    dataset: Dataset, options: io.ReadOptions, labels: Labels | None = None, seed: int = 0
) -> Generator[Event, None, Measured]:
    """Read and check every case once: an event for each, all bad ones before an hour is spent.

    A case that cannot be used is a `CaseFailed` and is in `Measured.bad`; the others go on.

    Args:
        dataset: Its `cases` are read; its `problems` are bad to begin with.
        options: How files are read.
        labels: What the values mean, instead of `dataset.labels`.
        seed: Which voxels are sampled.

    Raises:
        InputError: No case can be used, or no label map holds a label.
    """
    labels = labels or dataset.labels
    facts, bad = yield from _read_all(dataset, labels, options, seed)
    if not facts:
        reason = f" The first is {bad[0].id}: {bad[0].reason}" if bad else ""
        raise InputError(f"None of the {len(bad)} cases of {dataset.root} can be used.{reason}")
    concluded = conclude(facts, dataset, labels)
    yield from (Noted(note) for note in own_grid_notes(facts, dataset.channels).values())
    yield from (Warned(note) for note in concluded.notes)
    flat = flattened_channels(facts, dataset.channels)
    return Measured(concluded.fingerprint, concluded.labels, bad, concluded.counts, flat)


def conclude(facts: Sequence[CaseFacts], dataset: Dataset, labels: Labels | None) -> Conclusion:
    """The fingerprint of the facts of a data set's cases, its labels (found if undeclared), and what to say of them.

    Raises:
        InputError: No label map holds a label, or some name their structures and others do not.
    """
    notes: tuple[str, ...] = ()
    if labels is None:
        facts, labels, notes = _in_one_numbering(facts, dataset)
    fingerprint = combine(facts, labels, dataset.channels)
    absent = [label.name for label in fingerprint.labels if not label.n_cases]
    if absent:
        which = "1 label is" if len(absent) == 1 else f"{len(absent)} labels are"
        it = "occurs" if len(absent) == 1 else "occur"
        notes = (*notes, f"{which} declared but {it} in no case: {listed(absent)}.")
    return Conclusion(fingerprint, labels, notes, {each.grid.case: each.counts for each in facts})


def flattened_channels(facts: Sequence[CaseFacts], channels: Sequence[str]) -> dict[str, dict[str, Flattened]]:
    """By channel, the cases that a z-score leaves without contrast, and what squeezes them."""
    found: dict[str, dict[str, Flattened]] = {}
    for each in facts:
        n_voxels = sum(each.counts.values())
        for name, channel in zip(channels, each.channels, strict=False):
            nonzero = channel.zero_share > STRIPPED_SHARE
            squeezed = flattened(channel.whole, channel.smallest, channel.largest, n_voxels, nonzero)
            if squeezed is not None:
                found.setdefault(name, {})[each.grid.case] = squeezed
    return found


def own_grid_notes(facts: Sequence[CaseFacts], channels: Sequence[str]) -> dict[str, str]:
    """By channel, a sentence where it has a grid of its own in some cases, with the figures of the first of them."""
    notes = {}
    for number, name in enumerate(channels):
        having = sorted((each for each in facts if number in each.own_spacings_mm), key=lambda each: each.grid.case)
        if having:
            own, grid = having[0].own_spacings_mm[number], having[0].grid
            notes[name] = (
                f"{name} has a grid of its own in {len(having)} of {len(facts)} cases (in {grid.case} voxels of "
                f"{_sides(own)} mm, where {channels[0]} has {_sides(grid.spacing_mm)} mm). It is brought to the "
                f"grid of {channels[0]} by linear interpolation, in training and prediction; outside of its field of "
                "view it has its smallest value."
            )
            times = prod(grid.spacing_mm) / prod(own)
            if times >= FINER:
                notes[name] += (
                    f" Its voxels are {times:.2g} times smaller, and what is so fine is lost: make {name} the first "
                    "channel to keep it, if the label maps lie on its grid."
                )
    return notes


def _sides(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{mm:.3g}" for mm in spacing_mm)


def samples_a_case(n_cases: int) -> int:
    """How many voxels of each case are sampled in a data set of so many."""
    return min(SAMPLES_A_CASE, max(LEAST_SAMPLES_A_CASE, SAMPLES_IN_ALL // max(1, n_cases)))


def measure_case(
    case: str,
    image: Volume,
    label_map: LabelMap,
    ignore: int | None = None,
    n_samples: int = SAMPLES_A_CASE,
    seed: int = 0,
) -> CaseFacts:
    """What is kept of one case; image and label map lie on one grid.

    The samples depend on the id, the seed and the voxels alone, not on the order in which cases come.
    """
    grid = image.geometry.reorient(image.geometry.to_canonical)
    way = straightening(grid)
    grid = grid if way is None else way.grid  # what a plan is made for is always at right angles
    rng = np.random.default_rng([seed, zlib.crc32(case.encode())])
    labelled = label_map.array != 0
    if ignore is not None:
        labelled &= label_map.array != ignore
    foreground = _sampled(np.flatnonzero(labelled), n_samples, rng)
    whole = _sampled(labelled.size, n_samples, rng)
    n_bytes = image.array[0].size * (image.n_channels * np.dtype(np.float32).itemsize + label_map.array.itemsize)
    return CaseFacts(
        CaseGrid(
            case=case,
            shape=grid.shape,
            spacing_mm=grid.spacing_mm,
            orientation=image.geometry.orientation,
            placed=image.meta.placed,
            memory_mib=n_bytes / 2**20,
        ),
        count_values(label_map.array),
        image.geometry.voxel_volume_ml,
        tuple(_channel_sample(channel, foreground, whole) for channel in image.array),
        label_map.labels,
        {number: own.reorient(own.to_canonical).spacing_mm for number, own in image.meta.own_grids.items()},
    )


def combine(facts: Sequence[CaseFacts], labels: Labels, channels: Sequence[str]) -> Fingerprint:
    """The fingerprint of a data set from the facts of its cases, in whatever order they come.

    Raises:
        InputError: No case has a voxel of any label.
    """
    facts = sorted(facts, key=lambda each: natural_key(each.grid.case))
    grids = tuple(each.grid for each in facts)
    if not any(value in each.counts for each in facts for value in labels.classes[1:]):
        raise InputError(
            f"None of the {len(facts)} label maps holds a voxel of {listed(labels.names)}; there is nothing to learn."
        )
    i, j, k = (int(n) for n in np.median([grid.shape for grid in grids], axis=0))
    x, y, z = (float(mm) for mm in np.median([grid.spacing_mm for grid in grids], axis=0))
    return Fingerprint(
        cases=grids,
        median_shape=(i, j, k),
        median_spacing_mm=(x, y, z),
        placed=2 * sum(grid.placed for grid in grids) > len(grids),
        channels=tuple(
            _channel_facts(
                name,
                [each.channels[number] for each in facts],
                sum(number in each.own_spacings_mm for each in facts),
            )
            for number, name in enumerate(channels)
        ),
        labels=tuple(_label_facts(name, values, facts, labels.ignore) for name, values in labels.values.items()),
    )


def _read_all(
    dataset: Dataset, labels: Labels | None, options: io.ReadOptions, seed: int
) -> Generator[Event, None, tuple[list[CaseFacts], tuple[BadCase, ...]]]:
    total = len(dataset.problems) + len(dataset.cases)
    for done, problem in enumerate(dataset.problems, start=1):
        yield CaseFailed(problem.id, problem.reason, done, total)
    n_samples = samples_a_case(total)
    ignore = labels.ignore if labels else None
    facts: list[CaseFacts] = []
    bad = list(dataset.problems)
    said: set[str] = set()
    for done, case in enumerate(dataset.cases, start=len(dataset.problems) + 1):
        try:
            image, label_map, notes = _read(case, labels, dataset.channels, options)
        except InputError as error:
            reason = as_given(str(error), dataset.root)
            bad.append(BadCase(case.id, reason, case.images))
            yield CaseFailed(case.id, reason, done, total)
            continue
        facts.append(measure_case(case.id, image, label_map, ignore, n_samples, seed))
        yield from (Warned(as_given(note, dataset.root), case.id) for note in notes if note not in said)
        said.update(notes)
        yield CaseRead(case.id, done, total, "checking")
    return facts, tuple(bad)


def _read(
    case: Case, labels: Labels | None, channels: Sequence[str], options: io.ReadOptions
) -> tuple[Volume, LabelMap, tuple[str, ...]]:
    image, label_map, notes = read_case(case, labels, options, channels)
    refuse_images(label_map, labels, f"Case {case.id}: the label map")
    if image.n_channels != len(channels):
        raise InputError(
            f"Case {case.id} has {image.n_channels} channels, but the data set has {len(channels)} "
            f"({', '.join(channels)}). Correct the case, or the names of the channels."
        )
    blank = [channels[number] for number in constant_channels(image)]
    if blank:
        notes = (*notes, f"Channel {listed(blank)} has one value everywhere: nothing can be seen in it.")
    return image, label_map, notes


def _in_one_numbering(facts: Sequence[CaseFacts], dataset: Dataset) -> tuple[list[CaseFacts], Labels, tuple[str, ...]]:
    """The facts with their counts by values that mean the same in all cases, what those mean, and what to say of it.

    Raises:
        InputError: The maps of some cases name their structures and those of others do not.
    """
    own = {each.grid.case: each.labels for each in facts}
    nameless = [case for case, labels in own.items() if labels is None]
    if len(nameless) == len(facts):
        labels, notes = resolve_labels(dataset, {value for each in facts for value in each.counts})
        return list(facts), labels, notes
    labels = union(each for each in own.values() if each is not None)
    if nameless:
        example = '", "'.join(labels.names[:3])
        raise InputError(
            f"{len(own) - len(nameless)} label maps name their structures ({listed(labels.names)}) and "
            f"{len(nameless)} hold numbers only ({listed(nameless)}). Say what the numbers mean: "
            f"--set 'data.labels={{\"{example}\": VALUE}}', or a table with a column label_NAME for each structure."
        )
    renumbered = []
    for each in facts:
        values = list(each.counts)
        new = translated(np.array(values), each.labels or labels, labels).tolist()
        renumbered.append(replace(each, counts=dict(zip(new, each.counts.values(), strict=True)), labels=labels))
    return renumbered, labels, _partly_named(labels, [names for names in own.values() if names is not None])


def _partly_named(labels: Labels, own: Sequence[Labels]) -> tuple[str, ...]:
    """The note on structures that some label maps do not name: there they are taken to be absent."""
    names = [{folded(name) for name in each.names} for each in own]
    n_with = {name: sum(folded(name) in each for each in names) for name in labels.names}
    partly = [f"{name} ({n})" for name, n in n_with.items() if n < len(own)]
    if not partly:
        return ()
    return (
        f"Of {len(own)} label maps, not all name the same structures: {listed(partly, 12)}. Where a structure is not "
        "named it counts as absent. A table with label_NAME columns makes one of names that differ.",
    )


def _sampled(of: NDArray[np.intp] | int, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most `n` of some flat positions (or of range(of)), each at most once, in the order of memory."""
    size = of if isinstance(of, int) else of.size
    chosen = np.arange(size) if size <= n else rng.choice(size, n, replace=False, shuffle=False)
    return np.sort(chosen if isinstance(of, int) else of[chosen])


def _channel_sample(
    channel: NDArray[np.generic], foreground: NDArray[np.intp], whole: NDArray[np.intp]
) -> ChannelSample:
    def values(positions: NDArray[np.intp]) -> NDArray[np.float32]:
        # Not channel.ravel(): files are in Fortran order, and it would copy the whole image.
        return channel[np.unravel_index(positions, channel.shape)].astype(np.float32)

    return ChannelSample(
        foreground=values(foreground),
        whole=values(whole),
        zero_share=1 - np.count_nonzero(channel) / channel.size,
        smallest=float(channel.min()),
        largest=float(channel.max()),
    )


def _channel_facts(name: str, samples: Sequence[ChannelSample], n_own_grid: int) -> ChannelFacts:
    inside = np.concatenate([sample.foreground for sample in samples]).astype(np.float64)
    whole = np.concatenate([sample.whole for sample in samples]).astype(np.float64)
    low, median, high = (float(v) for v in np.percentile(inside, _PERCENTILES))
    whole_low, whole_median, whole_high = (float(v) for v in np.percentile(whole, _PERCENTILES))
    is_ct, ct_reason = _looks_like_ct(name, samples)
    return ChannelFacts(
        name=name,
        low=low,
        median=median,
        high=high,
        mean=float(inside.mean()),
        sd=float(inside.std()),
        whole_low=whole_low,
        whole_median=whole_median,
        whole_high=whole_high,
        whole_mean=float(whole.mean()),
        whole_sd=float(whole.std()),
        zero_share=float(np.mean([sample.zero_share for sample in samples])),
        is_ct=is_ct,
        ct_reason=ct_reason,
        n_own_grid=n_own_grid,
    )


def _looks_like_ct(name: str, samples: Sequence[ChannelSample]) -> tuple[bool, str]:
    """Whether intensities look like Hounsfield units, and why: by the channel's name, else by the numbers."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & _CT_NAMES:
        return True, f"the channel is called {name}"
    if words & _OTHER_NAMES:
        return False, f"the channel is called {name}"
    low = float(np.median([sample.smallest for sample in samples]))
    high = float(np.median([sample.largest for sample in samples]))
    whole_numbers = all(np.array_equal(sample.whole, np.rint(sample.whole)) for sample in samples)
    kind = "whole numbers" if whole_numbers else "numbers with fractions"
    is_ct = whole_numbers and _AIR_HU[0] <= low <= _AIR_HU[1] and _DENSE_HU[0] <= high <= _DENSE_HU[1]
    return is_ct, f"{kind} from {low:g} to {high:g} in the median case {'are' if is_ct else 'are not'} those of CT"


def _label_facts(name: str, values: tuple[int, ...], facts: Sequence[CaseFacts], ignore: int | None) -> LabelFacts:
    counts = [sum(each.counts.get(value, 0) for value in values) for each in facts]
    volumes_ml = [count * each.voxel_ml for count, each in zip(counts, facts, strict=True) if count]
    n_voxels = sum(n for each in facts for value, n in each.counts.items() if value != ignore)
    return LabelFacts(
        name=name,
        values=values,
        n_cases=len(volumes_ml),
        smallest_ml=min(volumes_ml, default=0.0),
        median_ml=float(np.median(volumes_ml)) if volumes_ml else 0.0,
        largest_ml=max(volumes_ml, default=0.0),
        frequency=sum(counts) / max(1, n_voxels),
    )
