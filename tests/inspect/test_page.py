"""The page is whole in itself, in order for who reads it by ear, and says what the result says."""

import re
from html import unescape
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medseg
from medseg.core.errors import UsageError
from medseg.inspect import Finding, Inspection, refuse_foreign_file
from medseg.inspect.charts import chart_of
from medseg.inspect.pictures import picture_of
from medseg.inspect.report import Slice
from tests.inspect.sets import case_name, make_set, only
from tests.pages.reader import Reader, pixels_of


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    @only(4)
    def edit(image, labels):
        labels[:, :, 15:] = 0
        labels[30, 20, 17] = 1
        return image, labels

    return medseg.inspect(make_set(tmp_path_factory.mktemp("set"), 10, edit))


@pytest.fixture(scope="module")
def page(inspection):
    return inspection.to_html()


def test_every_element_is_closed(page):
    assert Reader(page).open == []


def test_nothing_is_loaded_from_anywhere(page):
    sources = [value for _, attributes in Reader(page).elements for name, value in attributes.items() if name == "src"]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import|<link", page)


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in Reader(page).elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_picture_has_words_and_every_table_a_caption(page):
    reader = Reader(page)
    assert all(image["alt"].strip() for image in reader.all("img"))
    assert len(reader.all("caption")) == len(reader.all("table")) == 2
    assert all(chart["role"] == "img" for chart in reader.all("svg"))
    assert page.count("<title>") >= len(reader.all("svg")) + 1
    assert reader.all("html") == [{"lang": "en"}]


def test_every_link_leads_somewhere_on_the_page(page):
    reader = Reader(page)
    ids = {attributes["id"] for _, attributes in reader.elements if "id" in attributes}
    targets = [attributes["href"] for attributes in reader.all("a")]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= ids


def test_every_finding_case_and_sentence_is_on_the_page(inspection, page):
    text = unescape(page)
    assert inspection.verdict in text
    assert inspection.findings
    for finding in inspection.findings:
        assert finding.text in text
        assert finding.remedy in text
    assert all(report.case in text for report in inspection.reports)
    assert all(sentence in text for sentence in (*inspection.words, *inspection.notes))


def test_names_are_text_and_never_markup():
    evil = "<script>alert(1)</script>"
    finding = Finding("island", "warning", evil, evil, (evil,))
    page = Inspection("msd", (evil,), (finding,)).to_html()
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert evil not in chart_of(evil, [1.0, 2.0, 3.0], [evil, "b", "c"], {evil}).svg


def test_a_page_without_cases_says_what_cannot_be_opened():
    page = Inspection("", (), (Finding("layout", "error", "It is empty.", "Fill it."),)).to_html()
    assert "It is empty." in page
    assert "1 error found." in page
    assert Reader(page).open == []


def test_json_or_page_by_the_suffix(inspection, tmp_path):
    inspection.write(tmp_path / "a.json")
    inspection.write(tmp_path / "a.html")
    assert medseg.inspect.inspection.INSPECTION_SCHEMA in (tmp_path / "a.json").read_text()
    assert (tmp_path / "a.html").read_text() == inspection.to_html()
    with pytest.raises(UsageError, match=r"\.html"):
        inspection.write(tmp_path / "a.txt")


def test_a_picture_keeps_proportions_and_outlines_labels():
    labels = np.zeros((20, 10), np.uint8)
    labels[5:15, 3:7] = 2
    shown = Slice(np.full((20, 10), 100, np.uint8), labels, ("a", "b"), 3.0, "axial", ("R", "L", "A", "P"))
    picture = picture_of(shown, "case")
    drawn = pixels_of(picture.source)
    assert drawn.shape[:2] == (picture.height, picture.width)
    assert picture.height / picture.width == pytest.approx(6, rel=0.02)
    (entry,) = picture.legend
    colour = tuple(int(entry[1][n : n + 2], 16) for n in (1, 3, 5))
    assert entry[0] == "b"
    outlined = (drawn == colour).all(axis=2)
    rows, columns = np.nonzero(outlined)
    assert rows.min() == pytest.approx(5 / 20 * picture.height, abs=1)
    assert columns.max() == pytest.approx(7 / 10 * picture.width - 1, abs=1)
    assert tuple(drawn[0, 0]) == (100, 100, 100)
    assert "b" in picture.alternative


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=60))
def test_a_chart_counts_every_case_once(values):
    cases = [case_name(number) for number in range(len(values))]
    chart = chart_of("x", values, cases)
    if chart.svg == "":
        assert max(values) - min(values) <= 1e-3 * max(abs(value) for value in values)
        return
    tallest = int(re.search(r'text-anchor="end">(\d+)<', chart.svg)[1])
    heights = [float(height) for height in re.findall(r'class="bar".*?height="([\d.]+)"', chart.svg)]
    assert sum(heights) * tallest / max(heights) == pytest.approx(len(values), rel=0.02)
    assert chart.svg.count('class="tick"') == len(values)
    places = [float(x) for x in re.findall(r'class="tick" x1="([\d.]+)"', chart.svg)]
    assert min(places) >= 40
    assert max(places) <= 628


def test_who_stands_out_is_marked_and_named():
    chart = chart_of("x", [1.0, 2.0, 300.0], ["a", "b", "c"], {"c"})
    assert chart.svg.count('class="out"') == 1
    assert "c: 300" in chart.svg
    assert chart.summary == "From 1 (a) to 300 (c), median 2. Standing out: c."


@pytest.mark.parametrize("name", ["a.html", "a.json", "A.JSON"])
def test_a_file_that_is_no_inspection_is_refused(tmp_path, name):
    (tmp_path / name).write_text('{"labels": {}}')
    with pytest.raises(UsageError, match="did not write it.*--overwrite"):
        refuse_foreign_file(tmp_path / name.lower())


@pytest.mark.parametrize("name", ["a.html", "a.json"])
def test_an_inspection_replaces_an_inspection(inspection, tmp_path, name):
    inspection.write(tmp_path / name)
    refuse_foreign_file(tmp_path / name)


def test_a_path_that_cannot_be_written_is_refused_beforehand(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "a.json", tmp_path / "file" / "b.json"):
        with pytest.raises(UsageError, match="cannot be written"):
            refuse_foreign_file(path)
