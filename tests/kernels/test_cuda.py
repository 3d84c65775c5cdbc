"""The operators on a GPU: what no CPU can show of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import kernel_cases as cases
from intact_fast import kernels
from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.data.plan import Position
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import build_optimisers
from intact_fast.training.step.shared import SharedStep

pytestmark = pytest.mark.cuda

GPU = torch.device("cuda", 0)
CASES = {
    "pixel_shuffle_act": lambda: cases.pixel_shuffle_case((4, 64, 32, 16), "relu", True),
    "batch_norm_act": lambda: cases.batch_norm_case((4, 64, 32, 16), "relu", True),
    "depthwise_norm_act": lambda: cases.depthwise_case((4, 64, 32, 16), "relu"),
    "linear_bn_act": lambda: cases.linear_case(32, 512, 256, "relu"),
    "linear_bn_mse": lambda: cases.mse_case(32, 512, 1024),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> cases.Case:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    torch.manual_seed(0)
    return CASES[request.param]()


def on_gpu(case: cases.Case) -> cases.Inputs:
    return {
        name: None if value is None else value.detach().to(GPU).requires_grad_(value.requires_grad)
        for name, value in case.inputs.items()
    }


def forward_backward(case: cases.Case, inputs: cases.Inputs) -> list[torch.Tensor]:
    out = case.fused(inputs)
    wanted = [value for value in inputs.values() if value is not None and value.requires_grad]
    return [out, *torch.autograd.grad(out, wanted, torch.ones_like(out))]


def test_no_host_synchronisation(case: cases.Case) -> None:
    inputs = on_gpu(case)
    forward_backward(case, inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward_backward(case, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_cuda_graph_replays_the_same(case: cases.Case) -> None:
    inputs = on_gpu(case)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward_backward(case, inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = forward_backward(case, inputs)
    graph.replay()
    for ours, expected in zip(captured, forward_backward(case, inputs), strict=True):
        assert torch.equal(ours, expected)


def test_runs_are_bitwise_equal(case: cases.Case) -> None:
    inputs = on_gpu(case)
    first, second = forward_backward(case, inputs), forward_backward(case, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def zero_but_last(*shape: int) -> torch.Tensor:
    x = torch.empty(shape, dtype=torch.bfloat16, device=GPU, memory_format=torch.channels_last).zero_()
    x[-1] = torch.randn(shape[1:], device=GPU).bfloat16()
    return x


@pytest.fixture
def beyond_32_bits() -> torch.Tensor:
    """Pictures of which the last one begins beyond 2^31 elements, and the others are 0."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GiB of free GPU memory")
    return zero_but_last(66, 64, 1024, 512)


def test_pixel_shuffle_beyond_32_bits(beyond_32_bits: torch.Tensor) -> None:
    x = beyond_32_bits.requires_grad_()
    out = kernels.pixel_shuffle_act(x)
    grad = zero_but_last(*out.shape)
    (grad_x,) = torch.autograd.grad(out, x, grad)
    last = x[-1:].detach().requires_grad_()
    expected = kernels.pixel_shuffle_act_reference(last)
    assert torch.equal(out[-1:], expected)
    assert torch.equal(grad_x[-1:], *torch.autograd.grad(expected, last, grad[-1:]))
    assert not grad_x[:-1].any()


def test_batch_norm_beyond_32_bits(beyond_32_bits: torch.Tensor) -> None:
    """Statistics and gradients by the formulas on the last picture, as zeros add nothing to the sums."""
    x = beyond_32_bits.requires_grad_()
    residual = torch.zeros_like(x)
    out = kernels.batch_norm_act(x, residual=residual.requires_grad_())
    grad = zero_but_last(*out.shape)
    grad_x, grad_residual = torch.autograd.grad(out, (x, residual), grad)
    assert torch.equal(grad_residual[-1:], grad[-1:])
    count = x.shape[0] * x.shape[2] * x.shape[3]
    last, grad_last = x[-1].detach().double(), grad[-1].double()
    mean = last.sum(dim=(1, 2), keepdim=True) / count
    variance = last.square().sum(dim=(1, 2), keepdim=True) / count - mean.square()
    scale = torch.rsqrt(variance + 1e-5)
    normalised = (last - mean) * scale
    torch.testing.assert_close(out[-1].double(), normalised, rtol=0.01, atol=0.01)
    sums = (grad_last.sum(dim=(1, 2), keepdim=True), (grad_last * normalised).sum(dim=(1, 2), keepdim=True))
    expected = scale * (grad_last - sums[0] / count - normalised * sums[1] / count)
    torch.testing.assert_close(grad_x[-1].double(), expected, rtol=0.01, atol=0.01)


def test_depthwise_beyond_32_bits(beyond_32_bits: torch.Tensor) -> None:
    x = beyond_32_bits.requires_grad_()
    filters = torch.randn(64, 1, 3, 3, device=GPU)
    constants = torch.zeros(64, device=GPU), torch.ones(64, device=GPU)
    out = kernels.depthwise_norm_act(x, filters, *constants, activation="relu")
    grad = zero_but_last(*out.shape)
    (grad_x,) = torch.autograd.grad(out, x, grad)
    last = x[-1:].detach().requires_grad_()
    expected = kernels.depthwise_norm_act_reference(last, filters, *constants, activation="relu")
    torch.testing.assert_close(out[-1:], expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(grad_x[-1:], *torch.autograd.grad(expected, last, grad[-1:]), rtol=0.05, atol=0.1)
    assert not grad_x[:-1].any()


def test_training_follows_the_same_curve(tiny_config: Config) -> None:
    """A tiny model with kernels on and off: rounding apart, the same losses for dozens of iterations."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    curves = {}
    for form in ("torch", "triton"):
        config = replace(
            tiny_config,
            data=replace(tiny_config.data, height=64, width=32),
            training=replace(tiny_config.training, kernels=form),
        )
        torch.manual_seed(3)
        networks = Networks(config, build_osnet("osnet_x0_25", 5), GPU)
        step = SharedStep(
            networks,
            build_optimisers(networks, config.optimiser),
            config,
            Process(0, 1, GPU, None),
            torch.bfloat16,
        )
        generator = torch.Generator(GPU).manual_seed(0)
        losses = []
        for i in range(60):
            x_h = torch.randn(16, 3, 64, 32, device=GPU, generator=generator)
            x_l = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(x_h, 2), scale_factor=2)
            pair = (t.contiguous(memory_format=torch.channels_last) for t in (x_h, x_l))
            label = torch.randint(5, (16,), device=GPU, generator=generator)
            batch = Batch(*pair, label, torch.full((16,), 2), torch.arange(16), Position(0, 0))
            record = step(batch, i, False)
            losses.append([float(record[f"loss/{name}"]) for name in ("mse", "discriminator", "intact")])
        curves[form] = torch.tensor(losses)
    torch.testing.assert_close(curves["triton"][:5], curves["torch"][:5], rtol=0.02, atol=0.02)
    last = {form: curve[-20:].mean(dim=0) for form, curve in curves.items()}
    torch.testing.assert_close(last["triton"], last["torch"], rtol=0.1, atol=0.05)
