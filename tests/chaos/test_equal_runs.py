"""When two runs count as equal: bit for bit, but for their names, places and times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.chaos.campaigns import numbers
from benchmarks.chaos.equal_runs import differences


def test_the_same_run_twice_is_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    config = numbers.small_config(tmp_path)
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        numbers.train(replace(config, name=name, seed=seed))
    first, again, other = (config.runs / name for name in ("first", "again", "other"))
    assert differences(first, again) == []
    files = {place.partition("/state")[0].partition("/0")[0] for place in differences(first, other)}
    assert {"metrics.jsonl", "checkpoints/iteration_00000010.pt"} <= files


def test_one_bit_of_a_checkpoint_is_a_difference(tmp_path: Path) -> None:
    for name, last in (("a", 1.0), ("b", 1.0), ("c", 1.0 + 2**-23)):
        (tmp_path / name).mkdir()
        torch.save({"x": [torch.tensor([0.0, last, float("nan")])]}, tmp_path / name / "1.pt")
        (tmp_path / name / "notes.json").write_text(json.dumps([f"{name}: took {ord(name)} s"]))
    # whoever draws curves says so in the report
    (tmp_path / "a" / "report.md").write_text("Notes\n\n## Training\n\n![Training](samples/curves.png)\n\n## Files")
    (tmp_path / "b" / "report.md").write_text("Notes\n\n## Files")
    assert differences(tmp_path / "a", tmp_path / "b") == []
    assert differences(tmp_path / "a", tmp_path / "c") == ["report.md: missing", "1.pt/x/0"]
