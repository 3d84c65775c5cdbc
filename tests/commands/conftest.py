from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import write_picture
from intact_fast import SRReID
from intact_fast.models import Generator, build_osnet


@pytest.fixture(scope="session")
def model() -> SRReID:
    """Networks whose batch statistics are not those they start with; for reading."""
    torch.manual_seed(0)
    critic, generator = build_osnet("osnet_x0_25", 5), Generator((4, 4, 4, 4), skip="add")
    with torch.no_grad():
        generator.train()(torch.randn(8, 3, 48, 32))
        critic.train()(torch.randn(8, 3, 48, 32))
    return SRReID(critic, generator, (48, 32), lr_height=40)


@pytest.fixture(scope="session")
def model_file(model: SRReID, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model.save_pretrained(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one below another folder, with files that are none."""
    root = tmp_path / "in"
    for i, name in enumerate(("a.jpg", "b.png", "sub/c.jpg", "d.bmp", "e.JPG")):
        write_picture(root / name, seed=i, size=(12, 24) if name == "b.png" else (24, 48))
    (root / "notes.txt").write_text("no picture")
    return root
