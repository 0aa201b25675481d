"""The page says what the evaluation says: every case, every number, charts and pictures where they belong."""

import json
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise

import numpy as np
import pytest

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from medseg.evaluate import EvaluateOptions, compare, evaluate, run_pairs, write_results
from medseg.evaluate.catalogue import METRICS, metric_of
from medseg.evaluate.compare import run_of
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.pairs import Pair, read_table, references
from medseg.evaluate.report import definitions, plots, render
from medseg.evaluate.report.closeups import PREDICTION_COLOUR, REFERENCE_COLOUR, chosen, close_ups
from medseg.evaluate.tables import number_of
from tests.pages.reader import Reader, pixels_of

GRID = Geometry.from_spacing((24, 20, 12), (1, 1, 2))
LABELS = Labels({"liver": (1,), "spleen": (2,)})
EVIL = "<script>alert('x')</script>&"


def bodies(shift=0, liver=True, spleen=True, grid=GRID):
    array = np.zeros(grid.shape, np.uint8)
    if liver:
        array[4 + shift : 12 + shift, 4:12, 3:8] = 1
    if spleen:
        array[14:20, 12:18, 4:9] = 2
    return LabelMap(array, grid)


def of_cases(n=8, **options):
    reference = {f"case_{i}": bodies() for i in range(n)}
    predicted = {f"case_{i}": bodies(i % 4) for i in range(n)}
    predicted["case_1"] = bodies(1, spleen=False)
    predicted["case_2"] = bodies(grid=GRID.crop((1, 0, 0), (25, 20, 12)))
    del predicted["case_3"]
    return evaluate(predicted, reference, EvaluateOptions(**options), LABELS)


@pytest.fixture(scope="module")
def evaluation():
    return of_cases()


@pytest.fixture(scope="module")
def page(evaluation):
    return render(evaluation)


@pytest.fixture(scope="module")
def reader(page):
    return Reader(page)


def table(reader, *heads):
    """The rows of the table that begins with these heads."""
    place = next(n for n, row in enumerate(reader.rows) if tuple(row[: len(heads)]) == heads)
    width = len(reader.rows[place])
    rows = []
    for row in reader.rows[place + 1 :]:
        if len(row) != width or row[0] in ("Case", "label", "metric", "option"):
            break
        rows.append(row)
    return rows


def test_the_page_is_well_formed_and_loads_nothing(page, reader):
    assert reader.open == []
    assert not re.search(r"https?://|url\(|@import|<link", page)
    assert all(image["src"].startswith("data:image/png;base64,") for image in reader.all("img"))


def test_headings_go_down_one_level_at_a_time(reader):
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_it_can_be_read_by_ear(page, reader):
    assert all(image["alt"].strip() for image in reader.all("img"))
    assert len(reader.all("caption")) == len(reader.all("table"))
    assert all("scope" in head for head in reader.all("th"))
    assert all(svg["role"] == "img" for svg in reader.all("svg"))
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"].removeprefix("#") for link in reader.all("a")} <= set(ids)
    assert {section["aria-labelledby"] for section in reader.all("section")} <= set(ids)


def test_every_case_and_label_has_a_row_with_its_values(evaluation, reader):
    rows = {(row[0], row[1]): row[2:] for row in table(reader, "Case", "Label", "Status")}
    expected = {}
    for row in evaluation.rows:
        expected.setdefault((row.case, row.label), [row.status]).append(
            number_of(row.value, row.metric) if row.value is not None else row.status.replace("_", " ")
        )
    assert rows == expected
    assert len(rows) == 16


def test_the_figures_are_those_of_the_summary(evaluation, reader):
    rows = {(row[0], row[1]): row[2:] for row in table(reader, "label", "metric")}
    figures = evaluation.to_json()["labels"]
    for label in ("liver", "spleen"):
        for name in evaluation.options.metrics:
            metric, figure = metric_of(name), figures[label][name]
            shown = rows[label, f"{metric.title} [{metric.unit}]" if metric.unit else metric.title]
            assert shown[0] == number_of(figure["all"], name)
            assert shown[2:5] == [str(figure["n"]), number_of(figure["found"], name), str(figure["n_found"])]
            assert shown[6] == number_of(figure["median"], name)
            interval = figure["interval"]
            assert shown[1] == ("–" if interval is None else " to ".join(number_of(end, name) for end in interval))


