"""Names of devices, as ``--device`` and the modules for users take them, and what they compute."""

from __future__ import annotations

import os
import re

import torch

from intact_fast.errors import UserError

_KNOWN = re.compile(r"(auto|cpu|cuda)|(cpu|cuda):(\d+)")
_CHOICES = "use auto, cpu, cuda or cuda:N"
_BFLOAT16_SINCE = (8, 0)
"""Compute capability of NVIDIA's first GPUs that compute bfloat16 (Ampere)."""


def parse_device(name: str, option: str = "--device") -> tuple[str, int | None]:
    """Split a name into a kind and a number, whether there is such a device or not.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or one of several, as ``cuda:1``.
        option: How the user gave it, for errors.

    Returns:
        The kind, and the number where the name has one.

    Raises:
        UserError: It is no such name.
    """
    known = _KNOWN.fullmatch(name) if isinstance(name, str) else None
    if known is None:
        # torch knows others, whose operators this project has not been tried on
        hint = f"use cuda:{name}" if str(name).isdecimal() else _CHOICES
        raise UserError(f"{option} {name}: trainings and models run on cpu or cuda; {hint}")
    kind, number = known[1] or known[2], None if known[3] is None else int(known[3])
    if kind == "cpu" and number:
        raise UserError(f"{option} {name}: the processor is one device; use cpu")
    return kind, number


def require_gpu(name: str, number: int, option: str = "--device") -> None:
    """See that there is a GPU of that number.

    Raises:
        UserError: There is none.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number < count:
        return
    if count == 0:
        raise UserError(f"{option} {name}: PyTorch sees no GPU; use cpu, or install a CUDA build of torch")
    there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible} numbers them anew)"
    raise UserError(f"{option} {name}: PyTorch sees {count} GPU{'s' * (count > 1)} here{shown}; use {there}")


def find_device(name: str | torch.device, option: str = "device") -> torch.device:
    """Give the device of a name; ``auto`` is a GPU where there is one.

    Args:
        name: As `parse_device` takes it, or a device.
        option: How the user gave it, for errors.

    Raises:
        UserError: It is no such name, or there is no such GPU.
    """
    kind, number = parse_device(str(name), option)
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    require_gpu(str(name), number or 0, option)
    return torch.device("cuda") if number is None else torch.device("cuda", number)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes bfloat16; else it is emulated, and slower than float32.

    Processors do with AMX or AVX512-BF16; AVX-512 alone only converts.
    """
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE
