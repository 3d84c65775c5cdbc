from __future__ import annotations

from dataclasses import asdict
from typing import get_args

import pytest

from intact_fast.config.command_line import parse_config
from intact_fast.config.options import DataConfig
from intact_fast.data.datasets import READERS
from intact_fast.data.presets import SPLIT_PRESETS, PresetName


def test_every_name_has_a_preset_and_every_data_set_a_reader() -> None:
    assert set(SPLIT_PRESETS) == set(get_args(PresetName))
    assert all(set(preset.datasets) <= set(READERS) for preset in SPLIT_PRESETS.values())


@pytest.mark.parametrize("name", SPLIT_PRESETS)
def test_preset_sets_the_protocol_and_says_where_from(name: PresetName) -> None:
    preset = SPLIT_PRESETS[name]
    assert preset.source
    assert preset.decided
    own = DataConfig(factors=(7,), interpolation="area", jpeg_quality=5, lr_camera="3", cuhk03_protocol="new", pad=9)
    applied = asdict(preset.apply(own))
    changed = {field for field, value in asdict(own).items() if applied[field] != value}
    by_camera = {"test_queries"} if preset.test_queries == "camera" else set()
    assert changed == {"factors", "interpolation", "jpeg_quality", "lr_camera", "cuhk03_protocol"} | by_camera
    assert applied["factors"] == (2, 3, 4)


def test_the_first_four_agree_and_vpfa_does_not() -> None:
    made = {name: preset.apply(DataConfig()) for name, preset in SPLIT_PRESETS.items()}
    assert made["paper"] == made["sing"] == made["cad"] == made["dil"] == DataConfig()
    assert made["vpfa"].lr_camera == "random"


def test_options_of_an_evaluation_are_options() -> None:
    for preset in SPLIT_PRESETS.values():
        words = [word for name, value in preset.evaluation.items() for word in (f"--evaluation.{name}", value)]
        scored = asdict(parse_config(words, "p", "d").evaluation)
        assert preset.evaluation.items() <= scored.items()
    assert SPLIT_PRESETS["ps-hrnet"].evaluation["distractors"] == "drop"
