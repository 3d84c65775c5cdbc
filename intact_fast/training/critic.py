"""The identity critic C: trained once on HR pictures, or loaded, and frozen from then on (section 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from intact_fast.config import CriticConfig
from intact_fast.data.batches import Batch
from intact_fast.errors import UserError
from intact_fast.losses import identity_loss
from intact_fast.models import OSNet, build_osnet
from intact_fast.models.osnet import arch_of
from intact_fast.training.checkpoints import read_checkpoint
from intact_fast.training.distributed import Process
from intact_fast.training.optimisers import Updater, gradient_norm
from intact_fast.training.steps import Record

_CLASSIFIER = "classifier."


class CriticTask:
    """Training of C by cross-entropy with label smoothing, for :func:`run_task`.

    Args:
        critic: The network; trained in place.
        config: Recipe.
        process: For DDP and the device.
        autocast: Autocast type, None for float32.
    """

    name = "critic"

    def __init__(
        self, critic: OSNet, config: CriticConfig, process: Process, autocast: torch.dtype | None = None
    ) -> None:
        self.critic = critic.to(process.device, memory_format=torch.channels_last).train()
        self.iterations = config.iterations
        self._smoothing = config.label_smoothing
        self._autocast = torch.autocast(process.device.type, dtype=autocast, enabled=autocast is not None)
        self._model = process.parallel(self.critic)
        self._optimiser = Adam(
            self.critic.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self._updater = Updater(self._optimiser, autocast == torch.float16, process.device)
        self._schedule = OneCycleLR(self._optimiser, max_lr=config.lr, total_steps=config.iterations + 1)

    @property
    def module(self) -> nn.Module:
        """What the checkpoint's per-process buffers belong to."""
        return self.critic

    def step(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Update C on one batch of HR pictures."""
        with self._autocast:
            logits = self._model(batch.x_h)
        logits = logits.float()
        loss = identity_loss(logits, batch.label, self._smoothing)
        self._updater.backward(loss, detailed)
        accuracy = (logits.detach().argmax(dim=1) == batch.label).float().mean()
        record = {"loss/critic": loss.detach(), "critic/accuracy": accuracy}
        if detailed:
            record["gradient/critic"] = gradient_norm(self.critic)
        self._updater.step()
        self._schedule.step()
        return record

    def state(self) -> dict[str, Any]:
        """Everything that an unbroken training would carry on with."""
        return {
            "critic": self.critic.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._updater.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from :meth:`state`."""
        self.critic.load_state_dict(state["critic"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._updater.scaler.load_state_dict(state["scaler"])


def load_critic(path: Path, arch: str, num_classes: int | None, option: str = "--critic.checkpoint") -> OSNet:
    """Load a finished critic strictly, ours or torchreid's.

    Args:
        path: The checkpoint.
        arch: The variant that the configuration names.
        num_classes: Number of training identities; None takes the checkpoint's (for evaluation).
        option: How the user named the file, for errors.

    Raises:
        UserError: The file is no OSNet of that width, or has another number of classes.
    """
    state = _osnet_state(path, option, arch)
    classes = state[_CLASSIFIER + "weight"].shape[0]
    if num_classes is not None and classes != num_classes:
        raise UserError(
            f"{option} {path}: its classifier knows {classes} identities, the training split has {num_classes}; "
            "use --critic.init to keep the backbone and train a new classifier"
        )
    critic = build_osnet(arch, classes)
    _load(critic, state, path, option, missing_allowed=frozenset())
    return critic


def initialise_critic(critic: OSNet, path: Path, arch: str) -> None:
    """Load a backbone into ``critic``; its classifier keeps its fresh weights.

    Raises:
        UserError: The file is no OSNet of that width.
    """
    option = "--critic.init"
    state = _osnet_state(path, option, arch)
    backbone = {key: value for key, value in state.items() if not key.startswith(_CLASSIFIER)}
    classifier = frozenset(key for key in critic.state_dict() if key.startswith(_CLASSIFIER))
    _load(critic, backbone, path, option, missing_allowed=classifier)


def critic_checkpoint(critic: OSNet, arch: str) -> dict[str, Any]:
    """The file form of a finished critic; ``state_dict`` is where torchreid looks, too."""
    return {"arch": arch, "state_dict": {k: v.cpu() for k, v in critic.state_dict().items()}}


def _osnet_state(path: Path, option: str, arch: str) -> dict[str, Tensor]:
    checkpoint = read_checkpoint(path, option)
    state = checkpoint.get("state_dict", checkpoint)
    # torchreid saves the DataParallel wrapper's names
    state = {key.removeprefix("module."): value for key, value in state.items()}
    found = arch_of(state)
    if found is None or _CLASSIFIER + "weight" not in state:
        raise UserError(
            f"{option} {path}: not an OSNet checkpoint; give one of torchreid's or of this project's"
        )
    if found != arch:
        arch_option = "--arch" if option == "--critic" else "--critic.arch"
        raise UserError(f"{option} {path}: holds {found}, {arch_option} is {arch}; set {arch_option} {found}")
    return state


def _load(
    critic: OSNet, state: dict[str, Tensor], path: Path, option: str, missing_allowed: frozenset[str]
) -> None:
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
