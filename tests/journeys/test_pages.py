"""The pages of evaluate and inspect in a real browser: nothing complains, tables sort and filter, pictures are there.

By mouse and by keyboard, in light and in dark, on a narrow screen and on paper.
"""

import base64
import os
import shutil

import numpy as np
import pytest

from medseg import io
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the extra 'oracles')")

from selenium.webdriver.common.by import By  # noqa: E402  after what may skip
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

pytestmark = pytest.mark.journey

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
GRID = Geometry.from_spacing((32, 28, 16), (1, 1, 2))


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no Chromium here (Debian's packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    sandbox = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900", *sandbox):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight cases in nnU-Net's folders and predictions that get worse; one missing, one broken."""
    folder = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0)
    for n in range(8):
        array = np.zeros(GRID.shape, np.uint8)
        array[6:16, 6:16, 4:11] = 1
        array[20:26, 16:24, 5:12] = 2
        image = noise.normal(100, 10, GRID.shape) + 60 * (array > 0)
        io.write(LabelMap(array, GRID), folder / "labelsTr" / f"c_{n}.nii.gz")
        io.write(Volume(image[None].astype(np.int16), GRID), folder / "imagesTr" / f"c_{n}_0000.nii.gz")
        io.write(LabelMap(np.roll(array, n % 5, axis=0), GRID), folder / "out" / f"c_{n}.nii.gz")
    (folder / "out" / "c_6.nii.gz").unlink()
    (folder / "out" / "c_7.nii.gz").write_bytes(b"broken")
    (folder / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2},'
        ' "numTraining": 8, "file_ending": ".nii.gz"}'
    )
    return folder


@pytest.fixture
def report(browser, data, shell):
    if not (data / "scores" / "report.html").exists():
        said = shell("evaluate", data / "out", data / "labelsTr", "-o", data / "scores", code=1)
        assert "report.html" in said
    browser.set_window_size(1280, 900)
    browser.get(f"file://{data / 'scores' / 'report.html'}")
    return browser


@pytest.fixture
def inspection(browser, data, shell):
    if not (data / "inspect.html").exists():
        shell("inspect", data, "-o", data / "inspect.html")
    browser.get(f"file://{data / 'inspect.html'}")
    return browser


def complaints(browser):
    return [entry["message"] for entry in browser.get_log("browser")]


def column(browser, n, table="table.cases"):
    cells = f"{table} tbody tr:not([hidden]) > :nth-child({n})"
    return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, cells)]


def head(browser, n, table="table.cases"):
    return browser.find_element(By.CSS_SELECTOR, f"{table} thead th:nth-child({n})")


def numbers(texts):
    return [float(text) for text in texts if text.replace(".", "").isdigit()]


def test_the_report_opens_without_a_complaint_and_shows_its_pictures(report):
    images = report.find_elements(By.TAG_NAME, "img")
    assert len(images) == 8
    assert all(int(image.get_property("naturalWidth")) > 0 for image in images)
    assert len(report.find_elements(By.CSS_SELECTOR, "svg.chart")) >= 12
    assert complaints(report) == []


def test_a_click_on_a_head_sorts_and_another_turns_it_round(report):
    button = head(report, 4).find_element(By.TAG_NAME, "button")
    button.click()
    assert head(report, 4).get_attribute("aria-sort") == "ascending"
    ascending = numbers(column(report, 4))
    assert ascending == sorted(ascending)
    assert len(ascending) == 12
    # what has no value stands last, whichever way
    assert column(report, 4)[-4:] == ["missing", "missing", "failed", "failed"]
    button.click()
    assert head(report, 4).get_attribute("aria-sort") == "descending"
    assert numbers(column(report, 4)) == ascending[::-1]
    assert set(column(report, 4)[-4:]) == {"missing", "failed"}
    head(report, 1).find_element(By.TAG_NAME, "button").click()
    assert head(report, 4).get_attribute("aria-sort") is None
    assert column(report, 1)[::2] == [f"c_{n}" for n in range(8)]


def test_the_keyboard_sorts_too(report):
    button = head(report, 4).find_element(By.TAG_NAME, "button")
    report.execute_script("arguments[0].focus()", button)
    report.switch_to.active_element.send_keys(Keys.ENTER)
    assert head(report, 4).get_attribute("aria-sort") == "ascending"
    report.switch_to.active_element.send_keys(Keys.SPACE)
    assert head(report, 4).get_attribute("aria-sort") == "descending"
    report.switch_to.active_element.send_keys(Keys.TAB)
    assert report.switch_to.active_element == head(report, 5).find_element(By.TAG_NAME, "button")


def test_the_first_key_leads_past_the_links(report):
    report.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert report.switch_to.active_element.text == "Skip to the content"


def test_rows_are_found_by_words_label_and_status(report):
    box = report.find_element(By.CSS_SELECTOR, ".filters input")
    box.send_keys("c_3")
    assert column(report, 1) == ["c_3", "c_3"]
    assert report.find_element(By.CSS_SELECTOR, ".filters output").text == "2 of 16 rows"
    box.send_keys(" SPL")
    assert column(report, 2) == ["spleen"]
    box.clear()
    label, status = (Select(each) for each in report.find_elements(By.CSS_SELECTOR, ".filters select"))
    label.select_by_visible_text("liver")
    assert len(column(report, 1)) == 8
    status.select_by_visible_text("missing")
    assert column(report, 1) == ["c_6"]


def test_arrow_keys_name_the_marks_of_a_chart(report):
    chart = report.find_element(By.CSS_SELECTOR, "svg.told-by-keys")
    report.execute_script("arguments[0].focus()", chart)
    said = chart.find_element(By.XPATH, "following-sibling::output")
    heard = []
    for _ in range(3):
        report.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        heard.append(said.text)
    assert heard[0] == "c_6: 0.000, missing"
    assert len(set(heard)) == 3
    report.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert said.text == heard[1]
    report.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert said.text == ""


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_but_tables_is_wider_than_the_screen(report, width):
    report.set_window_size(width, 900)
    assert report.execute_script("const d = document.documentElement; return d.scrollWidth - d.clientWidth") <= 0


def contrast(one, other):
    def luminance(colour):
        channels = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground_in_light_and_dark(report, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    ground = report.execute_script(style, "body", "backgroundColor")
    assert (contrast(ground, "rgb(0, 0, 0)") > 10) == (scheme == "light")
    for words in ("body", "p.faint", "td.none", "figcaption", ".readout"):
        assert contrast(report.execute_script(style, words, "color"), ground) >= 4.5
    for words in (".severity.error", ".severity.warning", ".severity.note"):
        colours = [report.execute_script(style, words, name) for name in ("color", "backgroundColor")]
        assert contrast(*colours) >= 4.5
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_it_prints_every_row_even_of_a_table_that_was_scrolled(report):
    printed = report.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 3
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = report.execute_script(
        "return [...document.querySelectorAll('.scroll')].every(each => getComputedStyle(each).overflowX === 'visible')"
    )
    hidden = report.execute_script("return getComputedStyle(document.querySelector('.filters')).display")
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown
    assert hidden == "none"


def test_the_page_of_inspect_is_of_the_same_family(inspection):
    assert complaints(inspection) == []
    images = inspection.find_elements(By.TAG_NAME, "img")
    assert all(int(image.get_property("naturalWidth")) > 0 for image in images)
    head(inspection, 1).find_element(By.TAG_NAME, "button").click()
    head(inspection, 1).find_element(By.TAG_NAME, "button").click()
    assert column(inspection, 1) == [f"c_{n}" for n in reversed(range(8))]
    assert head(inspection, 1).get_attribute("aria-sort") == "descending"
