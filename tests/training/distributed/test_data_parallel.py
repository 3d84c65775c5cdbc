"""Two gloo processes with half of the batch each compute what one process computes with all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from conftest import make_tiny_config
from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.shared import SharedStep
from training_cases import CPU, SINGLE_PROCESS, batch_of, gradient_descent, networks_of, small

ITERATIONS, BATCH = 4, 8

Trained = tuple[dict[str, Tensor], list[float]]
"""Parameters after the last iteration, and G's loss in each."""


def without_batch_statistics(networks: Networks) -> Networks:
    """Freeze every normalisation: batch statistics are each process's own, by design."""
    for module in list(networks.modules()):
        for name, child in list(module.named_children()):
            critics = networks.critic, networks.critic_of_queries
            if isinstance(child, nn.BatchNorm2d | nn.BatchNorm1d) and not any(_within(c, child) for c in critics):
                setattr(module, name, nn.Identity())
    networks.make_frozen_views()
    return networks


def _within(parent: nn.Module, child: nn.Module) -> bool:
    return any(module is child for module in parent.modules())


def part_of(batch: Batch, rank: int, size: int) -> Batch:
    part = slice(rank * size, (rank + 1) * size)
    assert batch.x_l is not None
    return replace(batch, x_h=batch.x_h[part], x_l=batch.x_l[part], label=batch.label[part])


def train(config: Config, process: Process) -> Trained:
    if config.training.sync_bn:
        networks = networks_of(config, process.device, sync_bn=process.world_size > 1)
    else:
        networks = without_batch_statistics(networks_of(config))
    # Adam would turn the rounding of a vanishing gradient into a whole step
    optimisers = gradient_descent(networks)
    step = SharedStep(networks, optimisers, config, process)
    size = BATCH // process.world_size
    losses = []
    for i in range(ITERATIONS):
        batch = on(process.device, part_of(batch_of(i, size=BATCH), process.rank, size))
        losses.append(step(batch, i, detailed=False)["loss/generator"].item())
    return {name: value.cpu() for name, value in networks.state_dict().items()}, losses


def on(device: torch.device, batch: Batch) -> Batch:
    assert batch.x_l is not None
    return replace(batch, x_h=batch.x_h.to(device), x_l=batch.x_l.to(device), label=batch.label.to(device))


def worker(rank: int, configs: dict[str, Config], folder: Path, device: torch.device) -> None:
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    try:
        torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False
        process = Process(rank, 2, device, dist.new_group(backend="gloo"))
        for name, config in configs.items():
            torch.save(train(config, process), folder / f"{name}-{rank}.pt")
    finally:
        dist.destroy_process_group()


def train_halves(configs: dict[str, Config], folder: Path, device: torch.device) -> dict[str, list[Trained]]:
    """Train each configuration in two processes; what rank 0 and what rank 1 has in the end."""
    torch.multiprocessing.start_processes(worker, (configs, folder, device), nprocs=2, start_method="spawn")
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(2)] for name in configs}


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Config]:
    config = small(make_tiny_config(tmp_path_factory.mktemp("tiny")))
    forms = ("torch", "triton")
    found = {form: replace(config, training=replace(config.training, kernels=form)) for form in forms}
    # relative to its batch, the feature term of a half is another one
    loss = replace(config.loss, lambda_f=1.0, feature="cosine")
    light = replace(config.generator, arch="light", light_width=8, light_blocks=1)
    found["C_q"] = replace(config, loss=loss, generator=light, critic=replace(config.critic, query="joint"))
    found["projection"] = replace(config, discriminator=replace(config.discriminator, condition="own"))
    return found


@pytest.fixture(scope="module")
def halves(configs: dict[str, Config], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Trained]]:
    return train_halves(configs, tmp_path_factory.mktemp("halves"), CPU)


# starting two processes takes longer than what they do: both forms are trained by the same ones
@pytest.mark.parametrize("form", ["torch", "triton", "C_q", "projection"])
def test_two_halves_equal_the_whole(configs: dict[str, Config], halves: dict[str, list[Trained]], form: str) -> None:
    compare(configs[form], halves[form], CPU)


@pytest.mark.cuda
def test_synchronised_halves_equal_the_whole(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batch statistics over both; gloo, so that one GPU serves two processes."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    config = small(tiny_config)
    config = replace(config, training=replace(config.training, sync_bn=True))
    device = torch.device("cuda", 0)
    halves = train_halves({"synchronised": config}, tmp_path, device)["synchronised"]
    compare(config, halves, device, rtol=1e-2, atol=1e-3)


def test_synchronised_networks_compute_the_same(tiny_config: Config) -> None:
    """Everything trained is converted, C is not, and frozen D still looks at its batch as D does."""
    config = small(tiny_config)
    plain, converted = networks_of(config), networks_of(config, sync_bn=True)
    assert converted.association is not None
    assert plain.association is not None
    trained = (converted.generator, converted.discriminator, converted.association)
    norms = [m for part in trained for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in converted.critic.modules())
    assert converted.frozen_discriminator.training
    batch = batch_of(0)
    f_c = torch.randn(6, 512)
    for networks in (plain, converted):
        networks.generator.train()
        networks.association.phi.train()  # type: ignore[union-attr]
    for a, b in (
        (plain.generator(batch.x_l), converted.generator(batch.x_l)),
        (plain.frozen_discriminator(batch.x_h).logits, converted.frozen_discriminator(batch.x_h).logits),
        (plain.association.phi(f_c).f_d, converted.association.phi(f_c).f_d),
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def compare(
    config: Config, halves: list[Trained], device: torch.device, rtol: float = 1e-4, atol: float = 1e-6
) -> None:
    (first, losses), (second, other_losses) = halves
    whole, expected_losses = train(config, replace(SINGLE_PROCESS, device=device))
    trained = [name for name in whole if not name.startswith(("critic.", "association.health", "association.scaler"))]
    assert len(trained) > 30
    for name in trained:
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], whole[name], rtol=rtol, atol=atol, msg=lambda m, n=name: n + m)
    mean = (torch.tensor(losses) + torch.tensor(other_losses)) / 2
    torch.testing.assert_close(mean, torch.tensor(expected_losses), rtol=rtol, atol=10 * atol)
