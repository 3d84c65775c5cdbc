"""Means, intervals and differences over seeds, and the document that shows them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intact_fast.config.command_line import to_yaml
from intact_fast.config.options import Config, EvaluationConfig
from intact_fast.experiments.paper_tables import TABLES, reported
from intact_fast.experiments.published import OurProtocol
from intact_fast.experiments.results import RowResult, read_result
from intact_fast.experiments.summary import (
    Interval,
    as_json,
    bootstrap,
    iterations_to_reach,
    markdown,
    mean_std,
    summaries,
)

MULTI_SHOT = OurProtocol(EvaluationConfig(protocol="multi-shot"))


def result(recipe: str, seed: int, rank1: list[float], **more: object) -> RowResult:
    figures = {"Rank-1": 100 * float(np.mean(rank1)), "mAP": 50.0}
    r = [2 if i % 2 else 4 for i in range(len(rank1))]
    pid = list(range(len(rank1)))
    return RowResult(recipe, seed, "", "manifest", figures, {"Rank-1": 90.0}, rank1, r, pid, **more)  # type: ignore[arg-type]


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_bootstrap_covers_the_standard_error() -> None:
    values = np.random.default_rng(1).random(400)
    people = list(range(400))
    interval = bootstrap([(people, values.tolist())])
    error = 100 * values.std() / 20
    assert interval.low == pytest.approx(100 * values.mean() - 1.96 * error, abs=0.3 * error)
    assert interval.high == pytest.approx(100 * values.mean() + 1.96 * error, abs=0.3 * error)
    again = bootstrap([(people, values.tolist())] * 4)
    assert width(again) == pytest.approx(width(interval))


def test_more_queries_of_the_same_people_tell_no_more() -> None:
    """A person's queries succeed and fail together; over queries the interval would be half as wide."""
    values = np.random.default_rng(1).random(400)
    once = bootstrap([(list(range(400)), values.tolist())])
    four_times = bootstrap([(np.repeat(np.arange(400), 4).tolist(), np.repeat(values, 4).tolist())])
    assert width(four_times) == pytest.approx(width(once))


def test_the_same_people_split_otherwise_are_not_others() -> None:
    """Random halves of 800 people, as easy to find in each: ten splits are not ten times as many people."""
    rng = np.random.default_rng(1)
    values = rng.random(800)
    halves = [rng.permutation(800)[:400] for _ in range(10)]
    interval = bootstrap([(half.tolist(), values[half].tolist()) for half in halves])
    error = 100 * values.std() / 800**0.5
    assert width(interval) == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_bootstrap_of_a_constant_is_a_point() -> None:
    interval = bootstrap([([0, 1], [1.0, 1.0]), ([0, 1], [0.0, 0.0])])
    assert (interval.low, interval.high) == (50, 50)


def test_a_draw_without_anyone_of_a_seed_counts_as_its_mean() -> None:
    interval = bootstrap([([0], [1.0]), ([1], [0.0])])
    assert (interval.low, interval.high) == (50, 50)


def test_mean_std() -> None:
    assert mean_std([3.0]) == (3.0, None)
    mean, deviation = mean_std([1.0, 3.0])
    assert mean == 2
    assert deviation == pytest.approx(2**0.5)


def test_a_gain_is_paired_by_query_and_seed() -> None:
    results = {
        "intact": [result("intact", 0, [1.0, 1.0, 0.0, 1.0]), result("intact", 1, [1.0, 0.0, 1.0, 1.0])],
        "mse+id+gan": [result("mse+id+gan", 1, [1.0, 0.0, 0.0, 1.0])],
    }
    baseline, intact = summaries(["mse+id+gan", "intact"], results, TABLES[3], "market1501")
    gain, interval = intact.gain_over(baseline)  # type: ignore[misc]
    assert gain == 25
    assert interval.low >= 0
    assert baseline.gain_over(summaries(["lr"], {"lr": [result("lr", 7, [1.0])]}, None, "viper")[0]) is None


