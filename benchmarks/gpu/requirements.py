"""What must be there before anything is measured."""

from __future__ import annotations

import importlib.util
import sys

NEEDED = (
    "torch",
    "triton",
    "numpy",
    "PIL",
    "yaml",
    "rich",
    "tyro",
    "torchmetrics",
    "tensorboard",
    "pytest",
    "pytest_benchmark",
)


def complaint(smoke: bool) -> str | None:
    """Say in one line what is missing, and the remedy; None where nothing is.

    Args:
        smoke: Whether a CPU will do.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return f"{sys.executable} lacks {', '.join(missing)}; install them or use another PYTHON"
    if any(importlib.util.find_spec(f"intact_fast.{part}") is None for part in ("_C", "kernels")):
        return f"{sys.executable} has no intact_fast; run pip install --no-deps -e . there first"
    import torch

    if not smoke and not torch.cuda.is_available():
        return "PyTorch sees no NVIDIA GPU; run it where torch.cuda.is_available(), or try it out with --smoke"
    return None