def test_failures_stand_before_all_else_with_their_reasons(evaluation, page, reader):
    text = unescape(page)
    assert len(evaluation.failures) == 2
    for failure in evaluation.failures:
        assert failure.reason in text
    headings = [attributes.get("id") for tag, attributes in reader.elements if tag == "h2"]
    assert headings[0] == "failures"
    assert headings[-1] == "definitions"
    assert all(sentence in text for sentence in evaluation.warnings)


def test_the_headline_is_in_the_title(evaluation, page):
    assert f"<h1>Mean Dice {evaluation.headline['dice']:.3f} over 8 cases and 2 labels</h1>" in page


def test_names_are_text_and_never_markup():
    labels = Labels({EVIL: (1,)})
    found = evaluate(
        {EVIL: bodies(1), "b": bodies()},
        {EVIL: bodies(), "b": bodies(), "c": bodies()},
        None,
        Labels({EVIL: (1,), "s": (2,)}),
    )
    page = render(found)
    assert labels.names[0] not in page
    assert "alert(&#39;x&#39;)" in page
    assert Reader(page).open == []


def test_no_path_of_the_machine_is_on_the_page(tmp_path):
    for folder, shift in (("out", 1), ("ref", 0)):
        for case in "ab":
            io.write(bodies(shift), tmp_path / folder / f"{case}.nii.gz")
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"broken")
    found = evaluate(tmp_path / "out", tmp_path / "ref")
    paths = write_results(found, tmp_path / "scores")
    names = ["metrics.csv", "summary.json", "table.md", "table.tex", "report.html"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == sorted(names)
    for path in paths:
        assert str(tmp_path) not in path.read_text(encoding="utf-8")
    assert json.loads(paths[1].read_text())["n_failed"] == 1
    assert paths[2].read_text().startswith("**Not compared: 1 of 2 cases**")
    assert r"\toprule" in paths[3].read_text()


def marks(svg, kind):
    """Name → place of the marks of a kind."""
    return {
        name: (float(x), float(y))
        for x, y, name in re.findall(
            rf'class="mark {kind}" cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>([^<]*)<', svg
        )
    }


def ticks(svg):
    """Number → pixel along the horizontal axis."""
    return {
        float(t): float(x) for x, t in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">([-\d.]+)<', svg)
    }


def test_a_mark_lies_where_its_value_is_on_the_axis(evaluation):
    chart = next(chart for chart in plots.distributions(evaluation) if chart.title == "Dice")
    (low, at_low), *_, (high, at_high) = sorted(ticks(chart.svg).items())
    dice = {
        row.case: row.value
        for row in evaluation.rows
        if row.metric == "dice" and row.status == "ok" and row.label == "liver"
    }
    placed = marks(chart.svg, "case")
    assert dice
    for case, value in dice.items():
        x, _ = placed[f"{case}: {value:.3f}"]
        assert x == pytest.approx(at_low + (value - low) / (high - low) * (at_high - at_low), abs=0.11)
    assert re.findall(r'class="mark absent".*?<title>([^<]*)<', chart.svg) == [
        "case_2: 0.000, failed",
        "case_3: 0.000, missing",
        "case_1: 0.000, missed",
        "case_2: 0.000, failed",
        "case_3: 0.000, missing",
    ]
    assert "liver: mean" in chart.summary


def test_the_diagonal_stands_apart_and_does_not_stretch_the_axis(evaluation):
    chart = next(chart for chart in plots.distributions(evaluation) if chart.title == "HD95 [mm]")
    measured = max(row.value for row in evaluation.rows if row.metric == "hd95_mm" and row.value is not None)
    assert max(ticks(chart.svg)) <= 1.5 * measured
    edge = max(x for x, _ in marks(chart.svg, "case").values())
    crosses = [float(x) for x in re.findall(r'class="mark absent" d="M([\d.]+)', chart.svg)]
    assert len(crosses) == 5
    assert min(crosses) > edge
    assert f"case_3: {GRID.diagonal_mm:.2f}, missing" in chart.svg


def test_volumes_lie_at_their_mean_and_difference():
    sizes = (4, 5, 6, 8)
    reference, predicted = {}, {}
    for n in sizes:
        for side, length in ((reference, n), (predicted, n + 2)):
            array = np.zeros((40, 20, 20), np.uint8)
            array[:length, :10, :10] = 1
            side[f"c{n}"] = LabelMap(array, Geometry.from_spacing(array.shape))
    found = evaluate(predicted, reference, None, Labels({"a": (1,)}))
    (chart,) = plots.agreement(found)
    placed = marks(chart.svg, "case")
    assert sorted(placed) == [f"c{n}: +0.2 ml at 0.{n + 1} ml" for n in sizes]
    xs = [placed[f"c{n}: +0.2 ml at 0.{n + 1} ml"][0] for n in sizes]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert xs[3] - xs[2] == pytest.approx(2 * (xs[2] - xs[1]), abs=0.21)
    assert len({y for _, y in placed.values()}) == 1
    assert "Bias +0.2 ml" in chart.summary


def test_nsd_rises_to_one_at_the_distance_of_a_shift():
    found = evaluate({"a": bodies(2), "b": bodies(2)}, {"a": bodies(), "b": bodies()}, None, Labels({"liver": (1,)}))
    (chart,) = plots.nsd_curves(found)
    assert "2 mm: mean 1.000, quartiles 1.000 to 1.000" in chart.svg
    assert "0.95 from 2 mm on" in chart.summary
    assert f"{found.headline['nsd']:.3f} at the tolerance used, 1 mm" in chart.summary


def test_many_cases_are_summed_up_and_who_stands_out_keeps_a_name(monkeypatch, evaluation):
    monkeypatch.setattr(plots, "MOST_NAMED", 10)
    chart = next(chart for chart in plots.distributions(evaluation) if chart.title == "Dice")
    assert marks(chart.svg, "case") == {}
    assert "case_3: 0.000, missing" in chart.svg
    assert chart.svg.count('class="dots"') == 2


def test_a_thousand_cases_make_a_page_of_a_few_megabytes():
    small = [LabelMap(bodies(shift).array[:, :, 2:9], GRID.crop((0, 0, 2), (24, 20, 9))) for shift in range(4)]
    reference, predicted = [{f"c{i}": small[k(i)] for i in range(1000)} for k in (lambda i: 0, lambda i: i % 4)]
    found = evaluate(predicted, reference, EvaluateOptions(metrics=("dice", "hd95", "nsd")), LABELS)
    page = render(found)
    assert len(page) < 3e6
    assert all(f">c{i}<" in page for i in range(1000))


def test_the_worst_and_the_median_are_shown_and_no_case_that_was_not_compared(evaluation):
    choices = [(choice.label, choice.rank, choice.case) for choice in chosen(evaluation)]
    assert choices == [
        ("liver", "worst", "case_7"),
        ("liver", "worst", "case_6"),
        ("liver", "worst", "case_1"),
        ("liver", "median", "case_5"),
        ("spleen", "worst", "case_1"),
        ("spleen", "worst", "case_0"),
        ("spleen", "worst", "case_4"),
        ("spleen", "median", "case_5"),
    ]


def coloured(picture, colour):
    rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return np.argwhere((pixels_of(picture.source) == rgb).all(axis=2))


def test_both_outlines_and_the_ring_are_where_they_belong():
    reference, predicted = bodies(), bodies()
    predicted.array[12:16, 6, 5] = 1  # a spike of 4 mm to the right of the body in one slice
    found = evaluate(predicted, reference, None, Labels({"liver": (1,)}))
    (shot,) = close_ups(found)
    (picture,) = shot.pictures
    assert picture.title == "axial slice 5 of 0…11"
    assert "4.0 mm apart at the ring" in shot.words
    assert picture.edges == ("R", "L", "A", "P")
    scale = picture.width / GRID.shape[0]
    drawn = coloured(picture, PREDICTION_COLOUR)
    # the right of the patient, where i is largest, is at the left
    assert drawn[:, 1].min() == pytest.approx((24 - 16) * scale, abs=2)
    assert coloured(picture, REFERENCE_COLOUR)[:, 1].min() == pytest.approx((24 - 12) * scale, abs=3)
    ring = coloured(picture, "#ffffff")
    assert ring[:, 1].mean() == pytest.approx((24 - 15.5) * scale, abs=scale)
    assert ring[:, 0].mean() == pytest.approx((20 - 6.5) * scale, abs=scale)


def test_a_distance_across_the_slices_is_shown_in_a_plane_that_holds_it():
    reference, predicted = bodies(), bodies()
    predicted.array[8, 7, 8:11] = 1  # three slices of 2 mm above the body
    (shot,) = close_ups(evaluate(predicted, reference, None, Labels({"liver": (1,)})))
    assert "6.0 mm apart at the ring; coronal slice 7 of 0…19" in shot.words
    assert shot.pictures[0].edges == ("R", "L", "S", "I")


def test_a_missed_label_is_shown_where_most_of_it_is(evaluation):
    shot = next(each for each in close_ups(evaluation) if (each.label, each.case) == ("spleen", "case_1"))
    assert "missed" in shot.words
    assert "outlines of reference." in shot.pictures[0].alternative
    assert len(coloured(shot.pictures[0], REFERENCE_COLOUR))
    assert not len(coloured(shot.pictures[0], PREDICTION_COLOUR))


@pytest.mark.parametrize(("labels", "images"), [("labelsTs", "imagesTs"), ("labels", "images"), ("masks", "images")])
def test_the_image_beside_a_folder_of_references_lies_under_the_masks(tmp_path, labels, images):
    bright = Volume(np.full((1, *GRID.shape), 1000, np.int16) + np.arange(24, dtype=np.int16)[:, None, None], GRID)
    io.write(bodies(), tmp_path / labels / "a.nii.gz")
    io.write(bodies(1), tmp_path / "out" / "a.nii.gz")
    io.write(bright, tmp_path / images / "a_0000.nii.gz")
    found = evaluate(tmp_path / "out", tmp_path / labels)
    assert references(tmp_path / labels).scans["a"].images == (tmp_path / images / "a_0000.nii.gz",)
    corner = pixels_of(close_ups(found)[0].pictures[0].source)[0]
    assert corner[5, 0] > 200  # i is largest at the left
    assert corner[-5, 0] < 50


def test_a_table_of_pairs_may_name_the_image(tmp_path):
    (tmp_path / "pairs.csv").write_text("case,predicted,reference,image\na,p.nii,r.nii,i.nii\nb,p.nii,r.nii,\n")
    with_image, without = read_table(tmp_path / "pairs.csv")
    assert with_image.scan.images == (tmp_path / "i.nii",)
    assert without.scan is None


def test_an_image_on_another_grid_is_not_shown(tmp_path):
    io.write(
        Volume(np.full((1, 3, 3, 3), 9, np.int16), Geometry.from_spacing((3, 3, 3))), tmp_path / "images" / "a.nii.gz"
    )
    io.write(bodies(), tmp_path / "labels" / "a.nii.gz")
    found = evaluate(tmp_path / "labels", tmp_path / "labels")
    assert pixels_of(close_ups(found)[0].pictures[0].source)[0, 0].tolist() == [28, 28, 28]


def test_files_that_went_away_leave_their_pictures_out(tmp_path):
    for folder in ("out", "ref"):
        io.write(bodies(), tmp_path / folder / "a.nii.gz")
    found = evaluate(tmp_path / "out", tmp_path / "ref")
    (tmp_path / "out" / "a.nii.gz").unlink()
    assert close_ups(found) == ()
    assert "a" in render(found)


def test_runs_and_readers_stand_in_the_page():
    first = of_cases(metrics=("dice",))
    other = evaluate(
        {f"case_{i}": bodies() for i in range(8)}, {f"case_{i}": bodies() for i in range(8)}, first.options, LABELS
    )
    page = render(replace(first, comparison=compare(first, [run_of(other, "other <run>")], "mine")))
    assert "Comparison of runs" in page
    assert "other &lt;run&gt;" in page
    pairs = [Pair("a", bodies(1), bodies(), readers={"second": bodies(1)}), Pair("b", bodies(), bodies())]
    *_, judged = run_pairs(pairs, EvaluateOptions(), LABELS)
    assert isinstance(judged, Evaluation)
    assert "Agreement of readers" in render(judged)


def test_lesions_are_counted_over_all_cases():
    reference, predicted = np.zeros((20, 8, 8), np.uint8), np.zeros((20, 8, 8), np.uint8)
    for array, places in ((reference, (0, 4, 8)), (predicted, (0, 12))):
        for place in places:
            array[place : place + 2, 2:4, 2:4] = 1
    grid = Geometry.from_spacing(reference.shape)
    maps = {"a": LabelMap(reference, grid), "b": LabelMap(reference, grid)}
    found = evaluate(
        {"a": LabelMap(predicted, grid), "b": LabelMap(reference, grid)},
        maps,
        EvaluateOptions(lesions=True),
        Labels({"m": (1,)}),
    )
    (row,) = table(Reader(render(found)), "label", "lesions", "found")
    assert row[:9] == ["m", "6", "4", "2", "5", "1", "0.667", "0.800", "0.50"]


def test_every_metric_is_defined():
    for metric in (
        *METRICS.values(),
        metric_of("hd90_surfels_mm"),
        metric_of("masd_voxels_mm"),
        metric_of("nsd_surfels"),
    ):
        assert definitions.definition_of(metric) != f"{metric.title}."
        assert definitions.counts_as(metric)
