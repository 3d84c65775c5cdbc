"""The HTML pages in a real browser that reaches no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reporting.conftest import HOSTILE, Case
from reporting.test_html_page import search_page

selenium = pytest.importorskip("selenium", reason="no Selenium: pip install 'intact_fast[test]'")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

WIDE, NARROW = (1280, 900), (400, 800)


class Browser:
    """A page as a reader has it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, page: Path, state: str = "") -> None:
        self.resize(*WIDE)
        self.driver.get(page.as_uri() + state)

    def turn_to(self, state: str) -> None:
        """Follow a link into the page."""
        self.script("location.hash = arguments[0]", state)
        self.wait(lambda: True)

    def script(self, text: str, *arguments: object) -> Any:
        return self.driver.execute_script(text, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.script(
            "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)", selector
        )

    @property
    def queries(self) -> list[int]:
        found = "return [...document.querySelectorAll('[data-query]')].map((card) => Number(card.dataset.query))"
        return self.script(found)

    @property
    def state(self) -> str:
        return self.script("return location.hash")

    def choose(self, name: str, value: str) -> None:
        Select(self.one(f"[name={name}]")).select_by_value(value)

    def press(self, *keys: str) -> None:
        # no other way reaches whatever has the focus
        webdriver.ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: condition())

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def assert_fits(self) -> None:
        width, visible = self.script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= visible

    def requests(self) -> set[str]:
        """Schemes of all that was asked for since this was last called."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {address.split(":")[0] for address in asked}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()


@pytest.fixture(scope="module")
def report(browser: Browser, report_page: Path) -> Browser:
    """The report of 24 queries, opened by a link to the second page of another order."""
    browser.show(report_page, "#sort=name&page=2")
    return browser


@pytest.fixture(scope="module")
def search(browser: Browser, case: Case, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    browser.show(search_page(tmp_path_factory.mktemp("search"), case))
    return browser


@pytest.fixture(autouse=True)
def _silent(browser: Browser) -> Iterator[None]:
    """No test leaves an error on the console: neither a script's nor of something that was not allowed."""
    yield
    assert browser.driver.get_log("browser") == []


@pytest.fixture
def start(report: Browser, report_page: Path) -> Browser:
    """The report's first page, unfiltered."""
    if not report.driver.current_url.startswith(report_page.as_uri()):
        report.show(report_page)
    report.resize(*WIDE)
    report.script("document.querySelector('dialog').close?.(); location.hash = 'sort=gain'")
    report.wait(lambda: report.state == "" and len(report.queries) == 10)
    return report


def data_of(browser: Browser) -> dict[str, Any]:
    return browser.script("return {queries: data.queries, gallery: data.gallery}")


def test_a_link_opens_the_view_that_it_was_made_of(report: Browser) -> None:
    assert report.requests() <= {"file", "data"}
    assert len(report.queries) == 10
    assert Select(report.one("[name=sort]")).first_selected_option.text == "File name"
    assert report.texts(".count") == ["Queries 11–20 of 24"]
    assert report.state == "#sort=name&page=2"


def test_names_stay_text(report: Browser) -> None:
    report.turn_to("#sort=name")
    report.wait(lambda: report.texts(".count") == ["Queries 1–10 of 24"])
    assert {*HOSTILE} & {*report.texts(".query h3")}
    assert report.script("return document.querySelectorAll('.query b, .query script, [onerror]').length") == 0
    assert report.script("return [...document.images].every((image) => image.src.startsWith('data:'))")
    # a script that a name had brought along would be refused, and that be told on the console
    report.script("document.body.insertAdjacentHTML('beforeend', '<p hidden onclick=\"window.ran = 1\">x</p>')")
    report.script("document.body.lastElementChild.click()")
    assert report.script("return window.ran") is None
    (refused,) = report.driver.get_log("browser")
    assert "Content Security Policy" in refused["message"]


