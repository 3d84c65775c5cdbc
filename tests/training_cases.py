"""Small networks and batches that the tests of training share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.data.plan import Position
from intact_fast.models import OSNet, build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.association import Association
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import Optimisers, Role
from intact_fast.training.step.plan import plan_step

CPU = torch.device("cpu")
SINGLE_PROCESS = Process(0, 1, CPU, None)


def batch_of(seed: int, size: int = 6, classes: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x_h = torch.randn(size, 3, 32, 16, generator=generator)
    x_l = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(x_h, 2), scale_factor=2)
    label = torch.randint(classes, (size,), generator=generator)
    return Batch(x_h, x_l, label, torch.full((size,), 2), torch.arange(size), Position(0, 0))


class SmallCritic(nn.Module):
    """A C of a few layers, for what depends on no architecture: OSNet's many take long to trace."""

    feature_dim = 512

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.fc = nn.Linear(8, self.feature_dim)
        self.classifier = nn.Linear(self.feature_dim, classes)

    def embed(self, images: Tensor) -> Tensor:
        return torch.relu(self.fc(self.layers(images)))

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))


def networks_of(
    config: Config, device: torch.device = CPU, sync_bn: bool = False, small_critic: bool = False
) -> Networks:
    torch.manual_seed(3)
    critic: Any = SmallCritic() if small_critic else build_osnet("osnet_x0_25", 5)
    with torch.no_grad():
        # a critic whose normalisation has seen pictures, so that f_c varies
        critic.train()(batch_of(99, size=16).x_h)
    return Networks(config, critic, device, sync_bn)


def gradient_descent(networks: Networks) -> Optimisers:
    """Adam would turn the rounding of a vanishing gradient into a whole step."""
    assert networks.association is not None
    query_side = [networks.generator, *([] if networks.query_critic is None else [networks.query_critic])]
    trained: dict[Role, nn.Module] = {
        "generator": nn.ModuleList(query_side),
        "discriminator": networks.discriminator,
        "association": networks.association,
    }
    return {role: torch.optim.SGD(module.parameters(), lr=0.02) for role, module in trained.items()}


def task_of(config: Config, critic: OSNet | None = None, process: Process = SINGLE_PROCESS) -> IntactTask:
    critic = build_osnet("osnet_x0_25", 5) if critic is None else critic
    return IntactTask(config, critic, process, plan_step(config, process))


def association_of(networks: Networks) -> Association:
    assert networks.association is not None
    return networks.association


def small(config: Config, **association: object) -> Config:
    data = replace(config.data, height=32, width=16)
    return replace(config, data=data, association=replace(config.association, **association))  # type: ignore[arg-type]