def test_rank1_by_r_with_the_unseen_ones() -> None:
    rows = [result("intact", 0, [1.0, 0.0, 1.0, 0.0], unseen={"8": 30.0})]
    (row,) = summaries(["intact"], {"intact": rows}, None, "viper")
    assert row.per_r() == {2: 0.0, 4: 100.0, 8: 30.0}


def test_iterations_to_reach() -> None:
    row = result("intact", 0, [1.0], curve=[(10, 20.0), (20, 40.0), (30, 39.0)])
    assert iterations_to_reach(row, 40.0) == 20
    assert iterations_to_reach(row, 41.0) is None


def test_document_shows_both_sides_and_the_missing_parts() -> None:
    curve = [(10, 40.0), (20, 50.0)]
    health = {"validation/r2": 0.2, "validation/r2_ridge": 0.4}
    results = {
        "lr": [result("lr", 0, [0.0, 1.0])],
        "mse+id+gan": [result("mse+id+gan", 0, [1.0, 0.0], curve=curve, step_ms=100.0)],
        "intact": [result("intact", 0, [1.0, 1.0], curve=[(10, 55.0)], step_ms=110.0, health=health)],
        "mse+id": [],
    }
    names = ["lr", "mse+id", "mse+id+gan", "intact"]
    rows = summaries(names, results, TABLES[3], "market1501")
    assert [row.recipe for row in rows] == ["mse+id+gan", "intact", "lr"]
    text = markdown("Table 3", TABLES[3], "market1501", "multi-shot CMC", rows, ["a note"], MULTI_SHOT)
    assert "| MSE+ID+GAN+Association: Rank-1 | 100.0 | 88.1 | +11.9 |" in text
    assert "| MSE+ID+GAN+Association over `mse+id+gan` | +50.0 |" in text
    assert "| MSE+ID+GAN+Association | 110 | 55.0 | 10 | 0.20 / 0.40 |" in text
    assert "| MSE+ID+GAN | 100 | 50.0 | 20 | – |" in text
    assert "| MSE+ID+GAN+Association over `lr` | +50.0 |" in text
    assert "One seed; percent, dB; multi-shot CMC." in text
    assert "- a note" in text
    plain = as_json(rows, "multi-shot CMC")
    assert plain["intact"]["protocol"] == "multi-shot CMC"
    assert plain["intact"]["figures"]["Rank-1"] == {"mean": 100.0, "std": None}
    assert plain["lr"]["paper"] == {}
    assert plain["lr"]["gains"] == {}
    assert plain["intact"]["gains"]["mse+id+gan"]["points"] == 50
    assert plain["intact"]["reached"] == {"0": 10}
    assert plain["intact"]["upper"] == {"Rank-1": 90.0}


def test_a_table_of_another_data_set_says_what_the_paper_has() -> None:
    results = {"intact": [result("intact", 0, [1.0])], "mse+id": [result("mse+id", 0, [1.0])]}
    rows = summaries(["mse+id", "intact"], results, TABLES[3], "viper")
    text = markdown("Table 3", TABLES[3], "viper", "", rows, [])
    assert "| MSE+ID+GAN+Association: Rank-1 | 100.0 | 46.2 | +53.8 |" in text
    assert "The paper has MSE+ID on market1501 alone." in text
    del results["mse+id"], results["intact"]
    results["lr"] = [result("lr", 0, [1.0])]
    rows = summaries(["lr"], results, TABLES[3], "market1501")
    assert "The paper has" not in markdown("Table 3", TABLES[3], "market1501", "", rows, [])


