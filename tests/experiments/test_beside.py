from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.experiments import table_runs
from intact_fast.experiments.beside import recipes_beside, set_beside
from intact_fast.training.run import Run
from tests.training_cases import SINGLE_PROCESS


def test_rows_stand_beside_a_run(
    tiny_config: Config,
    picture_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They have its C and its split, and are trained once."""
    picture_folder()
    config = replace(
        tiny_config,
        compare=("sr+id", "light+query-critic", "mse+id"),
        training=replace(tiny_config.training, iterations=2, log_every=1),
    )
    recipes = recipes_beside(config)
    assert recipes == ["mse+id", "light+query-critic"]
    evaluation = Run(config, SINGLE_PROCESS).execute()
    capsys.readouterr()
    path = set_beside(config, recipes, evaluation, SINGLE_PROCESS)
    run = config.runs / config.name
    assert path == run / "rows" / "rows.md"
    text = path.read_text(encoding="utf-8")
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    assert names == ["HR queries (upper bound)", "LR queries without SR", "INTACT", "mse+id", "light+query-critic"]
    assert "mse+id: MSE and identity." in text
    assert "light+query-critic" in capsys.readouterr().out.split("mse+id: MSE")[0]
    assert not list((run / "rows").rglob("critic.pt"))
    assert sum(1 for _ in (run / "rows").glob("*/result.json")) == 2

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(table_runs, "Run", refuse)
    assert set_beside(config, recipes, evaluation, SINGLE_PROCESS).read_text(encoding="utf-8") == text


def test_a_recipe_that_is_none_is_refused_before_anything_is_trained(tiny_config: Config) -> None:
    with pytest.raises(UserError, match=r"^--compare intct: no such recipe; "):
        recipes_beside(replace(tiny_config, compare=("intct",)))


def test_nothing_is_compared_unless_asked_for(tiny_config: Config) -> None:
    assert recipes_beside(tiny_config) == []
