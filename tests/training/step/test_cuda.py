"""The training step on a GPU against the CPU; run by ``make gpu``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.setup import make_step, random_batch
from intact_fast.config.options import Config

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("compiled", ["off", "on"])
@pytest.mark.parametrize("kernels", ["torch", "triton"])
def test_shared_step_on_cuda_equals_cpu(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch, kernels: str, compiled: str
) -> None:
    training = replace(tiny_config.training, precision="fp32", kernels=kernels, compile=compiled)  # type: ignore[arg-type]
    config = replace(tiny_config, training=training)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    records = {}
    for name in ("cpu", "cuda"):
        device = torch.device(name, 0) if name == "cuda" else torch.device(name)
        plain = replace(training, compile="off", kernels="torch")
        step = make_step(config if name == "cuda" else replace(config, training=plain), device)
        records[name] = [step(random_batch(config, 8, device, i), i, True) for i in range(2)]
    for cpu, cuda in zip(records["cpu"], records["cuda"], strict=True):
        for key, value in cpu.items():
            torch.testing.assert_close(cuda[key].cpu(), value, rtol=2e-2, atol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_no_host_synchronisation_between_logs(tiny_config: Config, precision: str) -> None:
    training = replace(tiny_config.training, precision=precision, compile="off", cuda_graph="off")  # type: ignore[arg-type]
    device = torch.device("cuda", 0)
    step = make_step(replace(tiny_config, training=training), device)
    batches = [random_batch(tiny_config, 8, device, i) for i in range(2)]
    for i, batch in enumerate(batches):
        step(batch, i, False)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i, batch in enumerate(batches):
            step(batch, 2 + i, False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_replayed_graphs_equal_plain_iterations(tiny_config: Config, precision: str, compiled: str) -> None:
    """Detailed iterations between them, the warm-up of L_dis before; replays never make the host wait."""
    training = replace(tiny_config.training, precision=precision, compile=compiled, kernels="torch")  # type: ignore[arg-type]
    association = replace(tiny_config.association, dis_warmup=6, dis_floor="hr")
    config = replace(tiny_config, training=training, association=association)
    device = torch.device("cuda", 0)
    records = []
    for graphed in (False, True):
        step = make_step(replace(config, training=replace(training, cuda_graph="on" if graphed else "off")), device)
        batches = [random_batch(config, 8, device, i) for i in range(12)]
        rows = []
        for i, batch in enumerate(batches):
            torch.cuda.synchronize()
            # both kinds have been captured by then
            torch.cuda.set_sync_debug_mode("error" if i == 11 else "default")
            try:
                record = step(batch, i, i == 8)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            rows.append({name: value.clone() for name, value in record.items()})
        records.append(rows)
    tolerance = {"rtol": 2e-3, "atol": 1e-4} if precision == "fp32" else {"rtol": 0.05, "atol": 0.02}
    for plain, replayed in zip(*records, strict=True):
        for name in (n for n in plain if n.startswith("loss/")):
            torch.testing.assert_close(replayed[name], plain[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("compiled", ["off", "on"])
def test_what_auto_fuses_in_graphs_changes_nothing(tiny_config: Config, compiled: str) -> None:
    training = replace(tiny_config.training, precision="bf16", compile=compiled, cuda_graph="on")  # type: ignore[arg-type]
    device = torch.device("cuda", 0)
    batches = [random_batch(tiny_config, 8, device, i) for i in range(6)]
    losses = []
    for kernels in ("torch", "auto"):
        step = make_step(replace(tiny_config, training=replace(training, kernels=kernels)), device)
        records = [{k: v.clone() for k, v in step(b, i, False).items()} for i, b in enumerate(batches)]
        losses.append({k: torch.stack([r[k] for r in records]) for k in records[0] if k.startswith("loss/")})
    plain, fused = losses
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=0.05, atol=0.02, msg=lambda m, n=name: f"{n}: {m}")


def test_bf16_step_trains(tiny_config: Config) -> None:
    config = replace(
        tiny_config,
        training=replace(tiny_config.training, precision="bf16", compile="off"),
        optimiser=replace(tiny_config.optimiser, generator_learning_rate=5e-3),
    )
    step = make_step(config, torch.device("cuda", 0))
    batch = random_batch(config, 8, torch.device("cuda", 0))
    losses = [step(batch, i, False)["loss/mse"].item() for i in range(30)]
    assert all(loss == loss for loss in losses), "no NaN"
    assert losses[-1] < 0.9 * losses[0]
