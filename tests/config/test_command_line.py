from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intact_fast.config.command_line import differences, from_yaml, parse_config, to_yaml
from intact_fast.config.options import Config
from intact_fast.config.presets import CPU, PAPER, PRESETS, resolve_preset
from intact_fast.errors import UserError


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_yaml_round_trip(preset: Config) -> None:
    config = replace(preset, data=replace(preset.data, manifest=Path("a/b.jsonl"), jpeg_quality=70))
    assert from_yaml(to_yaml(config), "x") == config


def test_broken_yaml_is_named() -> None:
    with pytest.raises(UserError, match=r"run/config\.yaml: not a configuration"):
        from_yaml("colour: red\n", "run/config.yaml")


def test_command_line_goes_over_the_preset() -> None:
    config = parse_config(["--preset", "cpu", "--data.height", "64", "--data.skip-corrupt"], "p", "d")
    assert config == replace(CPU, data=replace(CPU.data, height=64, skip_corrupt=True))
    assert parse_config(["--preset=paper"], "p", "d") == PAPER


def test_auto_preset_follows_the_machine() -> None:
    assert resolve_preset("auto", cuda=True) is PAPER
    assert resolve_preset("auto", cuda=False) is CPU
    assert parse_config([], "p", "d").preset in PRESETS


def test_paper_preset_is_the_papers() -> None:
    assert (PAPER.data.height, PAPER.data.width, PAPER.data.factors) == (256, 128, (2, 3, 4))
    assert (PAPER.optimiser.generator_learning_rate, PAPER.optimiser.association_learning_rate) == (1e-4, 1e-3)
    assert (PAPER.loss.lambda_g, PAPER.loss.lambda_c, PAPER.training.batch_size) == (0.1, 0.3, 32)
    assert PAPER.association.latent == 200
    assert (PAPER.generator.skip, PAPER.generator.global_residual) == ("none", False)


def test_help_documents_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"], "p", "d")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in (
        "--data.lr-camera",
        "--association.dis-gate",
        "--critic.init",
        "--training.step",
        "--debug",
    ):
        assert option in text


def test_differences_ignore_what_does_not_matter() -> None:
    other = replace(
        CPU,
        name="other",
        training=replace(CPU.training, iterations=7),
        optimiser=replace(CPU.optimiser, generator_learning_rate=0.5),
        data=replace(CPU.data, threads=9),
    )
    assert differences(CPU, other) == ["optimiser.generator_learning_rate"]


def test_falling_learning_rates_bind_the_length_of_a_training() -> None:
    longer = replace(CPU, training=replace(CPU.training, iterations=999))
    assert differences(CPU, longer) == []
    falling, longer = (replace(c, optimiser=replace(c.optimiser, schedule="cosine")) for c in (CPU, longer))
    assert differences(falling, longer) == ["training.iterations"]


def test_choices_in_yaml() -> None:
    """YAML reads on and off as booleans; anything else is refused."""
    text = to_yaml(CPU)
    for written, expected in (("on", "on"), ("off", "off"), ("true", "on"), ("auto", "auto")):
        config = from_yaml(text.replace("cuda_graph: auto", f"cuda_graph: {written}"), "here")
        assert config.training.cuda_graph == expected
    with pytest.raises(UserError, match=r"here: .*cuda_graph is 'sometimes', not one of auto, on, off"):
        from_yaml(text.replace("cuda_graph: auto", "cuda_graph: sometimes"), "here")


def test_what_lies_below_the_runs_may_move_with_them(tmp_path: Path) -> None:
    def at(runs: Path, critic: Path) -> Config:
        return replace(CPU, runs=runs, critic=replace(CPU.critic, checkpoint=critic))

    here, there, elsewhere = tmp_path / "a" / "table", tmp_path / "b" / "table", tmp_path / "critic.pt"
    assert differences(at(here, here / "c" / "critic.pt"), at(there, there / "c" / "critic.pt")) == []
    assert differences(at(here, here / "c.pt"), at(there, here / "c.pt")) == []
    assert differences(at(here, here / "c.pt"), at(there, there / "d.pt")) == ["critic.checkpoint"]
    assert differences(at(here, here / "c.pt"), at(there, elsewhere)) == ["critic.checkpoint"]
    assert differences(at(here, elsewhere), at(there, elsewhere)) == []
