from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.optimisers import build_optimisers
from intact_fast.training.step.shared import SharedStep
from training_cases import CPU, SINGLE_PROCESS, batch_of, networks_of, small


def seen(views: list[int]) -> Batch:
    """A batch whose picture i is filled with its view's number."""
    view = np.array(views)
    x_h = torch.tensor(views, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return replace(batch_of(0, size=len(views)), x_h=x_h, view=torch.from_numpy(view), view_on_host=view)


def test_only_what_is_unknown_is_computed() -> None:
    computed: list[list[float]] = []

    def compute(x_h: torch.Tensor) -> torch.Tensor:
        numbers = x_h[:, 0, 0, 0]
        computed.append(numbers.tolist())
        return torch.stack([numbers, -numbers], dim=1)

    table = FeatureTable(4, 2, CPU)
    for views in ([0, 5], [5, 0], [7, 0], [0, 7, 5], [1, 4]):
        expected = [[float(v), -float(v)] for v in views]
        assert table.features(seen(views), compute).tolist() == expected
    assert computed == [[0, 5], [7, 0], [1, 4]], "a mirrored picture has a feature of its own"
    table.features(batch_of(0), lambda x_h: torch.zeros(len(x_h), 2))


def test_training_with_the_table_equals_training_without(tiny_config: Config) -> None:
    config = small(tiny_config)
    batches = [replace(batch_of(i % 2), view_on_host=np.arange(6) * 2 + i % 2) for i in range(6)]
    batches = [replace(batch, view=torch.from_numpy(batch.view_on_host)) for batch in batches]
    states = []
    for table in (None, FeatureTable(6, 512, CPU)):
        networks = networks_of(config)
        step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS, table=table)
        for i, batch in enumerate(batches):
            step(batch, i, False)
        states.append(networks.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
