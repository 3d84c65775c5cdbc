"""Why a GPU that is there is not used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

_DEVICES = Path("/dev")
_DRIVER = Path("/proc/driver/nvidia")
_PCI = Path("/sys/bus/pci/devices")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NVIDIA, _DISPLAY = "0x10de", "0x03"


def why_no_gpu(device: str = "auto") -> str | None:
    """Say why this process does not use the GPU of its machine; None where it has none, or can use it.

    Args:
        device: What the user asked for by ``--device``.
    """
    nodes = sorted(path for path in _DEVICES.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal())
    has_driver = bool(nodes) or _DRIVER.exists()
    has_tool = shutil.which("nvidia-smi") is not None
    if not (has_driver or has_tool or _has_card()):
        return None
    if device == "cpu":
        return "a GPU is there and is not used: --device cpu"
    if torch.cuda.is_available():
        return None
    return f"a GPU is there and is not used: {_reason(nodes, has_driver or has_tool)}"


def _reason(nodes: list[Path], has_driver: bool) -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build (https://pytorch.org)"
    visible = os.environ.get(_VISIBLE)
    if visible is not None and (not visible.strip() or visible.strip().startswith("-")):
        return f"{_VISIBLE}={visible!r} hides it; unset the variable"
    if not has_driver:
        return (
            "NVIDIA's driver is not there; install it, or give the GPU to the container (docker run --gpus all), until "
            "nvidia-smi shows it"
        )
    closed = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return f"this user may not open {closed[0]}; ask for the right to it"
    return _driver_says()


def _driver_says() -> str:
    """What PyTorch says when it is made to begin with the GPU."""
    said = "CUDA finds no device"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        # a sentence of it: the others are addresses to download from
        said = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    visible = os.environ.get(_VISIBLE)
    shown = "" if visible is None else f" ({_VISIBLE}={visible!r})"
    return f"{said}{shown}; see that nvidia-smi works, and that its driver is new enough for torch {torch.__version__}"


def _has_card() -> bool:
    """Whether a graphics card of NVIDIA's is on the bus, with a driver or without."""
    for card in _PCI.glob("*"):
        try:
            vendor, kind = ((card / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False
