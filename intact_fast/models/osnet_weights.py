"""OSNet's weights from a file, ours or torchreid's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.models.osnet import OSNet, arch_of, build_osnet

CLASSIFIER = "classifier."


class StoredOSNet(NamedTuple):
    """An OSNet as a file stores it."""

    arch: str
    """Its width."""
    state: dict[str, Tensor]
    """Its state dict."""
    enlarge: int | None
    """How many times it enlarges its pictures; None of a file that does not say, as torchreid's."""


def read_osnet(path: Path, option: str, enlarge: int = 1) -> OSNet:
    """Build the OSNet that a file holds, with as many classes as it has.

    Args:
        path: The checkpoint.
        option: How the user named the file, for errors.
        enlarge: How many times it enlarges its pictures where the file does not say.

    Raises:
        UserError: The file is no OSNet.
    """
    stored = osnet_state(path, option)
    critic = build_osnet(stored.arch, stored.state[CLASSIFIER + "weight"].shape[0], stored.enlarge or enlarge)
    load_osnet(critic, stored.state, path, option)
    return critic


def osnet_state(path: Path, option: str) -> StoredOSNet:
    """Read the OSNet that a file stores.

    Raises:
        UserError: The file is no OSNet.
    """
    checkpoint = read_checkpoint(path, option)
    state = checkpoint.get("state_dict", checkpoint)
    # torchreid saves the DataParallel wrapper's names
    state = {key.removeprefix("module."): value for key, value in state.items()}
    arch = arch_of(state)
    if arch is None or CLASSIFIER + "weight" not in state:
        raise UserError(f"{option} {path}: not an OSNet checkpoint; give one of torchreid's or of this project's")
    enlarge = checkpoint.get("enlarge")
    return StoredOSNet(arch, state, enlarge if isinstance(enlarge, int) else None)


def load_osnet(
    critic: OSNet,
    state: dict[str, Tensor],
    path: Path,
    option: str,
    missing_allowed: frozenset[str] = frozenset(),
) -> None:
    """Load a state dict strictly.

    Raises:
        UserError: It does not fit.
    """
    try:
        result = critic.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"{option} {path}: tensors of another shape than {type(critic).__name__}'s") from error
    wrong = [*(set(result.missing_keys) - missing_allowed), *result.unexpected_keys]
    if wrong:
        raise UserError(f"{option} {path}: {len(wrong)} parameters do not fit OSNet, for one {sorted(wrong)[0]}")
