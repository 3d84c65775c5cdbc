"""Model files whose configuration others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from intact_fast import SRReID, UserError
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.thresholds import read_thresholds


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    SRReID(build_osnet("osnet_x0_25", 5), Generator((4, 4)), (48, 32)).save_pretrained(path)
    return path


def with_configuration(whole: Path, path: Path, text: str) -> Path:
    save_file(load_file(whole), path, {"intact_fast": text})
    return path


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), "1", r"written in version '1', this version reads 1"),
        (("critic",), [], r"\(critic is a list, not keys with values\)"),
        (("critic", "name"), "resnet50", r"critic\.name is 'resnet50', not one of osnet_x1_0"),
        (("critic", "num_classes"), 10**9, r"classifier\.weight has the shape \(5, 512\), and should have"),
        (("critic", "num_classes"), -1, "no network has such settings"),
        (("critic", "enlarge"), 10**6, "enlarge is out of its range"),
        (("generator", "widths"), [10**6] * 2, r"stem\.weight has the shape"),
        (("generator", "blocks_per_group"), 10**9, "blocks cannot be"),
        (("options", "size"), [10**9, 32], r"options\.size is 1000000000 × 32"),
        (("options", "size"), [48], r"options\.size is a list, not a list of 2 values"),
        (("options", "size"), [47, 32], r"options\.size is no multiple of 4"),
        (("options", "mode"), "sometimes", r"options\.mode is 'sometimes', not one of auto"),
        (("options", "lr_height"), None, r"options\.lr_height is None, not a whole number"),
        (("options", "threads"), 10**6, r"options\.threads: no such key"),
        (("thresholds",), {"data": "x", "views": {"sr": 3}}, r"thresholds\.views\.sr is 3, not keys with values"),
    ],
)
def test_a_wrong_value_is_named(
    whole: Path, tmp_path: Path, place: tuple[str, ...], value: object, message: str
) -> None:
    with safe_open(whole, "pt") as file:
        plain: Any = json.loads(file.metadata()["intact_fast"])
    holder = plain
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    path = with_configuration(whole, tmp_path / "x.safetensors", json.dumps(plain))
    with pytest.raises(UserError, match=rf"^{path}: .*{message}") as caught:
        SRReID.from_pretrained(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "3", "{", "[" * 5000, '{"version": NaN}'])
def test_a_configuration_that_is_none(whole: Path, tmp_path: Path, text: str) -> None:
    path = with_configuration(whole, tmp_path / "x.safetensors", text)
    with pytest.raises(UserError, match=rf"^{path}: ") as caught:
        SRReID.from_pretrained(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", '{"intact_fast": "thresholds", "version": 1, "thresholds": 3}', "[" * 5000])
def test_thresholds_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=r"^--thresholds .*t\.json: no file of thresholds of this version"):
        read_thresholds(tmp_path / "t.json", "digest", "--thresholds")
