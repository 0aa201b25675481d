"""The charts of a report: distributions over cases, agreement of volumes, NSD against tolerance, reliability.

Every chart is drawn from the rows and facts of an evaluation, so its numbers are those of the tables. A mark is a case
and has its name, as long as there are not too many: then only who stands out has one, and the others are dots.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluate.catalogue import Metric
from medseg.evaluate.engine import NSD_TOLERANCES_MM, Curve
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.score import Row
from medseg.evaluate.tables import number_of, title_of
from medseg.metrics import Description
from medseg.metrics.comparison import BlandAltman
from medseg.pages import charts, number
from medseg.pages.charts import Axis, Chart

__all__ = ["agreement", "distributions", "nsd_curves", "reliability"]

MOST_NAMED = 4000
"""Marks with a name on one page; beyond that only those that stand out have one."""

MOST_OUT = 40
"""Marks that stand out, a row."""

WIDTH = 640
_LEFT, _RIGHT, _TOP = 136, 20, 10
_ROW, _BOX = 46, 12
_GUTTER = 74
"""Where what counts as worst lies when the axis would be too long for it: distances, whose worst is a diagonal."""

_LANES = (0, 5, -5, 10, -10)
"""Pixels that marks step aside so as not to lie on each other."""

_SIDE_W, _SIDE_H = 420, 300
_SIDE = (56, 408, 250, 12)
"""The frame of small charts: left, right, foot, top."""

_ABSENT = frozenset({"missed", "false_alarm", "missing", "failed"})


@dataclass(frozen=True, slots=True)
class _Point:
    """A case on an axis; `at_worst` if its value is no measurement but what a status counts as, off the axis."""

    case: str
    value: float
    status: str
    at_worst: bool

    @property
    def is_absent(self) -> bool:
        return self.status in _ABSENT


def distributions(evaluation: Evaluation) -> Iterator[Chart]:
    """A chart a metric, a row a label: quartiles and mean of *all*, and every case."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in evaluation.rows:
        cells.setdefault((row.metric, row.label), []).append(row)
    named = sum(len(each) for each in cells.values()) <= MOST_NAMED
    for metric in evaluation.options.measured:
        by_label = {
            label: (_points(cells[metric.name, label], metric), figures[metric.name].everywhere)
            for label, figures in evaluation.summary.figures.items()
        }
        if any(len(points) > 1 for points, _ in by_label.values()):
            yield _distribution(metric, by_label, named=named)


def _points(rows: Sequence[Row], metric: Metric) -> list[_Point]:
    """The cases that count, those without a measurement at what they count as."""
    return [
        _Point(row.case, row.counted, row.status, row.value is None and metric.worst == "diagonal" and row.counted > 0)
        for row in rows
        if row.counted is not None
    ]


def _distribution(metric: Metric, by_label: Mapping[str, tuple[list[_Point], Description]], *, named: bool) -> Chart:
    everyone = [point for points, _ in by_label.values() for point in points]
    on_axis = [point.value for point in everyone if not point.at_worst] or [0.0]
    worst = any(point.at_worst for point in everyone)
    if not worst:
        on_axis += [end for _, about in by_label.values() for end in about.interval or ()]
    right = WIDTH - _RIGHT - (_GUTTER if worst else 0)
    axis = _axis(metric, on_axis, right)
    foot = _TOP + _ROW * len(by_label)
    parts = charts.scale(axis, foot, foot - _TOP)
    if worst:
        middle = right + _GUTTER / 2 + 8
        parts += [
            charts.line("gutter", right + 12, _TOP, right + 12, foot),
            charts.text(middle, foot + 16, "worst", "middle"),
        ]
    for n, (label, (points, about)) in enumerate(by_label.items()):
        top = _TOP + n * _ROW
        parts += [_label(label, top), *_box(axis, about, metric, top, label)]
        parts += _marks(axis, points, metric, top + 32, right + _GUTTER / 2 + 8, named=named)
    title = title_of(metric.name)
    summary = " ".join(_sentence(label, points, about, metric) for label, (points, about) in by_label.items())
    return Chart(title, summary, charts.picture(WIDTH, foot + 24, title, summary, parts, told=True))