def test_the_papers_figures_are_found_in_whichever_table_has_them() -> None:
    assert reported("cuhk03", "mse+id")["Rank-1"] == 82.7
    assert reported("market1501", "mse+id+gan")["Rank-1"] == 84.7
    assert reported("cuhk03", "intact") == {
        **{"Rank-1": 86.4, "Rank-5": 97.4, "Rank-10": 98.5},
        **{"SSIM": 0.73, "PSNR (dB)": 22.8},
    }
    assert reported("viper", "mse+id") == {}
    results = {
        "mse+id": [result("mse+id", 0, [1.0]), result("mse+id", 1, [1.0])],
        "lr": [result("lr", 0, [1.0])],
    }
    rows = summaries(["mse+id", "lr"], results, None, "market1501")
    text = markdown("Recipes", None, "market1501", "", rows, [], MULTI_SHOT)
    assert "| MSE and identity: Rank-1 | 100.0 | 83.7 | +16.3 |" in text
    assert "| INTACT, beside our best row (`mse+id`): Rank-1 | 100.0 | 88.1 | +11.9 |" in text
    assert "| PS-HRNet, beside our best row (`mse+id`): Rank-1 | – | 91.5 | – |" in text
    single = markdown("Recipes", None, "market1501", "", rows, [])
    assert "| MSE and identity: Rank-1 | – | 83.7 | – |" in single
    assert "Not compared: Rank-1 of INTACT (single-shot here)." in single
    assert "over up to 2 seeds" in text


def test_columns_are_those_that_were_measured_eight_at_most() -> None:
    ranked = ("Rank-1", "mAP", "multi-shot Rank-1", "cosine Rank-1", "cosine multi-shot Rank-1")
    others = ("Rank-5", "Rank-10", "multi-shot mAP", "cosine mAP", "PSNR (dB)", "SSIM")
    every = {name: 50.0 + i for i, name in enumerate((*ranked, *others))}
    new = replace(result("intact", 0, [1.0]), figures=every, upper=every)
    old = result("mse+id", 0, [1.0], further={})
    rows = summaries(["intact", "mse+id"], {"intact": [new], "mse+id": [old]}, None, "viper")
    tables = [part.splitlines() for part in markdown("t", None, "viper", "", rows, []).split("\n\n") if part[0] == "|"]
    headers = [[cell.strip() for cell in table[0].strip("|").split("|")] for table in tables]
    assert headers[0] == ["", "Rank-1", "95 % over people", *ranked[1:], "PSNR (dB)"]
    assert headers[1] == ["further figures", "Rank-5", "Rank-10", "multi-shot mAP", "cosine mAP", "SSIM"]
    assert tables[0][3].split("|")[2:7] == [" 100.0 ", " [100.0, 100.0] ", " 50.0 ", " – ", " – "]
    assert as_json(rows, "")["intact"]["figures"].keys() == every.keys()
    assert as_json(rows, "")["intact"]["upper"].keys() == set(ranked)
    (_, narrow) = markdown("t", None, "viper", "", rows[1:], []).split("\n\n")[:2]
    assert narrow.splitlines()[0] == "|  | Rank-1 | 95 % over people | mAP |"


def test_further_rows_stand_in_a_table_of_their_own() -> None:
    further = [{"sr+flip": {"Rank-1": 60.0, "mAP": 40.0}}, {"sr+flip": {"Rank-1": 62.0, "mAP": 41.0}}]
    results = [result("mse+id", seed, [1.0], further=found) for seed, found in enumerate(further)]
    rows = summaries(["mse+id", "lr"], {"mse+id": results, "lr": [result("lr", 0, [0.0])]}, None, "viper")
    text = markdown("t", None, "viper", "", rows, [])
    assert "| further rows | Rank-1 | mAP |" in text
    assert "| MSE and identity: `sr+flip` | 61.0 ± 1.4 | 40.5 ± 0.7 |" in text
    plain = as_json(rows, "")
    assert plain["mse+id"]["further"]["sr+flip"]["Rank-1"]["mean"] == 61
    assert plain["lr"]["further"] == {}


def test_results_of_a_former_version_are_read(tmp_path: Path) -> None:
    config = Config()
    kept = replace(result("lr", 0, [1.0], further={"sr+flip": {"mAP": math.nan}}), config=to_yaml(config))
    path = tmp_path / "result.json"
    kept.save(path)
    found = read_result(path, config, set(), "manifest")
    assert found is not None
    assert math.isnan(found.further["sr+flip"]["mAP"])
    values = json.loads(path.read_text())
    del values["further"]
    path.write_text(json.dumps(values))
    assert read_result(path, config, set(), "manifest") == replace(kept, further={})
    # asked for more, the row is measured again
    asked = replace(config, evaluation=replace(config.evaluation, test_time=("flip",)))
    assert read_result(path, asked, set(), "manifest") is None
