from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intact_fast.config.checks import check_config
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS
from intact_fast.errors import UserError


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_pass(preset: Config) -> None:
    check_config(preset)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("data", {"factors": ()}, r"--data\.factors"),
        ("data", {"factors": (0, 2)}, r"--data\.factors"),
        ("data", {"jpeg_quality": 0}, r"--data\.jpeg-quality 0"),
        ("data", {"pad": -1}, r"--data\.pad -1"),
        ("data", {"threads": -1}, r"--data\.threads -1"),
        ("data", {"height": 0}, r"--data\.height 0"),
        ("data", {"split_seed": -1}, r"--data\.split-seed -1"),
        ("data", {"val_fraction": 1.0}, r"--data\.val-fraction 1\.0"),
        ("data", {"clean_share": 1.0, "degradation": "blind"}, r"--data\.clean-share 1\.0: must be at least 0"),
        ("data", {"clean_share": 0.5}, r"--data\.clean-share 0\.5: .*add --data\.degradation blind"),
        ("training", {"batch_size": 1}, r"--training\.batch-size 1: batch normalisation"),
        ("training", {"iterations": 0}, r"--training\.iterations 0"),
        ("training", {"log_every": -1}, r"--training\.log-every -1"),
        ("critic", {"batch_size": 1}, r"--critic\.batch-size 1"),
        (
            "critic",
            {"checkpoint": Path("a"), "init": Path("b")},
            r"--critic\.checkpoint and --critic\.init exclude",
        ),
        ("evaluation", {"batch_size": 0}, r"--evaluation\.batch-size 0"),
        ("discriminator", {"widths": (8, 8)}, r"--discriminator\.widths \(8, 8\): give 4 widths"),
        ("generator", {"widths": ()}, r"--generator\.widths \(\)"),
        ("data", {"pad": 2}, r"--training\.f-c-table: with --data\.pad 2"),
        ("generator", {"ema_decay": 1.0}, r"--generator\.ema-decay 1\.0"),
        ("generator", {"arch": "none"}, r"--generator\.arch none: nothing is left to train; use --critic\.query joint"),
        ("generator", {"light_blocks": 0}, r"--generator\.light-blocks 0"),
        ("loss", {"lambda_f": -1.0}, r"--loss\.lambda-f -1\.0"),
        ("data", {"augment": "strong"}, r"--training\.f-c-table: with --data\.augment strong f_c depends on the draw"),
        ("loss", {"lambda_f": 1.0, "feature": "map"}, r"--loss\.feature map: --training\.f-c-table holds no"),
        ("loss", {"lambda_g": float("nan")}, r"--loss\.lambda-g nan: must be a finite number"),
        ("loss", {"lambda_dis": -1.0}, r"--loss\.lambda-dis -1\.0: must be 0 or more"),
        ("optimiser", {"generator_learning_rate": float("inf")}, r"--optimiser\.generator-learning-rate inf"),
        ("optimiser", {"betas": (0.9, 1.0)}, r"--optimiser\.betas 1\.0: must be at least 0 and below 1 each"),
        ("critic", {"learning_rate": -1.0}, r"--critic\.learning-rate -1\.0: must be 0 or more"),
        ("critic", {"label_smoothing": 1.5}, r"--critic\.label-smoothing 1\.5: must be 0 to 1"),
        ("critic", {"pad": -1}, r"--critic\.pad -1: must be 0 or more"),
        ("association", {"hidden": (0,)}, r"--association\.hidden 0: must be 1 or more"),
        ("training", {"iterations": 2**31}, r"--training\.iterations 2147483648: must be below 2147483648"),
        ("data", {"split_seed": 2**62}, r"--data\.split-seed 4611686018427387904: must be below"),
        ("data", {"height": 10**6}, r"--data\.height 1000000: must be at most 2,048"),
        ("data", {"factors": (2,) * 1000}, r"--data\.factors: 1,000 values; give 64 at most"),
        ("generator", {"blocks_per_group": 10**6}, r"--generator\.blocks-per-group 1000000: must be at most 256"),
        ("association", {"updates_per_iteration": 0}, r"--association\.updates-per-iteration 0"),
        ("association", {"predictor": "mean", "direction": "d-to-r"}, r"--association\.predictor mean: only with"),
        ("critic", {"enlarge": 0}, r"--critic\.enlarge 0"),
        (
            "data",
            {"height": 8, "width": 16},
            r"--data\.height 8, --data\.width 16: too small for osnet_x0_25, which divi",
        ),
        ("critic", {"degraded": 1.5}, r"--critic\.degraded 1\.5: must be 0 to 1"),
        ("critic", {"erased": -0.1}, r"--critic\.erased -0\.1: must be 0 to 1"),
        ("critic", {"half_size": 60.0}, r"--critic\.half-size 60\.0: must be 0 to 1"),
        ("critic", {"ema_decay": 1.0}, r"--critic\.ema-decay 1\.0: must be at least 0 and below 1"),
        ("critic", {"keep_classifier": True}, r"--critic\.keep-classifier: whose"),
    ],
)
def test_senseless_values_are_named(section: str, changes: dict[str, Any], message: str) -> None:
    config = replace(PRESETS["cpu"], training=replace(PRESETS["cpu"].training, f_c_table=True))
    with pytest.raises(UserError, match=message):
        check_config(replace(config, **{section: replace(getattr(config, section), **changes)}))


