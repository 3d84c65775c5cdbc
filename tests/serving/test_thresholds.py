"""Thresholds of a model: kept in its file, refused where they say nothing, and read from a file of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from intact_fast import SRReID, UserError
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.thresholds import (
    Threshold,
    Thresholds,
    ViewThresholds,
    read_thresholds,
    rounded_up,
    write_thresholds,
)

STEPS = (Threshold(1e-1, 0.5, 0.1, 0.95), Threshold(1e-2, 0.75, 0.0095, 0.9))
MEASURED = Thresholds(
    "viper, held-out training people of split 012345678901", {"sr": ViewThresholds(64, 4032, 64, STEPS)}
)


def make(thresholds: Thresholds | None = MEASURED, with_generator: bool = True) -> SRReID:
    torch.manual_seed(0)
    generator = Generator(widths=(4, 4, 4, 4)) if with_generator else None
    return SRReID(build_osnet("osnet_x0_25", 3), generator, (48, 32), lr_height=40, thresholds=thresholds)


def test_a_model_file_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    make().save_pretrained(path)
    again = SRReID.from_pretrained(path, fold=True)
    assert again.thresholds == MEASURED
    assert again.thresholds.at("sr", 1e-2).similarity == 0.75


def test_a_file_without_them_has_none(tmp_path: Path) -> None:
    """As files of earlier versions are."""
    path = tmp_path / "model.safetensors"
    make(None).save_pretrained(path)
    assert b"thresholds" not in path.read_bytes()
    assert SRReID.from_pretrained(path).thresholds is None


def test_another_critic_has_none(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "model.safetensors")
    torch.save(build_osnet("osnet_x0_25", 3).state_dict(), tmp_path / "osnet.pth")
    assert SRReID.from_torchreid(tmp_path / "osnet.pth", tmp_path / "model.safetensors").thresholds is None
    make().save_generator(tmp_path / "g.safetensors")
    assert b"thresholds" not in (tmp_path / "g.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("view", "rate", "message"),
    [
        ("hr", 1e-2, "--accept 0.01: no threshold for HR queries, as viper, held-out .* has none; calibrate"),
        ("sr", 1e-3, "needs 10,000 pairs of two people, and viper, .* has 4,032; give one of 0.1, 0.01, or calibrate"),
        ("sr", 5e-2, "measured are 0.1, 0.01; give one, or use intact-fast calibrate --rates 0.05"),
    ],
)
def test_what_was_not_measured_is_refused(view: str, rate: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MEASURED.at(view, rate, "--accept")


def test_a_file_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    with pytest.raises(UserError, match=r"--thresholds .*: no such file; intact-fast calibrate --out"):
        read_thresholds(path, "abc", "--thresholds")
    write_thresholds(path, MEASURED, "model.safetensors", "abc")
    assert read_thresholds(path, "abc", "--thresholds") == MEASURED
    with pytest.raises(
        UserError, match=r"measured with model.safetensors \(abc\), another model than this one \(def\)"
    ):
        read_thresholds(path, "def", "--thresholds")
    written = json.loads(path.read_text())
    for broken in ({**written, "version": 2}, {**written, "thresholds": {"data": "x"}}, [], {"a": 1}):
        path.write_text(json.dumps(broken))
        with pytest.raises(UserError, match="no file of thresholds of this version"):
            read_thresholds(path, "abc", "--thresholds")


def test_a_query_is_named_by_how_it_is_served() -> None:
    model = make()
    assert [model.view_of(height) for height in (39, 40)] == ["sr", "hr"]
    assert [model.view_of(height, "always") for height in (39, 40)] == ["sr", "sr"]
    assert [model.view_of(height, "never") for height in (39, 40)] == ["lr", "hr"]
    assert make(with_generator=False).view_of(39) == "lr"


def test_a_printed_threshold_accepts_no_more() -> None:
    assert rounded_up(0.73121) == "0.7313"
    assert rounded_up(0.7312) == "0.7312"


def test_a_model_can_be_given_others() -> None:
    model = make(None)
    model.thresholds = replace(MEASURED, data="ours")
    assert model.thresholds.data == "ours"
