"""An inspection as one page that needs nothing but itself: findings first, then pictures, then what the data are like.

The template beside this module holds the words; here is what goes into it. Looks are those of all pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.inspect.charts import chart_of
from medseg.inspect.findings import SEVERITIES, Finding, Kind
from medseg.inspect.overview import Overview, intensities
from medseg.inspect.pictures import picture_of
from medseg.inspect.report import CaseReport, Slice
from medseg.pages import number
from medseg.pages import render as rendered
from medseg.pages.charts import Chart
from medseg.pages.pictures import Picture

__all__ = ["render"]

MOST_PICTURES = 48
"""On one page; findings beyond them are in the table."""

MOST_CASES_A_FINDING = 4
"""Cases that a finding on many is shown by."""

MOST_LABELS = 60
"""Labels with a chart and a column each."""

MOST_COLUMNS = 8
"""Labels with a column in the table of cases; of more their charts tell."""

_WITHOUT_PICTURE: frozenset[Kind] = frozenset({"types", "label_types", "placement", "groups", "neighbours", "padding"})
"""Nothing can be seen of these."""

_AXES = ("right", "front", "head")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A finding with the pictures that show it: case, pictures."""

    finding: Finding
    anchor: str
    pictures: tuple[tuple[str, tuple[Picture, ...]], ...]
    more: int


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of the table of cases: what is read, and what it is sorted by."""

    text: str
    key: float | str


def render(inspection: Overview) -> str:
    """The page, whole."""
    columns, rows = _table(inspection)
    shown = list(_shown(inspection))
    return rendered(
        "medseg.inspect",
        "page.html",
        inspection=inspection,
        severities=SEVERITIES,
        shown=shown,
        anchors={id(each.finding): each.anchor for each in shown},
        identity=id,
        charts=list(_charts(inspection)),
        columns=columns,
        rows=rows,
    )


def _shown(inspection: Overview) -> Iterator[_Shown]:
    """Findings that something can be seen of, as long as there is room."""
    reports = {report.case: report for report in inspection.reports}
    left = MOST_PICTURES
    for place, finding in enumerate(inspection.findings, start=1):
        if finding.kind in _WITHOUT_PICTURE or not finding.cases or left <= 0:
            continue
        pictures = []
        for case in finding.cases[: min(MOST_CASES_A_FINDING, left)]:
            slices = _slices(reports[case], finding.kind) if case in reports else ()
            if slices:
                pictures.append((case, tuple(picture_of(each, case) for each in slices)))
        left -= len(pictures)
        if pictures:
            yield _Shown(finding, f"finding-{place}", tuple(pictures), len(finding.cases) - len(pictures))


def _slices(report: CaseReport, kind: Kind) -> tuple[Slice, ...]:
    """The slices that show a finding: its own, else the one with most labels."""
    if kind in report.close_ups:
        return report.close_ups[kind]
    return () if report.glance is None else (report.glance,)


def _charts(inspection: Overview) -> Iterator[tuple[str, list[Chart]]]:
    """Groups of charts under their headings; a group without any is left out."""
    reports = [report for report in inspection.reports if report.facts is not None]
    if not reports:
        return
    groups = [
        ("Spacing", list(_spacings(inspection, reports))),
        ("Size", list(_sizes(inspection, reports))),
        ("Intensities", list(_intensities(inspection, reports))),
        ("Volume of labels", list(_volumes(inspection, reports))),
    ]
    yield from ((heading, charts) for heading, charts in groups if charts)


def _standing_out(inspection: Overview, kind: Kind, of: str = "") -> set[str]:
    found = (each for each in inspection.findings if each.kind == kind and each.text.startswith(of))
    return {case for finding in found for case in finding.cases}


def _spacings(inspection: Overview, reports: Sequence[CaseReport]) -> Iterator[Chart]:
    placed = [report for report in reports if report.facts and report.facts.grid.placed]
    out, cases = _standing_out(inspection, "spacing"), [report.case for report in placed]
    for axis, name in enumerate(_AXES if placed else ()):
        values = [report.facts.grid.spacing_mm[axis] for report in placed if report.facts]
        yield chart_of(f"Spacing towards {name} [mm]", values, cases, out)


def _sizes(inspection: Overview, reports: Sequence[CaseReport]) -> Iterator[Chart]:
    out, cases = _standing_out(inspection, "size"), [report.case for report in reports]
    for axis, name in enumerate(_AXES):
        values = [report.facts.grid.shape[axis] for report in reports if report.facts]
        yield chart_of(f"Size towards {name} [voxels]", values, cases, out)


def _intensities(inspection: Overview, reports: Sequence[CaseReport]) -> Iterator[Chart]:
    for channel in inspection.channels:
        out = _standing_out(inspection, "intensity", channel) | _standing_out(inspection, "intensity_scales", channel)
        known = [(report.case, intensities(report, inspection.channels).get(channel)) for report in reports]
        having = [(case, values) for case, values in known if values is not None]
        cases = [case for case, _ in having]
        for place, name in ((1, "median"), (2, "99.5th percentile")):
            values = [percentiles[place] for _, percentiles in having]
            yield chart_of(f"{channel}: {name} of the whole image", values, cases, out)


def _volumes(inspection: Overview, reports: Sequence[CaseReport]) -> Iterator[Chart]:
    is_placed = all(report.facts.grid.placed for report in reports if report.facts)
    unit, scale = ("ml", 1.0) if is_placed else ("voxels", 1000.0)
    for name in inspection.label_names[:MOST_LABELS]:
        having = [report for report in reports if name in report.marks]
        values = [scale * report.marks[name].volume_ml for report in having]
        out = _standing_out(inspection, "volume", name)
        chart = chart_of(f"{name} [{unit}]", values, [report.case for report in having], out)
        n_labelled = sum(report.role == "labelled" for report in reports)
        if values and len(having) < n_labelled:
            summary = f"{chart.summary} In {len(having)} of {n_labelled} cases."
            chart = Chart(chart.title, summary, chart.svg)
        yield chart


def _table(inspection: Overview) -> tuple[list[str], list[list[_Cell]]]:
    """The heads and rows of the table of cases."""
    names = inspection.label_names if len(inspection.label_names) <= MOST_COLUMNS else ()
    columns = ["Case", "Role", "Findings", "Size [voxels]", "Spacing [mm]", "Axes", "Type"]
    columns += [f"{channel}: median" for channel in inspection.channels]
    columns += [f"{channel}: 99.5 %" for channel in inspection.channels]
    columns += [f"{name} [ml]" for name in names]
    counts: dict[str, int] = {}
    for finding in inspection.findings:
        for case in finding.cases if finding.severity != "note" else ():
            counts[case] = counts.get(case, 0) + 1
    return columns, [
        _row(report, inspection.channels, names, counts.get(report.case, 0)) for report in inspection.reports
    ]


def _row(report: CaseReport, channels: tuple[str, ...], names: Sequence[str], n_findings: int) -> list[_Cell]:
    facts = report.facts
    cells = [_Cell(report.case, report.case), _Cell(report.role, report.role), _Cell(str(n_findings), n_findings)]
    if facts is None:
        return [
            *cells,
            _Cell("could not be read", 0),
            *(_Cell("", 0) for _ in range(3 + 2 * len(channels) + len(names))),
        ]
    shape, spacing = facts.grid.shape, facts.grid.spacing_mm
    cells += [
        _Cell(" × ".join(map(str, shape)), float(np.prod(shape))),
        _Cell(" × ".join(f"{mm:.3g}" for mm in spacing) if facts.grid.placed else "", float(np.prod(spacing))),
        _Cell(facts.grid.orientation if facts.grid.placed else "", facts.grid.orientation),
        _Cell(report.dtype, report.dtype),
    ]
    known = intensities(report, channels)
    for place in (1, 2):
        values = [known[channel][place] if channel in known else None for channel in channels]
        cells += [_Cell("" if value is None else number(value), value or 0) for value in values]
    volumes = [report.marks[name].volume_ml if name in report.marks else 0.0 for name in names]
    return [*cells, *(_Cell(number(volume), volume) for volume in volumes)]
