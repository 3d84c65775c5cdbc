"""The HTML pages as text: self-contained, true to the evaluation, and deaf to names that look like markup."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import write_picture
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.reporting import html_page
from intact_fast.reporting.embedding import EmbeddedPictures
from intact_fast.reporting.html_search import write_html_search
from reporting.conftest import HOSTILE, Case, make_case, without


class Elements(HTMLParser):
    """Tags with their attributes, and the JSON of the page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data: dict[str, Any] = {}
        self._inside: dict[str, str | None] | None = None
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.words.append(data)
        elif self._inside.get("id") == "data":
            self.data = json.loads(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def assert_harmless(self) -> None:
        """Everything is in the file, and nothing runs but the scripts that belong there."""
        for tag, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")], attributes
            assert not (tag == "script" and "src" in attributes)
            assert tag not in ("b", "i", "iframe", "object", "base") or not attributes
            for name in ("src", "href"):
                address = attributes.get(name) or "data:"
                assert not re.match(r"(?i)\s*(https?:|//|javascript:)", address), address
            assert tag != "img" or (attributes["src"] or "").startswith("data:image/")


def search_page(
    folder: Path, case: Case, queries: int = 100, names: tuple[str, ...] = HOSTILE, limit: float | None = None
) -> Path:
    """Search among three pictures; the first query is small and passes through G."""
    for i, name in enumerate(names):
        write_picture(folder / "q" / name, i, (12, 24) if i == 0 else (24, 48))
    for i in range(3):
        write_picture(folder / "g" / f"<i>{i}.png", 10 + i)
    matches = {folder / "q" / name: [("<i>1.png", 0.75), ("<i>0.png", -0.5)] for name in names}
    path = folder / "search.html"
    limits = None if limit is None else dict.fromkeys(matches, limit)
    write_html_search(path, matches, folder / "g", 3, case.source.model, Path("<model>.safetensors"), queries, limits)
    return path


def test_a_report_is_one_harmless_file(report_page: Path) -> None:
    page = Elements(report_page)
    page.assert_harmless()
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [attributes.get("type") for attributes in scripts] == ["application/json", None, None]
    style = report_page.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert not list(report_page.parent.glob(".*"))


def test_a_report_shows_what_was_measured(case: Case, report_page: Path) -> None:
    page = Elements(report_page)
    text = page.text
    assert "INTACT" in text
    assert "The same person in the query's camera is left out. Ranks" in text
    assert "All 24 scored queries are shown." in text
    assert "Made with --x <b>" in text
    assert "A gain here shows super-resolution and identity supervision at work" in text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert "a%20model%231.safetensors" in links
    for name, values in (("sort", {"gain", "loss", "lr", "sr", "name"}), ("change", {"moved"}), ("r", {"2", "3"})):
        assert name in {attributes.get("name") for tag, attributes in page.tags if tag == "select"}
        assert values <= {attributes.get("value") for tag, attributes in page.tags if tag == "option"}
    queries = page.data["queries"]
    assert [query["name"] for query in queries] == [entry.path for entry in case.evaluation.query_entries]
    ranking = case.evaluation.rankings
    for i, query in enumerate(queries):
        assert query["ap"] == pytest.approx({v: 100 * found.ap_per_query[i] for v, found in ranking.items()}, abs=0.06)
        assert query["change"] == pytest.approx(
            100 * (ranking["sr"].ap_per_query - ranking["lr"].ap_per_query)[i], abs=0.01
        )
        assert query["first"].keys() == {"lr", "sr", "hr"}
        for view, hits in query["hits"].items():
            right = [rank for rank, hit in enumerate(hits, start=1) if hit[2]]
            assert (right[:1] or [11])[0] == min(query["first"][view], 11)
    assert [panel["title"] for panel in page.data["plots"]["curves"]] == [
        "Adversarial losses",
        "R² of φ on HR pictures",
    ]
    panels = page.data["plots"]["similarities"]
    assert len(panels) == 3
    for panel in panels:
        for series in panel["series"]:
            assert len(series["above"]) == len(panel["edges"]) == len(series["density"]) + 1
            assert (series["above"][0], series["above"][-1]) == (100, 0)
    assert "0.7312" in page.text
    assert "Searches for people who are not there" in page.text


def test_each_picture_is_embedded_once(case: Case, report_page: Path) -> None:
    data = Elements(report_page).data
    shown = {row for query in data["queries"] for hits in query["hits"].values() for row, _, _ in hits}
    assert {int(row) for row in data["gallery"]} == shown
    assert len(data["pictures"]) == len(set(data["pictures"])) == 3 * 24 + len(shown)


def test_more_queries_than_wanted(case: Case, tmp_path: Path) -> None:
    page = Elements(case.write(tmp_path / "report.html", queries=6, top=3))
    assert len(page.data["queries"]) == 6
    assert "6 of 24 scored queries are shown: the 2 greatest gains of AP, the 2 greatest losses, and 2 of" in page.text
    assert {len(hits) for query in page.data["queries"] for hits in query["hits"].values()} == {3}


def test_natively_lr_queries_have_no_hr(tmp_path: Path) -> None:
    case = make_case(tmp_path / "pictures", native=True)
    page = Elements(case.write(tmp_path / "report.html"))
    assert all(query["pictures"].keys() == query["first"].keys() == {"lr", "sr"} for query in page.data["queries"])
    assert "natively LR" in page.text


def test_without_sr_nothing_gains(case: Case, tmp_path: Path) -> None:
    page = Elements(without(case, "sr").write(tmp_path / "report.html"))
    assert page.data["queries"][0]["hits"].keys() == {"lr"}
    assert page.data["queries"][0]["change"] is None
    options = {attributes.get("value") for tag, attributes in page.tags if tag == "option"}
    assert not {"gain", "loss", "moved"} & options


def test_queries_that_were_not_scored_shift_nothing(case: Case, tmp_path: Path) -> None:
    """Scores are kept of scored queries alone, and a page must find those of each."""
    gallery = case.evaluation.gallery_entries
    stranger = [replace(e, pid=99) if i == 0 else e for i, e in enumerate(case.evaluation.query_entries)]
    rankings = {
        view: evaluate_ranking(
            features,
            case.evaluation.gallery_features,
            [entry.pid for entry in stranger],
            [entry.pid for entry in gallery],
            [entry.camera for entry in stranger],
            [entry.camera for entry in gallery],
        )
        for view, features in case.evaluation.query_features.items()
    }
    evaluation = replace(case.evaluation, query_entries=stranger, rankings=rankings)
    page = Elements(Case(case.source, evaluation).write(tmp_path / "report.html"))
    whole = Elements(case.write(tmp_path / "whole.html"))
    assert [query["ap"] for query in page.data["queries"]] == [query["ap"] for query in whole.data["queries"][1:]]


def test_a_search_is_one_harmless_file(case: Case, tmp_path: Path) -> None:
    path = search_page(tmp_path, case)
    page = Elements(path)
    page.assert_harmless()
    first, *others = page.data["queries"]
    assert first["pictures"].keys() == {"lr", "sr"}
    assert all(query["pictures"].keys() == {"lr"} for query in others)
    assert first["hits"] == {"matches": [[0, 0.75, None], [1, -0.5, None]]}
    assert len(page.data["pictures"]) == 4 + 2
    assert "1 of 3 pass through it" in page.text
    assert path.stat().st_size < 100_000, "a page without plots carries no Plotly"
    assert all(query["limit"] is None for query in page.data["queries"])
    assert "2 of 3 queries are shown" in Elements(search_page(tmp_path, case, queries=2)).text


def test_a_search_that_accepts_marks_matches(case: Case, tmp_path: Path) -> None:
    page = Elements(search_page(tmp_path, case, limit=0.12341))
    assert [query["limit"] for query in page.data["queries"]] == [0.1235] * 3, "rounded up"
    assert page.data["queries"][0]["hits"] == {"matches": [[0, 0.75, 1], [1, -0.5, 0]]}
    assert "marks what is above the threshold of its query" in page.text
    assert "marks what is above" not in Elements(search_page(tmp_path, case)).text


def test_a_path_that_ends_a_script(case: Case, tmp_path: Path) -> None:
    """A file's name holds no slash, but its path does."""
    name = "<!--<script><" + "/script><img src=x onerror=alert(3)>.png"
    page = Elements(search_page(tmp_path, case, names=(name,)))
    page.assert_harmless()
    assert page.data["queries"][0]["name"].endswith(name)
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_of_many_matches_the_first_are_shown(case: Case, tmp_path: Path) -> None:
    for name in ("q.png", "g.png"):
        write_picture(tmp_path / name, 1)
    path = tmp_path / "search.html"
    matches = {tmp_path / "q.png": [("g.png", 0.5)] * 60}
    write_html_search(path, matches, tmp_path, 60, case.source.model, Path("model"), 5)
    page = Elements(path)
    assert len(page.data["queries"][0]["hits"]["matches"]) == 50
    assert "All 1 queries are shown. Of 60 matches the first 50 are shown." in page.text


def test_a_name_that_is_no_unicode(case: Case, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        write_picture(tmp_path / "q" / name, 1)
    except OSError:
        pytest.skip("the file system takes no such name")
    page = Elements(search_page(tmp_path, case, names=(name,)))
    assert page.data["queries"][0]["name"].endswith("caf\udce9.png")


def test_no_matches(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "search.html"
    write_html_search(path, {}, tmp_path, 0, case.source.model, Path("model"), 5)
    assert Elements(path).data["queries"] == []


def test_an_old_page_stays_where_a_new_one_fails(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(data: object) -> str:
        raise ValueError

    monkeypatch.setattr(html_page, "_json", fail)
    with pytest.raises(ValueError):
        case.write(path)
    assert path.read_text() == "old"


def test_high_pictures_are_made_smaller() -> None:
    pictures = EmbeddedPictures()
    image = Image.new("RGB", (100, 400))
    assert pictures.add("a", image, small=True) == pictures.add("a", image) == pictures.place("a") == 0
    assert pictures.add("b", image) == 1
    sizes = [Image.open(BytesIO(b64decode(address.split(",")[1]))).size for address in pictures.addresses]
    assert sizes == [(40, 160), (96, 384)]
