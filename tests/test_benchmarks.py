"""The benchmarks' own code, at sizes at which a CPU gets through it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from benchmarks import (
    association_step,
    contention,
    gallery_engines,
    kernel_costs,
    ladder,
    loss_terms,
    mixed_gallery,
    operators,
    record,
    rows_record,
    serving_engines,
)
from benchmarks.table_record import rows_of_table
from conftest import write_picture
from intact_fast.config.devices import computes_bfloat16
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS
from intact_fast.data.degradation import read_image
from intact_fast.experiments.results import RowResult

CPU = torch.device("cpu")


def test_every_operator_is_measured() -> None:
    rows = [
        operators.measure_subject(subject, CPU, 1e9, ("fused", "eager"), repeats=1)
        for subject in operators.subjects(CPU, batch=2, most_rows=16)
    ]
    assert {row["operator"] for row in rows} == {
        "pixel_shuffle_act",
        "pixel_shuffle_act + skip",
        "batch_norm_act relu",
        "batch_norm_act relu + residual",
        "batch_norm_act leaky_relu",
        "depthwise_norm_act",
        "linear_bn_act",
        "linear_bn_mse",
    }
    assert all(row[form]["forward_us"] > 0 for row in rows for form in ("fused", "eager"))
    assert operators.copy_bandwidth(CPU, size=1 << 20, repeats=3) > 1e6


def test_both_forms_of_the_association_step_are_measured() -> None:
    figures = association_step.measure_association_step(CPU, iterations=2)
    assert figures.keys() == {"eager", "fused"}


def test_every_rung_of_the_ladder_is_measured(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "INPUT_SETS", 1)
    monkeypatch.setattr(ladder, "GATE_ITERATIONS", 2)
    rows = ladder.measure_ladder(tiny_config, CPU, with_compile=False, repeats=1)
    assert len(rows) == (7 if computes_bfloat16(CPU) else 4)
    assert rows[0]["ratio"] == 1
    assert all(row["img_per_s"] > 0 and row["utilisation"] > 0 for row in rows)
    parts = ladder.measure_breakdown(tiny_config, CPU, iterations=2)
    assert parts.keys() == {
        *("data wait", "G forward", "D", "φ and σ", "G update", "optimisers", "iteration"),
    }
    named = sum(parts[name] for name in ("data wait", "G forward", "D", "φ and σ", "G update"))
    assert 0.5 * parts["iteration"] < named <= 1.01 * parts["iteration"]


def test_a_rung_that_computes_something_else_is_caught(tiny_config: Config) -> None:
    plain, shared = (
        ladder.Climber(rung, tiny_config, CPU)
        for rung in ladder.rungs(CPU, False)
        if rung.training["precision"] == "fp32" and not rung.training["f_c_table"] and not rung.autocast
        if rung.name != "+ channels-last"
    )
    reference = ladder.losses(plain)
    with torch.no_grad():
        shared.task.networks.discriminator.fc2.bias.add_(0.1)
    with pytest.raises(AssertionError, match="shared forward passes"):
        ladder.gate(shared, reference)


def test_the_cost_of_every_term_is_measured(tiny_config: Config) -> None:
    rows = loss_terms.measure_terms(tiny_config, CPU, repeats=2)
    assert tuple(rows) == loss_terms.ROWS
    assert rows["sole-sr"]["ratio"] == 1
    assert all(0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"] for row in rows.values())


def test_half_of_a_mixed_gallery_is_low_resolution(tmp_path: Path) -> None:
    own, copy = tmp_path / "own" / mixed_gallery.FOLDER, tmp_path / "mixed" / mixed_gallery.FOLDER
    for number in range(6):
        write_picture(own / mixed_gallery.GALLERY / f"000{number}_c1s1_000001_00.jpg", number, (24, 48))
    write_picture(own / "query" / "0001_c2s1_000001_00.jpg", 7, (24, 48))
    before = {path: path.read_bytes() for path in own.rglob("*.jpg")}

    assert mixed_gallery.copy_mixed(tmp_path / "own", tmp_path / "mixed") == 3

    assert {path: path.read_bytes() for path in own.rglob("*.jpg")} == before
    heights = [read_image(path).height for path in (copy / mixed_gallery.GALLERY).iterdir()]
    assert sum(height == 48 for height in heights) == 3
    assert set(heights) <= {48, 24, 16, 12}
    assert (copy / "query" / "0001_c2s1_000001_00.jpg").read_bytes() in before.values()


def test_a_record_holds_what_the_pages_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    stats = {"median": 0.123456, "min": 0.1, "max": 1234.5678, "rounds": 3}
    measured = [
        {"group": "sizes", "name": "test_it[a]", "param": "a", "stats": stats, "extra_info": {"row": "engine"}},
        {"group": "sizes", "name": "test_it[b]", "param": "b", "stats": stats, "extra_info": {"img_per_s": 7}},
        {"group": "whole", "name": "test_all", "param": None, "stats": stats, "extra_info": {}},
    ]
    (tmp_path / "result.txt").write_text(json.dumps({"benchmarks": measured}), encoding="utf-8")
    for _ in range(2):
        record.main(str(tmp_path / "result.txt"), "make bench", "here")
    first, second = sorted(tmp_path.glob("*.json"), key=lambda path: path.stem)
    assert second.stem == f"{first.stem}-2"
    found = json.loads(first.read_text(encoding="utf-8"))
    assert tuple(found) == (*(field for field in record.FIELDS if field != "notes"), "figures")
    assert found["headline"] == "Sizes: engine 123.5 ms, b 123.5 ms."
    assert found["commands"] == {"command": "make bench"}
    times = {"median_s": 0.12346, "min_s": 0.1, "max_s": 1234.6, "rounds": 3}
    assert found["figures"] == {"sizes": {"engine": times, "b": {**times, "img_per_s": 7}}, "whole": {"all": times}}


def test_a_record_without_a_headline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    with pytest.raises(AssertionError, match="headline"):
        record.write_record({"kind": "speed"}, "here")


def test_every_record_has_every_field() -> None:
    for path in record.RECORDS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.get("kind") == "speed":
            assert set(record.FIELDS) - {"notes"} <= found.keys(), path.name


def test_a_table_becomes_a_record_of_rows() -> None:
    row = {
        "label": "MSE+ID",
        "protocol": "exact single-shot",
        "seeds": [0, 1],
        "figures": {"Rank-1": {"mean": 20.12345, "std": 1.0}, "SSIM": {"mean": 0.8, "std": None}},
        "rank1_interval": [18.00049, 22.0],
        "per_r": {2: 25.0},
        "upper": {"Rank-1": 40.0},
        "gains": {},
        "reached": {},
        "paper": {},
        "health": [{"association/r2": 0.1}, {"association/r2": 0.3}],
        "step_ms": [None, 5.0],
    }
    found = rows_of_table({"mse+id": row})
    assert found["headline"] == "Best of 1 rows is mse+id with a single-shot Rank-1 of 20.1 %."
    assert found["rows"]["HR queries"] == {"figures": {"Rank-1": 40.0}}
    assert found["rows"]["mse+id"] == {
        "recipe": "mse+id",
        "seeds": [0, 1],
        "figures": {"Rank-1": {"mean": 20.123, "std": 1.0}, "SSIM": {"mean": 0.8}},
        "interval": [18.0, 22.0],
        "by_r": {"2": 25.0},
        "health": {"association/r2": 0.2},
        "step_ms": 5.0,
    }


def test_rows_of_several_tables_make_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(recipe: str, seed: int, rank1: list[float]) -> str:
        figures = {"Rank-1": 100 * sum(rank1) / 4, "mAP": 50.0}
        result = RowResult(recipe, seed, "", "split", figures, {"Rank-1": 90.0}, rank1, [2, 2, 3, 3], [1, 1, 2, 2])
        result.save(tmp_path / f"{recipe}{seed}.json")
        return str(tmp_path / f"{recipe}{seed}.json")

    lr = save("lr", 0, [1, 0, 0, 0])
    light = [save("light", 0, [1, 1, 0, 0]), save("light", 1, [1, 1, 1, 1])]
    given = {
        "name": "rows",
        "headline": "LR has 25.0.",
        "commands": {"both": "intact-fast experiments"},
        "references": ["lr"],
        "bound": light[0],
        "rows": {"lr": {"results": [lr]}, "light": {"command": "both", "results": light}},
    }
    (tmp_path / "spec.json").write_text(json.dumps(given), encoding="utf-8")
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    rows_record.main(str(tmp_path / "spec.json"))
    (written,) = tmp_path.glob("*-rows.json")
    rows = json.loads(written.read_text(encoding="utf-8"))["rows"]
    assert rows["HR queries"] == {"figures": {"Rank-1": {"mean": 90.0}}}
    assert rows["light"]["figures"]["Rank-1"] == {"mean": 75.0, "std": 35.355}
    assert rows["light"]["by_r"] == {"2": 100.0, "3": 50.0}
    # one LR row is held against both seeds
    assert rows["light"]["gains"]["lr"]["points"] == 50.0
    assert rows["lr"]["gains"] == {}


def test_kernel_costs_have_a_record() -> None:
    traffic = kernel_costs.traffic_rows()
    found = kernel_costs.record_of([], traffic)
    assert found["traffic"]["batch_norm_act, eval"]["forward"]["moved"] == 4
    assert found["traffic"]["depthwise_norm_act"]["forward"]["moved"] == pytest.approx(4, rel=1e-3)
    assert len(found["traffic"]) * 2 == len(traffic)


def test_two_trainings_beside_each_other_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contention, "BATCH", 2)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    assert contention.train(0.01) > 0
    monkeypatch.setattr(contention, "measure", lambda processes, environment, seconds: [1.0] * processes)
    assert contention.compare({}, turns=2) == {"alone": [1.0] * 2, "together": [1.0] * 4}


def test_the_galleries_engines_are_measured(tmp_path: Path) -> None:
    figures = gallery_engines.measure("lance", 3000, tmp_path)
    assert figures["kill"]["lost"] == 0
    assert figures["add"]["bytes_per_byte"] < 2.5
    assert figures["approximate"]["recall"] >= gallery_engines.RECALL
    text = gallery_engines.headline({"lance": figures}, 3000)
    assert text.startswith("With 3,000 pictures Lance writes 1.")


def test_engines_are_measured_on_the_same_features() -> None:
    """Forms that PyTorch compiles take minutes, and are left out."""
    names = [*(name for name in serving_engines.FORMS if "compiled" not in name), "C on bicubic", "onnxruntime"]
    rows = serving_engines.measure(PRESETS["cpu"], CPU, (1, 2), 0.01, names)
    assert set(rows) >= {"SRReID", "SRReID folded", "SRReID onnxruntime", "C on bicubic", "onnxruntime"}
    for row in rows.values():
        assert row["img_per_s"].keys() == {"1", "2"}
        assert 0 < row["latency"]["p50_ms"] <= row["latency"]["p95_ms"]
    assert rows["SRReID onnxruntime"]["difference"] < 1e-3
    assert "SRReID in eager PyTorch" in serving_engines.headline({"cpu": {"cpu": rows}})
