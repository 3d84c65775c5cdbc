"""OSNet's weights from a file, ours or torchreid's."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.models.osnet import OSNet, arch_of, build_osnet

CLASSIFIER = "classifier."


def read_osnet(path: Path, option: str) -> OSNet:
    """Build the OSNet that a file holds, with as many classes as it has.

    Args:
        path: The checkpoint.
        option: How the user named the file, for errors.

    Raises:
        UserError: The file is no OSNet.
    """
    arch, state = osnet_state(path, option)
    critic = build_osnet(arch, state[CLASSIFIER + "weight"].shape[0])
    load_osnet(critic, state, path, option)
    return critic


def osnet_state(path: Path, option: str) -> tuple[str, dict[str, Tensor]]:
    """Name and state dict of the OSNet in a file.

    Raises:
        UserError: The file is no OSNet.
    """
    checkpoint = read_checkpoint(path, option)
    state = checkpoint.get("state_dict", checkpoint)
    # torchreid saves the DataParallel wrapper's names
    state = {key.removeprefix("module."): value for key, value in state.items()}
    arch = arch_of(state)
    if arch is None or CLASSIFIER + "weight" not in state:
        raise UserError(
            f"{option} {path}: not an OSNet checkpoint; give one of torchreid's or of this project's"
        )
    return arch, state


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
        raise UserError(
            f"{option} {path}: tensors of another shape than {type(critic).__name__}'s"
        ) from error
    wrong = [*(set(result.missing_keys) - missing_allowed), *result.unexpected_keys]
    if wrong:
        raise UserError(
            f"{option} {path}: {len(wrong)} parameters do not fit OSNet, for one {sorted(wrong)[0]}"
        )
