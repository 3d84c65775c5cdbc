"""A tiny data set with untrained networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evaluation.evaluation_cases import Setting
from intact_fast.config.options import DataConfig
from intact_fast.data.splits import obtain_manifest
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.sr_reid import SRReID


@pytest.fixture
def setting(picture_folder: Callable[..., Path]) -> Setting:
    root = picture_folder(identities=8)
    torch.manual_seed(0)
    generator = Generator(widths=(4, 4, 4, 4), global_residual=True)
    torch.nn.init.normal_(generator.tail.weight, std=0.05)
    model = SRReID(build_osnet("osnet_x0_25", 4), generator, size=(48, 32))
    return model, obtain_manifest(DataConfig(dataset="folder", root=root)), root
