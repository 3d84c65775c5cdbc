"""The fused operators on a GPU, forward and both passes, against eager PyTorch and Inductor; `operators` says how."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.operators import FORMS, INPUT_SETS, Subject, gradient_like, subjects
from benchmarks.setup import captured

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


def form_of(subject: Subject, form: str) -> Callable[..., Tensor]:
    if form != "inductor":
        return subject.fused if form == "fused" else subject.reference
    torch._dynamo.reset()
    return torch.compile(subject.reference, fullgraph=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("passes", ["forward", "forward and backward"])
@pytest.mark.parametrize(
    "subject", subjects(torch.device("cuda")), ids=lambda s: f"{s.name} {'x'.join(map(str, s.shape))}"
)
def test_operator(benchmark: BenchmarkFixture, subject: Subject, passes: str, form: str) -> None:
    """One round is all input sets in one replay of a CUDA graph."""
    function = form_of(subject, form)
    sets = [subject.inputs() for _ in range(INPUT_SETS)]
    grads = [gradient_like(subject.reference(*tensors)) for tensors in sets]

    def call(tensors: list[Tensor], grad: Tensor) -> object:
        out = function(*tensors)
        return out if passes == "forward" else torch.autograd.grad(out, tensors, grad)

    graph = captured([lambda t=t, g=g: call(t, g) for t, g in zip(sets, grads, strict=True)])

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    benchmark.group = f"{subject.name}, {subject.shape}, {passes}, {INPUT_SETS} calls"
    benchmark.extra_info["row"] = form
    benchmark.pedantic(replay, rounds=20, warmup_rounds=2)
