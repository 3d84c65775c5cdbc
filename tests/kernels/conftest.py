"""The places where the operators' tests run: the CPU implementation, or the Triton source itself.

With ``TRITON_INTERPRET=1`` (set by ``test_interpreted.py`` for a process of its own) CPU tensors go through the
Triton kernels, run by Triton's interpreter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from intact_fast.kernels.launch import poisoned_memory
from intact_fast.kernels.registration import IMPLEMENTATIONS, _without_autocast

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if INTERPRETED:
    for _operator, _triton in IMPLEMENTATIONS.values():
        _operator.register_kernel("cpu")(_without_autocast(_triton, "cpu"))


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Every output starts as NaN."""
    with poisoned_memory():
        yield


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of the tensors; the GPU's tests run where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    return torch.device(request.param)
