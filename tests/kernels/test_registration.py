"""The operators as PyTorch sees them: derivatives, opcheck, torch.compile, autocast, and what they refuse."""

from __future__ import annotations

import os

import pytest
import torch
from torch.library import opcheck
from torch.utils._python_dispatch import TorchDispatchMode

import kernel_cases as cases
from intact_fast import kernels
from intact_fast.kernels import LinearBN

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="about the CPU implementation and the registration"
)

CASES = {
    "shuffle relu": lambda: cases.pixel_shuffle_case((2, 3, 3, 2), "relu", False),
    "shuffle leaky skip": lambda: cases.pixel_shuffle_case((2, 3, 3, 2), "leaky_relu", True),
    "shuffle prelu": lambda: cases.pixel_shuffle_case((2, 3, 3, 2), "prelu", True, slopes=2),
    "shuffle one slope": lambda: cases.pixel_shuffle_case((2, 3, 3, 2), "prelu", False, slopes=1),
    "shuffle none": lambda: cases.pixel_shuffle_case((2, 3, 3, 2), "none", True, bias=False),
    "norm relu": lambda: cases.batch_norm_case((2, 3, 3, 2), "relu", False),
    "norm leaky residual": lambda: cases.batch_norm_case((2, 3, 3, 2), "leaky_relu", True),
    "norm none residual": lambda: cases.batch_norm_case((2, 3, 3, 2), "none", True, affine=False),
    "norm eval": lambda: cases.batch_norm_case((2, 3, 3, 2), "relu", True, training=False),
    "depthwise relu": lambda: cases.depthwise_case((2, 3, 4, 3), "relu"),
    "depthwise leaky": lambda: cases.depthwise_case((2, 3, 3, 2), "leaky_relu", affine=False),
    "depthwise frozen": lambda: cases.depthwise_case((2, 3, 3, 2), "relu", trained=False),
    "linear relu": lambda: cases.linear_case(5, 4, 3, "relu"),
    "linear none": lambda: cases.linear_case(5, 4, 3, "none", affine=False),
    "linear eval": lambda: cases.linear_case(5, 4, 3, "relu", training=False),
    "mse": lambda: cases.mse_case(5, 4, 3),
    "mse eval": lambda: cases.mse_case(5, 4, 3, training=False, affine=False),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(4)
    return CASES[request.param]()


def placed(inputs, dtype):
    return {
        k: None if v is None else v.detach().to(dtype, copy=True).requires_grad_(v.requires_grad)
        for k, v in inputs.items()
    }


def test_gradcheck(case):
    inputs = placed(case.inputs, torch.float64)
    names = [name for name, value in inputs.items() if value is not None and value.requires_grad]

    def function(*tensors):
        # running statistics are moved by every call and must not move the result
        return case.fused({**placed(inputs, torch.float64), **dict(zip(names, tensors, strict=True))})

    assert torch.autograd.gradcheck(function, [inputs[name] for name in names])


class Listening(TorchDispatchMode):
    """Notes calls of our operators."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "intact_fast":
            self.calls.append((function, args))
        return function(*args, **(kwargs or {}))


def test_opcheck(case):
    """On the arguments that the functions really give to their operators, forward and backward."""
    with Listening() as listening:
        out = case.fused(placed(case.inputs, torch.float32))
        out.backward(torch.randn_like(out))
    assert len(listening.calls) == 2
    for operator, arguments in listening.calls:
        # the backward operators have no derivative of their own
        differentiable = not operator._opname.endswith("_backward")
        copies = (
            a.detach().clone().requires_grad_(a.requires_grad and differentiable) if isinstance(a, torch.Tensor) else a
            for a in arguments
        )
        opcheck(operator, tuple(copies))


def test_compiles_into_one_graph(case):
    def run(function):
        inputs = placed(case.inputs, torch.float32)
        out = function(inputs)
        out.square().sum().backward()
        return {"output": out.detach()} | {
            k: v.grad if v.requires_grad else v for k, v in inputs.items() if v is not None
        }

    torch._dynamo.reset()
    eager, compiled = run(case.fused), run(torch.compile(case.fused, fullgraph=True, backend="aot_eager"))
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_inductor_keeps_layout_and_result():
    torch.manual_seed(0)
    case = cases.pixel_shuffle_case((2, 4, 6, 4), "relu", True)
    inputs = placed(case.inputs, torch.float32)
    torch._dynamo.reset()
    out = torch.compile(case.fused, fullgraph=True)(inputs)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, case.reference(inputs))


@pytest.mark.parametrize("name", ["shuffle relu", "norm leaky residual", "depthwise relu", "linear relu", "mse"])
def test_autocast_gives_the_types_of_the_modules(name):
    torch.manual_seed(0)
    case = CASES[name]()

    def run(function):
        inputs = placed(case.inputs, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            # as a convolution's output would be
            for key in ("x", "skip", "residual"):
                if inputs.get(key) is not None and inputs[key].ndim == 4:
                    inputs[key] = inputs[key].detach().bfloat16().requires_grad_()
            out = function(inputs)
        out.float().sum().backward()
        return {"output": out} | {k: v.grad for k, v in inputs.items() if v is not None and v.requires_grad}

    fused, plain = run(case.fused), run(case.reference)
    for key, value in plain.items():
        assert fused[key].dtype == value.dtype, key
        torch.testing.assert_close(fused[key], value, rtol=0.05, atol=0.05)


def test_second_call_is_bitwise_equal(case):
    first, second = (
        cases.results(case.fused, case.inputs, torch.float32, torch.device("cpu"), torch.float32) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def picture(channels=8, layout=torch.channels_last, dtype=torch.float32):
    return torch.randn(2, channels, 4, 4).to(dtype).contiguous(memory_format=layout)


LAYER = LinearBN(torch.randn(3, 4))

shuffle, norm, mse = kernels.pixel_shuffle_act, kernels.batch_norm_act, kernels.linear_bn_mse


def depthwise(x=None, filters=None, mean=None, **options):
    statistics = torch.zeros(8) if mean is None else mean, torch.ones(8)
    taps = torch.randn(8, 1, 3, 3) if filters is None else filters
    return kernels.depthwise_norm_act(picture() if x is None else x, taps, *statistics, **options)


def linear(x, activation="relu"):
    return kernels.linear_bn_act(x, LAYER, training=True, activation=activation)


MISTAKES = [
    (lambda: shuffle(picture(layout=torch.contiguous_format)), ValueError, "x must be channels-last"),
    (lambda: shuffle(picture(6)), ValueError, "multiple of 4 channels, not 6"),
    (lambda: shuffle(picture(dtype=torch.int32)), TypeError, "x is torch.int32"),
    (lambda: shuffle(torch.randn(8, 4)), ValueError, "x must have 4 dimensions"),
    (lambda: shuffle(picture()[:0]), ValueError, "x is empty"),
    (lambda: shuffle(picture(), torch.randn(2)), ValueError, "bias must hold 8 values"),
    (lambda: shuffle(picture(), activation="gelu"), ValueError, "activation must be one of none"),
    (lambda: shuffle(picture(), activation="prelu"), ValueError, "slope belongs to"),
    (lambda: shuffle(picture(), skip=picture()), ValueError, r"skip must be \(2, 2, 8, 8\)"),
    (lambda: norm(picture()[:1, :, :1, :1]), ValueError, "more than 1 value per channel"),
    (lambda: norm(picture(), training=False), ValueError, "eval mode needs them"),
    (lambda: norm(picture(), torch.randn(3)), ValueError, "weight must hold 8 values"),
    (lambda: norm(picture(), torch.randn(8, 2)[:, 0]), ValueError, "weight must be contiguous"),
    (lambda: shuffle(picture(), torch.ones(1).expand(8)), ValueError, "bias must be contiguous"),
    (lambda: norm(picture(), residual=picture(4)), ValueError, "residual must be"),
    (lambda: norm(picture(), activation="prelu"), ValueError, "activation must be one of"),
    (lambda: norm(picture(), negative_slope=-1.0), ValueError, "must not be negative"),
    (lambda: norm(picture().to("meta"), torch.randn(8)), ValueError, "weight is on cpu"),
    (lambda: depthwise(picture(layout=torch.contiguous_format)), ValueError, "x must be channels-last"),
    (lambda: depthwise(filters=torch.randn(8, 1, 5, 5)), ValueError, r"filters must be \(8, 1, 3, 3\)"),
    (lambda: depthwise(filters=torch.ones(8, 1, 3, 3).int()), TypeError, "filters is torch.int32"),
    (lambda: depthwise(mean=torch.zeros(3)), ValueError, "running_mean must hold 8 values"),
    (lambda: depthwise(bias=torch.zeros(3)), ValueError, "bias must hold 8 values"),
    (lambda: depthwise(activation="prelu"), ValueError, "activation must be one of"),
    (lambda: depthwise(negative_slope=-1.0), ValueError, "must not be negative"),
    (lambda: linear(torch.randn(2, 5)), ValueError, "weight must be N×5"),
    (lambda: linear(torch.randn(1, 4)), ValueError, "more than 1 row"),
    (lambda: linear(torch.randn(2, 4), "leaky_relu"), ValueError, "activation"),
    (lambda: mse(torch.randn(2, 4), LAYER, torch.randn(2, 4), training=True), ValueError, "target must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_what_does_not_fit_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_choice_of_the_implementation():
    x = picture()
    assert kernels.uses_operator("triton", "batch_norm_act", x)
    assert not kernels.uses_operator("torch", "batch_norm_act", x)
    for asked in kernels.FASTER:
        assert not kernels.uses_operator(asked, "pixel_shuffle_act", x), "no GPU, nothing gained"
