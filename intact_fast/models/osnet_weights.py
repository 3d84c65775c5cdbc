"""OSNet's weights from a file, ours or torchreid's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from intact_fast.config.ranges import MOST
from intact_fast.errors import UserError, warn
from intact_fast.files import read_checkpoint
from intact_fast.models.foreign_weights import FoundOSNet, describe_content, find_osnets, own_file, rows_of
from intact_fast.models.osnet import CLASSIFIER, FEATURE_DIM, OSNet, arch_of, build_osnet, first_widths
from intact_fast.plain_values import shown


class StoredOSNet(NamedTuple):
    """An OSNet as a file stores it."""

    arch: str
    """Its variant."""
    state: dict[str, Tensor]
    """Its state dict."""
    enlarge: int | None
    """How many times it enlarges its pictures; None of a file that does not say, as torchreid's."""

    @property
    def classes(self) -> int:
        """Identities that its classifier tells apart; 0 where it has none."""
        weight = self.state.get(CLASSIFIER + "weight")
        return 0 if weight is None else rows_of(weight)


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
    critic = build_osnet(stored.arch, stored.classes, stored.enlarge or enlarge)
    load_osnet(critic, stored.state, path, option)
    return critic


def osnet_state(path: Path, option: str) -> StoredOSNet:
    """Read the OSNet that a file stores: under any keys and prefixes, with its classifier or without.

    Raises:
        UserError: The file is no OSNet, or holds several.
    """
    checkpoint = read_checkpoint(path, option)
    found = find_osnets(checkpoint)
    if not found or own_file(checkpoint):
        raise UserError(
            f"{option} {path}: not an OSNet checkpoint but {describe_content(checkpoint)}; give an OSNet of "
            "torchreid's, or checkpoints/critic.pt of a run"
        )
    if len(found) > 1:
        places = ", ".join(osnet.place or "at its top" for osnet in found)
        raise UserError(
            f"{option} {path}: holds {len(found)} OSNets ({places}); save the one you mean under state_dict alone"
        )
    (osnet,) = found
    arch = _arch(osnet, path, option)
    if osnet.place and osnet.left_out:
        warn(
            f"{option} {path}: {len(osnet.left_out)} tensors beside {osnet.place} are left out, for one "
            f"{osnet.left_out[0]}; f_c is OSNet's own"
        )
    enlarge = checkpoint.get("enlarge")
    if not isinstance(enlarge, int) or isinstance(enlarge, bool):
        enlarge = None
    elif not 1 <= enlarge <= MOST["critic.enlarge"]:
        raise UserError(f"{option} {path}: enlarge is {shown(enlarge)}; it should be 1 to {MOST['critic.enlarge']}")
    return StoredOSNet(arch, osnet.state, enlarge)


def _arch(osnet: FoundOSNet, path: Path, option: str) -> str:
    """Name a network's variant, and see that its features are f_c's size.

    Raises:
        UserError: It is none of the published networks.
    """
    arch = arch_of(osnet.state)
    if arch is None:
        raise UserError(
            f"{option} {path}: an OSNet whose conv1 has the shape {tuple(osnet.state['conv1.conv.weight'].shape)}; "
            f"the published ones have {', '.join(map(str, first_widths()))} channels there"
        )
    fc = osnet.state.get("fc.0.weight")
    if fc is None:
        raise UserError(
            f"{option} {path}: an OSNet without its fully connected layer (fc.0.weight), as fast-reid's; f_c is that "
            "layer's output, so give torchreid's form"
        )
    if rows_of(fc) != FEATURE_DIM:
        raise UserError(
            f"{option} {path}: an OSNet of {rows_of(fc)} features (fc.0.weight); C's are {FEATURE_DIM}, as torchreid's "
            "by default"
        )
    return arch


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
    own = critic.state_dict()
    for name in own.keys() & state.keys():
        if own[name].shape != state[name].shape:
            raise UserError(
                f"{option} {path}: {name} has the shape {tuple(state[name].shape)}, {critic.name}'s is "
                f"{tuple(own[name].shape)}; give the file of another network"
            )
        _check_values(state[name], name, path, option, own[name].is_floating_point())
    result = critic.load_state_dict(state, strict=False)
    wrong = [*(set(result.missing_keys) - missing_allowed), *result.unexpected_keys]
    if wrong:
        raise UserError(f"{option} {path}: {len(wrong)} parameters do not fit OSNet, for one {sorted(wrong)[0]}")


def _check_values(value: Tensor, name: str, path: Path, option: str, is_weight: bool) -> None:
    """Refuse what PyTorch would copy into a weight without a word, or with an exception of its own."""
    if value.is_meta or value.layout != torch.strided or (is_weight and not value.is_floating_point()):
        kind = "without values" if value.is_meta else f"of type {value.dtype}, {value.layout}"
        raise UserError(
            f"{option} {path}: {name} is {kind.replace('torch.', '')}; save the weights as dense floating-point tensors"
        )
    if is_weight and not value.float().isfinite().all():
        raise UserError(
            f"{option} {path}: {name} has values that are no numbers, as of a training that diverged; give an earlier "
            "checkpoint"
        )


def feature_digest(critic: OSNet) -> str:
    """Digest of everything that a critic's features depend on, as hexadecimal digits; its classifier has no part."""
    digest = hashlib.sha256(str(critic.enlarge).encode())
    for name, value in critic.state_dict().items():
        if not name.startswith(CLASSIFIER) and not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
