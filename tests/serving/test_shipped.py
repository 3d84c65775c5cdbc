"""Generators that come with the package: small, described, and of G alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from intact_fast.cli import main
from intact_fast.serving.pretrained import read_pretrained, shipped
from intact_fast.serving.super_resolver import SuperResolver

MOST_BYTES = 2 << 20


def test_the_light_g_of_market1501_is_there() -> None:
    assert "market1501-light" in shipped()


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_g_is_small_and_has_a_card(name: str) -> None:
    file = shipped()[name]
    assert file.stat().st_size <= MOST_BYTES
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    for said in ("trained for", "data", "recipe", "use", "Made by"):
        assert said in card
    found = read_pretrained(name)
    assert found.critic is None
    assert found.query_critic is None
    assert found.trained_for is not None


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_g_restores_detail(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SuperResolver.from_pretrained(name)
    stripes = torch.arange(128)[:, None].div(8, rounding_mode="floor").remainder(2).float().expand(128, 64)
    picture = Image.fromarray((160 * stripes + 40).byte().numpy()).convert("RGB")
    low = picture.resize((32, 64), Image.Resampling.BILINEAR)
    back = model.super_resolve(low)[0]
    assert back.shape == (3, 256, 128)
    assert back.isfinite().all()
    # edges of the stripes come back steeper than bilinear enlarging leaves them
    enlarged = model.prepare(low)
    enlarged = enlarged * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    steepness = [x.mean(dim=0)[:, 64].diff().abs().max().item() for x in (back, enlarged)]
    assert steepness[0] > steepness[1]
    low.save(tmp_path / "low.png")
    assert main(["enhance", str(tmp_path / "low.png"), str(tmp_path / "out.png"), "--model", name]) == 0