def test_paging_by_buttons_and_keys(start: Browser) -> None:
    first = start.queries
    previous, following = start.all(".pager button")[:2]
    assert not previous.is_enabled()
    following.click()
    assert start.state == "#page=2"
    second = start.queries
    assert not set(first) & set(second)
    start.press(Keys.ARROW_RIGHT)
    assert start.texts(".count") == ["Queries 21–24 of 24"]
    assert not following.is_enabled()
    start.press(Keys.ARROW_RIGHT)
    start.press(Keys.ARROW_LEFT)
    assert start.queries == second
    start.one("[name=find]").click()
    start.press(Keys.ARROW_LEFT)
    assert start.queries == second, "in a field the keys are the field's"


@pytest.mark.parametrize(
    ("sort", "field", "sign"),
    [("gain", "gain", -1), ("loss", "gain", 1), ("lr", "rank_lr", -1), ("sr-best", "rank_sr", 1)],
)
def test_orders(start: Browser, sort: str, field: str, sign: int) -> None:
    start.choose("sort", sort)
    queries = data_of(start)["queries"]
    expected = sorted(queries, key=lambda query: (sign * query["keys"][field], query["keys"]["order"]))
    assert start.queries == [query["keys"]["order"] for query in expected[:10]]


def test_filters(start: Browser) -> None:
    queries = data_of(start)["queries"]
    start.choose("r", "3")
    assert start.texts(".count") == ["Queries 1–10 of 12 (24 without filters)"]
    start.choose("change", "moved")
    moved = [query for query in queries if query["r"] == 3 and query["moved"]]
    assert 0 < len(moved) < 12
    assert set(start.queries) == {query["keys"]["order"] for query in moved[:10]} or len(moved) > 10
    start.choose("change", "back")
    assert set(start.queries) == {query["keys"]["order"] for query in queries if query["r"] == 3 and query["moved"] < 0}
    assert start.state == "#r=3&change=back"
    start.one("[data-reset]").click()
    start.press("7")
    assert {queries[i]["pid"] for i in start.queries} >= {7}
    start.press(Keys.BACKSPACE, "nobody")
    assert start.texts("#queries") == ["No query passes these filters."]
    start.one("[data-reset]").click()
    start.press("0003_CAM1_1")
    assert [queries[i]["name"] for i in start.queries] == ["0003_cam1_1.png"]
    start.one("[data-reset]").click()


def test_an_enlarged_query(start: Browser) -> None:
    queries = data_of(start)["queries"]
    first, second = start.queries[:2]
    start.one(".hit img").click()
    assert start.script("return document.querySelector('dialog').open")
    assert start.texts("dialog h2") == [queries[first]["name"].split("/")[-1]]
    assert [text[:2] for text in start.texts("dialog h4")] == ["LR", "SR", "HR"]
    for view, items in zip(("lr", "sr"), start.all("dialog ol"), strict=True):
        shown = [alt.split(",")[1].startswith(" right:") for alt in alternatives(items)]
        assert shown == [bool(right) for _, _, right in queries[first]["hits"][view]]
    assert start.state == f"#query={first}"
    start.press(Keys.ARROW_RIGHT)
    assert start.state == f"#query={second}"
    for _ in range(10):
        start.press(Keys.ARROW_RIGHT)
    assert start.texts("dialog .place") == ["12 of 24"]
    at = int(start.state.split("query=")[1])
    start.press(Keys.ESCAPE)
    start.wait(lambda: start.state == "#page=2")
    focused = start.script("return document.activeElement.closest('[data-query]').dataset.query")
    assert int(focused) == at, "the query that was seen last is where reading goes on"


def alternatives(items: WebElement) -> list[str]:
    return [image.get_attribute("alt") or "" for image in items.find_elements("css selector", "img")]


def test_a_link_to_a_query_enlarges_it(start: Browser) -> None:
    start.turn_to("#query=5")
    start.wait(lambda: start.script("return document.querySelector('dialog').open"))
    start.turn_to("#query=999")
    start.wait(lambda: not start.script("return document.querySelector('dialog').open"))
    start.turn_to("#sort=nonsense&page=x&r=9")
    start.wait(lambda: start.state == "")
    assert len(start.queries) == 10


def test_links_to_sections_change_no_view(start: Browser) -> None:
    start.choose("sort", "name")
    before = start.queries
    start.one(".sections a[href='#similarities']").click()
    assert start.queries == before


