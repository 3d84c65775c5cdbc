"""The variables by which torchrun tells a process of its group, where something else has set them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from intact_fast.errors import UserError

_NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_PORTS = 2**16


def check_group(environment: Mapping[str, str] = os.environ) -> None:
    """See that a process knows its group before it waits for it.

    Args:
        environment: Of this process.

    Raises:
        UserError: A variable is missing or makes no sense. Every process says it, as none may be the first.
    """
    wrong = _wrong(environment)
    if wrong:
        error = UserError(f"{wrong}; start several processes by torchrun, or unset the variable for a single one")
        error.one_process = True
        raise error


def _wrong(environment: Mapping[str, str]) -> str:
    """Say what is wrong; empty where nothing is. Without WORLD_SIZE nothing but the place on the machine counts."""
    has_group = environment.get("WORLD_SIZE", "1") != "1"
    for name in _NUMBERS if has_group else ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        if name in environment and not (environment[name].isascii() and environment[name].isdecimal()):
            return f"environment variable {name}={environment[name]}: no whole number"
    if not has_group:
        return ""
    if int(environment["WORLD_SIZE"]) < 1:
        return f"environment variable WORLD_SIZE={environment['WORLD_SIZE']}: no process at all"
    missing = [name for name in _NEEDED if name not in environment]
    if missing:
        return f"environment variable WORLD_SIZE={environment['WORLD_SIZE']} is set, and {', '.join(missing)} not"
    if int(environment["RANK"]) >= int(environment["WORLD_SIZE"]):
        return f"environment variable RANK={environment['RANK']}: WORLD_SIZE is {environment['WORLD_SIZE']}"
    if not 0 < int(environment["MASTER_PORT"]) < _PORTS:
        return f"environment variable MASTER_PORT={environment['MASTER_PORT']}: no port"
    return ""
