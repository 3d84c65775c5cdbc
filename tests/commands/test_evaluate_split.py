"""`intact-fast evaluate` never tests on people that the checkpoint was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.dataset_fixtures import write_cuhk03_release
from intact_fast.commands.evaluate import EvaluateOptions, _check_split
from intact_fast.config.command_line import to_yaml
from intact_fast.config.options import Config, DataConfig
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError


def test_a_person_in_other_boxes_is_the_same_person(tmp_path: Path) -> None:
    write_cuhk03_release(tmp_path / "cuhk-03.mat")
    data = DataConfig(dataset="cuhk03", root=tmp_path, val_fraction=0)
    trained = obtain_manifest(data)
    trained.save(tmp_path / "run" / "manifest.jsonl")
    checkpoint = {"config": to_yaml(Config(data=data)), "manifest_hash": trained.hash}
    path = tmp_path / "run" / "checkpoints" / "best.pt"
    options = EvaluateOptions(data=data)

    same_people = obtain_manifest(replace(data, cuhk03_boxes="labeled"))
    _check_split(same_people, checkpoint, options, path)
    others = obtain_manifest(replace(data, cuhk03_boxes="labeled", split_seed=1))
    with pytest.raises(UserError, match="may test on its training pictures"):
        _check_split(others, checkpoint, options, path)