def test_plots_follow_the_scheme(start: Browser) -> None:
    """Two panels of curves and three of similarities, drawn when they come into view."""
    colours = {}
    for scheme in ("light", "dark"):
        start.prefer(scheme)
        for canvas in start.all("[data-plot]"):
            start.script("arguments[0].scrollIntoView()", canvas)
        start.wait(lambda: len(start.all("[data-plot] .main-svg")) >= 5)
        colours[scheme] = start.script(
            "return [getComputedStyle(document.documentElement).backgroundColor, "
            "document.querySelector('.scatterlayer .js-line').style.stroke]"
        )
    assert all(light != dark for light, dark in zip(colours["light"], colours["dark"], strict=True))
    assert start.texts("[data-plot=similarities] .annotation-text") == ["10 %"] * 3
    start.prefer("light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(start: Browser, scheme: str) -> None:
    """WCAG's 4.5 to 1 between each colour of text and what it stands on."""
    start.prefer(scheme)
    names = ("text", "muted", "accent", "right", "wrong", "background", "surface", "on-mark")
    values = start.script(
        "return arguments[0].map((name) => "
        "getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim())",
        names,
    )
    colours = dict(zip(names, values, strict=True))
    pairs = [(text, ground) for text in names[:5] for ground in ("background", "surface")]
    for text, ground in [*pairs, ("on-mark", "right")]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    start.prefer("light")


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_narrow_screen_needs_no_sideways_scrolling(start: Browser) -> None:
    start.resize(*NARROW)
    for canvas in start.all("[data-plot]"):
        start.script("arguments[0].scrollIntoView()", canvas)
    start.wait(lambda: len(start.all("[data-plot] .main-svg")) >= 5)
    start.wait(lambda: start.script("return document.documentElement.scrollWidth <= innerWidth"))
    start.assert_fits()
    start.script("document.querySelector('.enlarge').click()")
    inside = "const box = document.querySelector('dialog .content'); return [box.scrollWidth, box.clientWidth]"
    width, visible = start.script(inside)
    assert width <= visible
    start.script("document.querySelector('[data-close]').click()")


def test_pictures_have_their_place_before_they_are_loaded(start: Browser) -> None:
    waiting = "const image = new Image(); document.querySelector('.hit').append(image); return image.offsetHeight"
    assert start.script(waiting) == pytest.approx(
        start.script("return document.querySelector('.hit img').offsetHeight")
    )
    start.script("document.querySelector('.hit > img:last-child').remove()")


def test_buttons_and_pictures_have_names(start: Browser) -> None:
    assert start.script("return [...document.images].every((image) => image.alt)")
    buttons = [button.accessible_name for button in start.all("button") if button.is_displayed()]
    assert all(buttons)
    assert len({name for name in buttons if name.startswith("Enlarge ")}) == 10
    fields = [field.accessible_name for field in start.all(".controls select, .controls input")]
    assert fields == ["Sort", "Rate r", "First right match", "Find"]


def test_a_search(search: Browser) -> None:
    assert search.requests() <= {"file", "data"}
    assert len(search.queries) == 3
    assert {*search.texts(".query h3")} == {*HOSTILE}
    assert search.texts(".query:first-child .hit small") == ["0.75", "-0.50"]
    search.choose("change", "enhanced")
    assert search.queries == [0]
    assert search.texts(".query figcaption") == ["Query", "SR"]
    search.one(".enlarge").click()
    assert search.texts("dialog .hit small") == ["<i>1.png", "0.750", "<i>0.png", "-0.500"]
    search.press(Keys.ESCAPE)
    search.resize(*NARROW)
    search.assert_fits()
    assert search.script("return typeof Plotly") == "undefined"


def test_a_search_that_accepts(browser: Browser, case: Case, tmp_path: Path) -> None:
    browser.show(search_page(tmp_path, case, limit=0.5))
    assert browser.texts(".query:first-child .hit .rank") == ["1 ✓", "2"]
    assert browser.texts(".query:first-child .list h4 .muted") == ["1 above 0.5000"]
    browser.show(search_page(tmp_path, case, limit=0.8))
    assert browser.texts(".query:first-child .list h4 .muted") == ["none above 0.8000"]
    assert browser.all(".hit.right, .hit.wrong") == []
