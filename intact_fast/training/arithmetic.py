"""What a process computes with: where any of it differs between two machines, so do the last bits of their results."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def arithmetic_of(device: torch.device, autocast: torch.dtype | None) -> dict[str, str]:
    """Describe this process's arithmetic, for a checkpoint.

    Args:
        device: Where it trains.
        autocast: Type of the networks; None for float32.
    """
    found = {
        "precision": str(autocast or torch.float32).removeprefix("torch."),
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "PyTorch": str(torch.__version__),
    }
    if device.type == "cpu":
        tiles = " with AMX" if torch.cpu._is_amx_tile_supported() else ""
        found["instructions"] = torch.backends.cpu.get_cpu_capability() + tiles
        found["threads"] = str(torch.get_num_threads())
    return found


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what differs; empty where nothing does, or nothing is known of before."""
    changed = [name for name in before if name in now and before[name] != now[name]]
    return ", ".join(f"{name} {before[name]} before and {now[name]} now" for name in changed)