def _axis(metric: Metric, values: Sequence[float], right: float) -> Axis:
    low, high = metric.bounds
    held = [*values, 0.0] if low != 0.0 or high is None else list(values)
    axis = Axis.around(held, _LEFT, right)
    # A share can be no more than 1, and an axis that says so would promise it.
    start = axis.low if low is None else max(axis.low, low)
    end = axis.high if high is None else min(axis.high, high)
    return Axis(start, end if end > start else start + 1.0, _LEFT, right)


def _label(label: str, top: float) -> str:
    shown = label if len(label) <= 15 else f"{label[:14]}…"
    return charts.text(_LEFT - 12, top + 20, shown, "end", "label")


def _box(axis: Axis, about: Description, metric: Metric, top: float, label: str) -> list[str]:
    """Quartiles as a box, the median as a line in it, the mean as a dot on its interval."""
    if about.quartiles is None or about.median is None or about.mean is None:
        return []

    def at(value: float) -> float:
        # What counts as worst may pull a quartile or a mean beyond the axis.
        return min(axis.at(value), axis.end + 8)

    y, (q1, q3) = top + 12, about.quartiles
    words = (
        f"{label}: median {number_of(about.median, metric.name)}, quartiles {number_of(q1, metric.name)} to "
        f"{number_of(q3, metric.name)}"
    )
    parts = [charts.box("quartiles", at(q1), y - _BOX / 2, at(q3), y + _BOX / 2, words)]
    parts.append(charts.line("median", at(about.median), y - _BOX / 2, at(about.median), y + _BOX / 2))
    if about.interval is not None:
        parts.append(charts.line("interval", at(about.interval[0]), y, at(about.interval[1]), y))
    if axis.at(about.mean) > axis.end:
        beyond = f"{label}: mean {number_of(about.mean, metric.name)}, beyond the axis"
        return [*parts, charts.box("mean", axis.end + 4, y - 4, axis.end + 8, y + 4, beyond)]
    return [*parts, charts.circle("mean", at(about.mean), y, 3)]


def _marks(axis: Axis, points: Sequence[_Point], metric: Metric, y: float, gutter: float, *, named: bool) -> list[str]:
    ordered = sorted(points, key=lambda point: (point.value, point.case))
    out = set() if named else _standing_out(ordered)
    places = list(zip(ordered, _beside([axis.at(p.value) if not p.at_worst else gutter for p in ordered]), strict=True))
    parts = []
    if not named:
        parts.append(charts.dots("dots", [(x, y + step) for p, (x, step) in places if p.case not in out]))
    for point, (x, step) in places:
        if named or point.case in out:
            shown = f"{point.case}: {number_of(point.value, metric.name)}"
            if point.is_absent:
                parts.append(charts.cross("absent", x, y + step, 3, f"{shown}, {point.status}"))
            elif point.status == "both_empty":
                parts.append(charts.circle("empty", x, y + step, 3, f"{shown}, both empty"))
            else:
                parts.append(charts.circle("case", x, y + step, 3, shown))
    return parts


def _standing_out(ordered: Sequence[_Point]) -> set[str]:
    """Cases beyond 1.5 box lengths of the box, and those without a measurement; the farthest of them."""
    values = np.array([point.value for point in ordered])
    q1, q2, q3 = np.quantile(values, (0.25, 0.5, 0.75))
    reach = 1.5 * (q3 - q1)
    out = [p for p in ordered if p.is_absent or not q1 - reach <= p.value <= q3 + reach]
    return {p.case for p in sorted(out, key=lambda p: -abs(p.value - q2))[:MOST_OUT]}


def _beside(xs: Sequence[float]) -> list[tuple[float, float]]:
    """For places in ascending order how far each steps aside, so that neighbours do not lie on each other."""
    last = dict.fromkeys(_LANES, -1e9)
    found = []
    for x in xs:
        step = next((each for each in _LANES if x - last[each] >= 6), min(_LANES, key=lambda each: last[each]))
        last[step] = x
        found.append((x, float(step)))
    return found


def _sentence(label: str, points: Sequence[_Point], about: Description, metric: Metric) -> str:
    if about.mean is None or about.median is None:
        return f"{label}: no value."
    n_absent = sum(point.is_absent for point in points)
    absent = f", {n_absent} missed, false or missing" if n_absent else ""
    mean, median = (number_of(each, metric.name) for each in (about.mean, about.median))
    return f"{label}: mean {mean}, median {median}, n {about.n}{absent}."


def agreement(evaluation: Evaluation) -> Iterator[Chart]:
    """A Bland–Altman chart of each label's volume."""
    named = evaluation.n_cases * len(evaluation.volumes) <= MOST_NAMED
    for label, limits in evaluation.volumes.items():
        pairs = evaluation.volume_pairs(label)
        if limits is not None and any(predicted or reference for _, predicted, reference in pairs):
            yield _bland_altman(label, pairs, limits, named=named)


def _bland_altman(label: str, pairs: Sequence[tuple[str, float, float]], limits: BlandAltman, *, named: bool) -> Chart:
    left, right, foot, top = _SIDE
    places = [(case, (predicted + reference) / 2, predicted - reference) for case, predicted, reference in pairs]
    ends = [limits.lower_interval[0], limits.upper_interval[1]]
    x = Axis.around([mean for _, mean, _ in places], left, right)
    y = Axis.around([0.0, *ends, *(difference for *_, difference in places)], foot, top)
    parts = [*charts.scale(x, foot, foot - top), *charts.scale(y, left, right - left)]
    parts.append(charts.line("zero", left, y.at(0), right, y.at(0)))
    for (low, high), value, kind in (
        (limits.bias_interval, limits.bias, "bias"),
        (limits.lower_interval, limits.limits[0], "limit"),
        (limits.upper_interval, limits.limits[1], "limit"),
    ):
        parts.append(charts.box(f"band {kind}-band", left, y.at(low), right, y.at(high)))
        parts.append(charts.line(kind, left, y.at(value), right, y.at(value)))
    lower, upper = limits.limits
    inside = [(x.at(mean), y.at(difference)) for _, mean, difference in places if lower <= difference <= upper]
    if not named:
        parts.append(charts.dots("dots", inside))
    for case, mean, difference in sorted(places, key=lambda place: place[1]):
        if named or not lower <= difference <= upper:
            parts.append(
                charts.circle(
                    "case", x.at(mean), y.at(difference), 3, f"{case}: {difference:+.3g} ml at {number(mean)} ml"
                )
            )
    parts += _titles("mean of prediction and reference [ml]", "prediction − reference [ml]")
    title = f"{label}: volume"
    summary = _of_limits(limits)
    return Chart(title, summary, charts.picture(_SIDE_W, _SIDE_H, title, summary, parts, told=True))


def _of_limits(limits: BlandAltman) -> str:
    said = (
        f"n {limits.n}. Bias {limits.bias:+.3g} ml ({_ends(limits.bias_interval)}); limits of agreement "
        f"{limits.limits[0]:+.3g} ml ({_ends(limits.lower_interval)}) to {limits.limits[1]:+.3g} ml "
        f"({_ends(limits.upper_interval)})."
    )
    if limits.slope_p is not None and limits.slope_p < 0.05:
        said += f" The difference grows with the size (slope {limits.slope:+.2g}, p {_p(limits.slope_p)})"
        ratio = limits.ratio_limits
        said += (
            "."
            if ratio is None
            else f": as a ratio, 95 % of predictions are {ratio[0]:.2f} to {ratio[1]:.2f} of the reference."
        )
    return said


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.3g} to {interval[1]:+.3g}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def nsd_curves(evaluation: Evaluation) -> Iterator[Chart]:
    """NSD against tolerance: mean and quartiles over the cases in which both sides have the label."""
    left, right, foot, top = _SIDE
    for label in evaluation.summary.figures:
        curves = [
            facts.nsd_curves[facts.own_name(label)]
            for facts in evaluation.facts
            if facts.annotates(label) and facts.own_name(label) in facts.nsd_curves
        ]
        if not curves:
            continue
        table = np.array(curves)
        mean, (q1, q3) = table.mean(axis=0), np.quantile(table, (0.25, 0.75), axis=0)
        used = evaluation.options.tolerance_of(label)
        # Where nearly every boundary is within the tolerance the curve has told its story.
        full = next((mm for mm, value in zip(NSD_TOLERANCES_MM, q1, strict=True) if value >= 0.99), 10.0)
        n = next(n for n, mm in enumerate(NSD_TOLERANCES_MM, 1) if mm >= min(10.0, max(3.0, full, 1.5 * used)))
        shown, mean, q1, q3 = NSD_TOLERANCES_MM[:n], mean[:n], q1[:n], q3[:n]
        x, y = Axis(0.0, shown[-1], left, right), Axis(0.0, 1.0, foot, top)
        up = [(x.at(mm), y.at(float(value))) for mm, value in zip(shown, q3, strict=True)]
        down = [(x.at(mm), y.at(float(value))) for mm, value in zip(shown, q1, strict=True)]
        parts = [*charts.scale(x, foot, foot - top), *charts.scale(y, left, right - left)]
        parts.append(charts.path("band", [*up, *reversed(down)]))
        parts.append(charts.polyline("curve", [(x.at(mm), y.at(float(v))) for mm, v in zip(shown, mean, strict=True)]))
        if used <= x.high:
            parts.append(charts.line("used", x.at(used), foot, x.at(used), top))
        for mm, value, low, high in zip(shown, mean, q1, q3, strict=True):
            words = f"{mm:g} mm: mean {value:.3f}, quartiles {low:.3f} to {high:.3f}"
            parts.append(charts.circle("case", x.at(mm), y.at(float(value)), 3, words))
        parts += _titles("tolerance [mm]", "NSD")
        at_used = float(np.interp(used, shown, mean))
        reached = next((f"{mm:g} mm" for mm, value in zip(shown, mean, strict=True) if value >= 0.95), None)
        summary = (
            f"{_n_cases(len(curves))} in which both sides have the label: mean (line) and quartiles (band). "
            f"{at_used:.3f} at the tolerance used, {used:g} mm (dashed); "
            f"{'0.95 is not reached by 10 mm' if reached is None else f'at least 0.95 from {reached} on'}."
        )
        title = f"{label}: NSD against tolerance"
        yield Chart(title, summary, charts.picture(_SIDE_W, _SIDE_H, title, summary, parts, told=True))


