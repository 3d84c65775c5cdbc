"""What pages show of measurements: generated blocks, figures in prose, drawings and records agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.generate import plots, records, speed
from docs.generate.__main__ import MAKERS, pages
from docs.generate.blocks import ROOT, Call, fill

RESULTS = sorted(path for path in (ROOT / "docs" / "results").glob("*.md"))
EXPERIMENTS = [path for path in RESULTS if path.stem not in {"index", "not-measured"}]
PARTS = ["Question", "Set-up", "Command", "Table", "Reading", "Record"]
FIELDS = {"kind", "headline", "date", "machine", "versions", "commands"}
FIELDS_OF_A_ROW = {
    *("recipe", "label", "command", "seeds", "figures", "by_seed", "interval", "by_r", "gains", "health"),
    # what single records know besides
    *("health_by_seed", "hr_queries", "interval_over_queries", "third_seed", "from"),
}
FIGURE = re.compile(r"[+−]?\d+\.\d+")
BLOCK = re.compile(r"<!-- generated: [^\n]+ -->\n.*?<!-- end generated -->", re.DOTALL)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """Fill every page anew, and draw every figure into a folder of its own."""
    drawn = tmp_path_factory.mktemp("drawn")
    with plots.redirected(drawn):
        yield {name_of(page): fill(page.read_text(encoding="utf-8"), page, MAKERS) for page in pages()}, drawn


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def figures_of(text: str) -> set[str]:
    """Give every decimal figure, and each signed one without its sign, too."""
    found = set(FIGURE.findall(text))
    return found | {figure.lstrip("+−") for figure in found}


def without_code(text: str) -> str:
    return re.sub(r"`[^`]*`|\]\([^)]*\)|OSNet x[\d.]+", "", text)


# pages


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_blocks_are_what_the_records_give(page: Path, filled: tuple[dict[str, str], Path]) -> None:
    assert page.read_text(encoding="utf-8") == filled[0][name_of(page)], "stale; run python -m docs.generate"


@pytest.mark.parametrize("page", EXPERIMENTS, ids=name_of)
def test_page_has_the_form_of_all_experiments(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# \S", text)
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == PARTS
    assert "<!-- generated: commands" in section(text, "Command") or "```sh" in section(text, "Command")
    assert "benchmarks/records/" in section(text, "Record")
    sentences = re.findall(r"[.:!?](?=\s|$)", without_code(section(text, "Reading")))
    assert 1 <= len([mark for mark in sentences if mark != ":"]) <= 12


@pytest.mark.parametrize("page", EXPERIMENTS, ids=name_of)
def test_figures_of_the_reading_stand_in_a_table(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = figures_of("".join(BLOCK.findall(text)))
    said = FIGURE.findall(without_code(BLOCK.sub("", section(text, "Reading"))))
    assert [figure for figure in said if figure not in known] == []


def test_figures_of_the_findings_stand_in_a_table() -> None:
    text = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    known = figures_of("".join(BLOCK.findall(text)))
    said = FIGURE.findall(without_code(BLOCK.sub("", section(text, "Findings"))))
    assert said
    assert [figure for figure in said if figure not in known] == []


def test_index_links_every_page() -> None:
    text = (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", text))
    assert linked == {page.name for page in RESULTS if page.stem != "index"}


# figures


def test_drawings_show_what_the_records_give(filled: tuple[dict[str, str], Path]) -> None:
    drawn = {path.name for path in filled[1].glob("*.svg")}
    assert drawn
    assert plots.stale(filled[1]) == []
    assert {path.name for path in plots.FIGURES.glob("*.svg")} == drawn


# records


def numbers_in(value: object) -> Iterator[float]:
    """Yield every number of a record, those within texts included."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    elif isinstance(value, str):
        yield from (float(figure) for figure in re.findall(r"\d+\.\d+", value))


@pytest.mark.parametrize("name", records.names())
def test_record_has_the_fields_of_the_schema(name: str) -> None:
    record = records.read(name)
    assert set(record) >= FIELDS
    assert record["kind"] in {"training", "speed", "tests", "reliability"}
    assert isinstance(record["commands"], dict)
    assert record["commands"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert name.startswith(record["date"])
    if record["kind"] == "training" and "interval_over" in record:
        assert record["interval_over"] in {"people", "queries"}
    for row in record.get("rows", {}).values() if record["kind"] == "training" else ():
        assert set(row) <= FIELDS_OF_A_ROW
        assert row["figures"]
        assert row.get("command") is None or row["command"] in record["commands"]


@pytest.mark.parametrize("name", records.names())
def test_headline_says_what_the_record_holds(name: str, filled: tuple[dict[str, str], Path]) -> None:
    record = records.read(name)
    headline = record["headline"]
    assert 0 < len(headline.split()) <= 20
    held = list(numbers_in({key: value for key, value in record.items() if key not in {"headline", "commands"}}))
    shown = figures_of("".join("".join(BLOCK.findall(text)) for text in filled[0].values() if f"{name}.json" in text))
    for figure in re.findall(r"\d+\.\d+", without_code(headline)):
        digits = len(figure.split(".")[1])
        # a speed record holds seconds where the headline says milliseconds, and may leave ratios to its table
        scales = (1, 1000) if record["kind"] == "speed" else (1,)
        near = any(
            abs(abs(number) * scale - float(figure)) <= 0.5001 * 10**-digits for number in held for scale in scales
        )
        assert near or (record["kind"] == "speed" and figure in shown), figure


def test_a_page_links_every_record() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert [name for name in records.names() if f"benchmarks/records/{name}.json" not in text] == []


def test_courses_belong_to_records() -> None:
    for path in sorted((records.FOLDER / "courses").glob("*.csv")):
        assert path.stem in records.names()
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        assert head.startswith(("training,iteration", "row,", "training,"))
        assert all(line.count(",") == head.count(",") for line in lines)


def test_a_ladder_of_two_networks_has_a_table_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(preset: str, *speeds: float) -> dict[str, Any]:
        times = {"median_ms": 1.0, "min_ms": 1.0, "max_ms": 1.0}
        rungs = [{"rung": "naive", "switch": "", "img_per_s": speed, "ratio": 1.0, **times} for speed in speeds]
        return {"preset": preset, "batch_size": 32, "ladder": rungs}

    call = Call(("a record",), {}, ROOT / "README.md")
    found = {**half("paper", 111.0), "light": half("best", 222.0, 333.0)}
    monkeypatch.setattr(records, "read", lambda name: found)
    paper, light = speed.ladder_block(call).split("Preset `best`, batch 32:\n\n")
    assert paper.startswith("Preset `paper`, batch 32:\n\n| ")
    assert "**111**" in paper
    assert "| 222 |" in light
    assert "**333**" in light
    # a record of one network needs no title, and a half that had no time has no table
    del found["light"]
    assert speed.ladder_block(call).startswith("| ")
    found["light"] = half("best")
    assert "best" not in speed.ladder_block(call)


def test_records_are_read_as_they_are_written() -> None:
    for name in records.names():
        text = (records.FOLDER / f"{name}.json").read_text(encoding="utf-8")
        assert text.endswith("}\n")
        # NaN and Infinity, which JSON has no words for
        json.loads(text, parse_constant=pytest.fail)