def test_a_number_of_any_length_is_named() -> None:
    with pytest.raises(UserError, match=r"^--seed a huge number: must be below"):
        check_config(replace(PRESETS["cpu"], seed=10**5000))


def test_instance_normalisation_needs_two_positions() -> None:
    """AIN normalises in C's last layers, where a picture of 16 by 16 has one value for each channel."""
    config = replace(PRESETS["cpu"], critic=replace(PRESETS["cpu"].critic, arch="osnet_ain_x0_25"))
    small = replace(config, data=replace(config.data, height=16, width=16))
    with pytest.raises(UserError, match="too small for osnet_ain_x0_25"):
        check_config(small)
    check_config(replace(small, data=replace(small.data, height=32)))
    check_config(replace(small, critic=replace(small.critic, enlarge=2)))
    check_config(replace(small, critic=replace(small.critic, arch="osnet_x0_25")))


def test_something_is_left_of_a_picture_at_half_size() -> None:
    config = replace(PRESETS["cpu"], critic=replace(PRESETS["cpu"].critic, half_size=0.6))
    small = replace(config, data=replace(config.data, height=32, width=16))
    with pytest.raises(UserError, match=r"use 64 and 32 or more, .*or leave --critic\.half-size out"):
        check_config(small)
    check_config(replace(small, data=replace(small.data, height=64, width=32)))
    check_config(replace(small, critic=replace(small.critic, enlarge=2)))
    check_config(replace(small, critic=replace(small.critic, half_size=0.0)))


def test_what_trains_queries_needs_a_term() -> None:
    config = PRESETS["cpu"]
    alone = replace(
        config,
        generator=replace(config.generator, arch="none"),
        critic=replace(config.critic, query="joint"),
        loss=replace(config.loss, lambda_g=0.0, lambda_dis=0.0),
    )
    check_config(alone)
    with pytest.raises(UserError, match=r"--generator\.arch none: without G there is nothing for D to judge"):
        check_config(replace(alone, loss=config.loss))
    further = replace(alone, data=replace(alone.data, unlabelled=Path("x")))
    with pytest.raises(UserError, match=r"--data\.unlabelled: without G only the feature term learns"):
        check_config(further)
    check_config(replace(further, loss=replace(further.loss, lambda_f=1.0)))
    with pytest.raises(UserError, match=r"--critic\.query joint: no term trains C_q"):
        check_config(replace(alone, loss=replace(alone.loss, lambda_c=0.0)))


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/../b", "/tmp/a", "a/", "a\nb"])
def test_a_run_has_a_folder_of_its_own(name: str) -> None:
    with pytest.raises(UserError, match="must name a folder below --runs"):
        check_config(replace(Config(), name=name))
    check_config(replace(Config(), name="table/row-1 é"))
