"""Every operator against float64, forward and backward: the CPU implementation here, Triton in `test_interpreted`."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

import kernel_cases as cases

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("shape", cases.PICTURES)
def test_pixel_shuffle_act(shape, activation, skip, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.pixel_shuffle_case(shape, activation, skip), dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("slopes", [1, 2])
def test_pixel_shuffle_prelu(slopes, skip, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.pixel_shuffle_case((2, 6, 5, 3), "prelu", skip, slopes=slopes), dtype, device)


def test_pixel_shuffle_without_bias(device):
    torch.manual_seed(0)
    cases.check(cases.pixel_shuffle_case((2, 6, 5, 3), "relu", True, bias=False), torch.float32, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
@pytest.mark.parametrize("shape", cases.PICTURES)
def test_batch_norm_act(shape, activation, residual, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.batch_norm_case(shape, activation, residual), dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_act_modes(affine, training, residual, dtype, device):
    torch.manual_seed(0)
    case = cases.batch_norm_case((2, 20, 5, 3), "relu", residual, training, affine)
    cases.check(case, dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", cases.PICTURES)
def test_depthwise_norm_act(shape, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.depthwise_case(shape, "relu"), dtype, device)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("activation", ["none", "leaky_relu"])
def test_depthwise_norm_act_modes(activation, affine, trained, device):
    torch.manual_seed(0)
    cases.check(cases.depthwise_case((2, 20, 5, 3), activation, affine, trained), torch.float32, device)


CHUNKED = {
    "pixel_shuffle_kernels": lambda: cases.pixel_shuffle_case((3, 40, 31, 17), "relu", True),
    "batch_norm_launch": lambda: cases.batch_norm_case((3, 40, 31, 17), "relu", True),
    "depthwise_kernels": lambda: cases.depthwise_case((2, 40, 17, 9), "relu"),
}


@pytest.mark.parametrize("module", CHUNKED)
def test_many_tiles_in_few_chunks(module, device, monkeypatch):
    monkeypatch.setattr(import_module(f"intact_fast.kernels.{module}"), "_PROGRAMS", 3)
    torch.manual_seed(0)
    cases.check(CHUNKED[module](), torch.float32, device)


def test_batch_norm_far_from_zero(device):
    """Statistics of values whose mean is thousands of deviations away."""
    torch.manual_seed(0)
    case = cases.batch_norm_case((4, 5, 33, 9), "none", False)
    case.inputs["x"] = (case.inputs["x"].detach() + 3000).requires_grad_()
    cases.check(case, torch.float32, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("sizes", cases.LAYERS)
def test_linear_bn_act(sizes, activation, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.linear_case(*sizes, activation), dtype, device)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_linear_bn_act_modes(affine, training, device):
    torch.manual_seed(0)
    cases.check(cases.linear_case(9, 40, 20, "relu", training, affine), torch.float32, device)


@pytest.mark.parametrize("batch", [256, 257, 300])
@pytest.mark.parametrize("training", [False, True])
def test_batches_around_the_tile_limit(batch, training, device):
    torch.manual_seed(0)
    cases.check(cases.linear_case(batch, 12, 20, "relu", training), torch.float32, device)
    cases.check(cases.mse_case(batch, 12, 20, training), torch.float32, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", cases.LAYERS)
def test_linear_bn_mse(sizes, dtype, device):
    torch.manual_seed(0)
    cases.check(cases.mse_case(*sizes), dtype, device)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_linear_bn_mse_modes(affine, training, device):
    torch.manual_seed(0)
    cases.check(cases.mse_case(9, 40, 20, training, affine), torch.float32, device)


@pytest.mark.parametrize("make", [lambda: cases.linear_case(2, 5, 3, "relu"), lambda: cases.mse_case(2, 5, 3)])
def test_a_batch_of_two(make, device):
    """Two normalised rows are 1 and -1 whatever they were: gradients vanish, and rounding is what remains of them."""
    torch.manual_seed(0)
    case = make()
    x, weight, gamma = (case.inputs[name].detach() for name in ("x", "weight", "gamma"))
    exact, fused = (
        cases.results(function, case.inputs, dtype, place, torch.float32)
        for function, dtype, place in (
            (case.reference, torch.float64, torch.device("cpu")),
            (case.fused, torch.float32, device),
        )
    )
    steepness = (gamma / (x @ weight.T).std(dim=0, correction=0)).abs().max()
    size = float(steepness * 4 * max(1.0, x.abs().max(), weight.abs().max()))
    for name, truth in exact.items():
        torch.testing.assert_close(fused[name], truth, rtol=1e-5, atol=1e-6 * size, msg=lambda m, n=name: n + m)