def reliability(evaluation: Evaluation) -> Iterator[Chart]:
    """What was said against what was true, the voxels of all cases together."""
    for label, figures in evaluation.summary.figures.items():
        curves = [
            facts.curves[facts.own_name(label)]
            for facts in evaluation.facts
            if facts.annotates(label) and facts.own_name(label) in facts.curves
        ]
        if curves:
            ece = figures["ece"].everywhere.mean if "ece" in figures else None
            yield _reliability(label, curves, ece)


def _reliability(label: str, curves: Sequence[Curve], ece: float | None) -> Chart:
    left, right, foot, top = _SIDE
    counts = np.array([curve.counts for curve in curves], np.float64)
    said, true = (
        np.array([[value or 0.0 for value in side] for side in sides])
        for sides in ([curve.said for curve in curves], [curve.true for curve in curves])
    )
    n = counts.sum(axis=0)
    bins = [
        (float((said * counts)[:, b].sum() / n[b]), float((true * counts)[:, b].sum() / n[b]), float(n[b] / n.sum()))
        for b in range(n.size)
        if n[b]
    ]
    x, y = Axis(0.0, 1.0, left, right), Axis(0.0, 1.0, foot, top)
    parts = [*charts.scale(x, foot, foot - top), *charts.scale(y, left, right - left)]
    parts.append(charts.line("used", x.at(0), y.at(0), x.at(1), y.at(1)))
    parts.append(charts.polyline("curve", [(x.at(a), y.at(b)) for a, b, _ in bins]))
    for a, b, share in bins:
        words = f"said {a:.3f}, true {b:.3f}, {100 * share:.2g} % of the voxels"
        parts.append(charts.circle("case", x.at(a), y.at(b), 2 + 6 * share**0.5, words))
    parts += _titles("probability said", "share that was true")
    steps = [(b - a) for a, b, _ in bins]
    lean = sum((b - a) * share for a, b, share in bins)
    word = "too low" if lean > 0 else "too high"
    summary = (
        f"All voxels of {_n_cases(len(curves))}; dots grow with their share. "
        + (f"Mean ECE of the cases {ece:.3f}. " if ece is not None else "")
        + (f"On the whole probabilities are {word} by {abs(lean):.3f}." if max(map(abs, steps)) > 0 else "")
    )
    title = f"{label}: reliability"
    return Chart(title, summary, charts.picture(_SIDE_W, _SIDE_H, title, summary, parts, told=True))


def _n_cases(n: int) -> str:
    return f"{n} case{'' if n == 1 else 's'}"


def _titles(across: str, up: str) -> list[str]:
    left, right, foot, top = _SIDE
    middle = (foot + top) / 2
    return [
        charts.text((left + right) / 2, foot + 38, across, "middle"),
        f'<g transform="rotate(-90 14 {middle:g})">{charts.text(14, middle, up, "middle")}</g>',
    ]
