"""The identity critic C: it is trained once on HR pictures, or loaded, and is frozen from then on (section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from intact_fast.config.options import Config, CriticConfig
from intact_fast.data.batches import Batch
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.files import UnreadableCheckpoint, read_checkpoint
from intact_fast.losses import identity_loss
from intact_fast.models import OSNet, build_osnet
from intact_fast.models.layout import channels_last
from intact_fast.models.osnet import CLASSIFIER
from intact_fast.models.osnet_weights import StoredOSNet, load_osnet, osnet_state
from intact_fast.training.checkpoints import set_aside, write_checkpoint
from intact_fast.training.distributed.process import Process
from intact_fast.training.known_people import (
    KnownPeople,
    people_of,
    people_of_sources,
    read_known_people,
    refuse_known_people,
    stored,
)
from intact_fast.training.step.averages import Average, averaged_copy
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.measures import gradient_norm
from intact_fast.training.step.optimisers import Updater
from intact_fast.training.step.plan import autocast_type


class CriticTask:
    """Training of C by cross-entropy with label smoothing, for `TrainingLoop`.

    Args:
        critic: The network; trained in place.
        config: Recipe.
        process: For DDP and the device.
        autocast: Autocast type, None for float32.
    """

    name = "critic"
    remedy = "lower --critic.learning-rate, or use --training.precision fp32"

    def __init__(
        self, critic: OSNet, config: CriticConfig, process: Process, autocast: torch.dtype | None = None
    ) -> None:
        self.critic = channels_last(critic, process.device).train()
        self._average: OSNet | None = None
        self._moving: Average | None = None
        if config.ema_decay is not None:
            self._average, self._moving = averaged_copy(self.critic, config.ema_decay)
        self.iterations = config.iterations
        self._smoothing = config.label_smoothing
        self._degraded = config.degraded
        self._half_size_until = config.half_size * config.iterations
        self._autocast = torch.autocast(process.device.type, dtype=autocast, enabled=autocast is not None)
        self._model = process.parallel(self.critic)
        self._optimiser = Adam(
            self.critic.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.precision = autocast
        self._updater = Updater(self._optimiser, autocast == torch.float16, process.device)
        self._schedule = OneCycleLR(self._optimiser, max_lr=config.learning_rate, total_steps=config.iterations + 1)

    @property
    def module(self) -> nn.Module:
        """What the checkpoint's per-process buffers belong to."""
        # without an average, buffers keep the names that earlier checkpoints have
        if self._average is None:
            return self.critic
        return nn.ModuleDict({"critic": self.critic, "average": self._average})

    @property
    def trained(self) -> OSNet:
        """The C that the training is for: its average, where there is one."""
        return self.critic if self._average is None else self._average

    def step(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Update C on one batch of HR pictures, or of a mixture with degraded ones."""
        x = batch.x_h
        if self._degraded > 0:
            assert batch.x_l is not None
            is_degraded = torch.rand(len(x), device=x.device) < self._degraded
            x = torch.where(is_degraded[:, None, None, None], batch.x_l, x)
        if iteration < self._half_size_until:
            x = F.avg_pool2d(x, 2)
        with self._autocast:
            logits = self._model(x)
        logits = logits.float()
        loss = identity_loss(logits, batch.label, self._smoothing)
        self._updater.backward(loss, detailed)
        accuracy = (logits.detach().argmax(dim=1) == batch.label).float().mean()
        record = {"loss/critic": loss.detach(), "critic/accuracy": accuracy}
        if detailed:
            record["gradient/critic"] = gradient_norm(self.critic)
        self._updater.step()
        self._schedule.step()
        if self._moving is not None:
            self._moving.move()
        return record

    def state(self) -> dict[str, Any]:
        """Everything that an unbroken training would carry on with."""
        return {
            "critic": self.critic.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._updater.scaler.state_dict(),
            **({} if self._average is None else {"average": self._average.state_dict()}),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from :meth:`state`."""
        self.critic.load_state_dict(state["critic"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._updater.scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])


def load_critic(
    path: Path,
    arch: str | None,
    num_classes: int | None,
    option: str = "--critic.checkpoint",
    enlarge: int | None = None,
) -> OSNet:
    """Load a finished critic strictly, ours or torchreid's.

    Args:
        path: The checkpoint.
        arch: The variant that the configuration names; None takes the checkpoint's.
        num_classes: Number of training identities; None takes the checkpoint's, or none (for evaluation).
        option: How the user named the file, for errors.
        enlarge: How many times C enlarges its pictures first; None takes the file's, or 1.

    Raises:
        UserError: The file is no OSNet of that variant, has another number of classes, or enlarges otherwise than 1.
    """
    found = _stored(path, option, arch)
    # a C of whole pictures may stand behind a smaller G; one that enlarges has learnt smaller pictures
    if found.enlarge not in (None, 1) and enlarge not in (None, found.enlarge):
        raise UserError(
            f"{option} {path}: enlarges its pictures {found.enlarge} times, --critic.enlarge is {enlarge}; set "
            f"--critic.enlarge {found.enlarge}"
        )
    if num_classes is not None and found.classes != num_classes:
        knows = f"its classifier knows {found.classes} identities" if found.classes else "it has no classifier"
        raise UserError(
            f"{option} {path}: {knows}, the training split has {num_classes}; "
            "use --critic.init to keep the backbone and train a new classifier"
        )
    critic = build_osnet(found.arch, found.classes, enlarge or found.enlarge or 1)
    load_osnet(critic, found.state, path, option)
    return critic


def initialise_critic(critic: OSNet, path: Path, arch: str, keep_classifier: bool = False) -> None:
    """Load a backbone into ``critic``; its classifier keeps its fresh weights, unless the file's is wanted.

    Raises:
        UserError: The file is no OSNet of that variant, or its classifier knows another number of identities.
    """
    option = "--critic.init"
    found = _stored(path, option, arch)
    if keep_classifier:
        if found.classes != critic.num_classes:
            raise UserError(
                f"--critic.keep-classifier: {path} knows {found.classes} identities, the training split has "
                f"{critic.num_classes}; leave the option out"
            )
        load_osnet(critic, found.state, path, option)
        return
    backbone = {key: value for key, value in found.state.items() if not key.startswith(CLASSIFIER)}
    classifier = frozenset(key for key in critic.state_dict() if key.startswith(CLASSIFIER))
    load_osnet(critic, backbone, path, option, missing_allowed=classifier)


def critic_checkpoint(critic: OSNet, arch: str, known: Sequence[KnownPeople] = ()) -> dict[str, Any]:
    """The file form of a finished critic; ``state_dict`` is where torchreid looks, too.

    Args:
        critic: The network.
        arch: Its variant.
        known: Whom it was trained on, training by training.
    """
    state = {k: v.cpu() for k, v in critic.state_dict().items()}
    return {"arch": arch, "enlarge": critic.enlarge, "trained_on": stored(known), "state_dict": state}


class CriticSource:
    """Obtains the C of a run: the user's, the one that the run has trained already, or a new one.

    Args:
        config: The run's configuration.
        manifest: The run's split.
        process: This process among its group.
        say: Tells the user a line.
        note: Tells the user a sentence that the report keeps.
    """

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        process: Process,
        say: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        self._config = config
        self._settings = config.critic
        self._manifest = manifest
        self._process = process
        self._say = say
        self._note = note

    def obtain(self, train: Callable[[CriticTask], None]) -> OSNet:
        """Load, initialise or train C; every process gets the same.

        Args:
            train: Trains a task to its end.

        Raises:
            UserError: C's file does not fit, or C knows the test identities.
        """
        settings = self._settings
        if settings.checkpoint is not None:
            self._refuse_known_people(settings.checkpoint, "--critic.checkpoint", keeps_classes=True)
            critic = self._load(settings.checkpoint)
            self._note(f"critic {settings.arch} loaded from {settings.checkpoint}")
            return critic
        if settings.init is not None:
            fresh = f"starts fresh with {self._num_classes} identities"
            classifier = "is kept" if settings.keep_classifier else fresh
            self._note(f"critic's backbone from {settings.init}; its classifier {classifier}")
        finished = finished_critic(self._config)
        if self._process.on_main(lambda: self._is_usable(finished)):
            self._say(f"Critic already trained: {finished}")
            return self._load(finished)
        return self._train(train, finished)

    @property
    def _num_classes(self) -> int:
        return len(self._manifest.labels)

    def _load(self, path: Path) -> OSNet:
        return load_critic(path, self._settings.arch, self._num_classes, enlarge=self._settings.enlarge)

    def _is_usable(self, finished: Path) -> bool:
        """Whether the run's own C is there; a file that cannot be read is set aside, to train C's last steps again."""
        if not finished.is_file():
            return False
        try:
            read_checkpoint(finished, "--name: critic")
        except UnreadableCheckpoint:
            aside = set_aside(finished)
            self._say(f"warning: {finished} is no readable checkpoint; it is {aside.name} now, and C is trained again")
            return False
        return True

    def _train(self, train: Callable[[CriticTask], None], finished: Path) -> OSNet:
        """Train C from its first weights, and write it."""
        settings = self._settings
        if settings.init is not None:
            self._refuse_known_people(settings.init, "--critic.init", settings.keep_classifier)
        torch.manual_seed(self._config.seed)
        critic = build_osnet(settings.arch, self._num_classes, settings.enlarge)
        if settings.init is not None:
            initialise_critic(critic, settings.init, settings.arch, settings.keep_classifier)
        autocast = autocast_type(self._config.training, self._process.device)
        task = CriticTask(critic, settings, self._process, autocast)
        train(task)
        # every process goes on with rank 0's critic, batch statistics included
        critic.load_state_dict(self._process.broadcast(critic_checkpoint(task.trained, settings.arch)["state_dict"]))

        def write() -> None:
            known = [] if settings.init is None else read_known_people(settings.init, "--critic.init")
            known += [*people_of_sources(self._manifest), people_of(self._manifest)]
            write_checkpoint(critic_checkpoint(critic, settings.arch, known), finished)

        self._process.on_main(write)
        return critic

    def _refuse_known_people(self, path: Path, option: str, keeps_classes: bool) -> None:
        """See that the C that is given does not know the test identities."""
        self._process.on_main(lambda: refuse_known_people(path, option, self._manifest, keeps_classes))


def require_critic_file(config: Config) -> None:
    """See that the file of C that is named can be used, before data are read.

    Raises:
        UserError: It is missing, or no OSNet of the variant that the configuration names.
    """
    settings = config.critic
    if settings.checkpoint is not None:
        _stored(settings.checkpoint, "--critic.checkpoint", settings.arch)
    elif settings.init is not None and not finished_critic(config).is_file():
        _stored(settings.init, "--critic.init", settings.arch)


def finished_critic(config: Config) -> Path:
    """Where a run keeps its C when it is trained."""
    return config.runs / config.name / "checkpoints" / "critic.pt"


def _stored(path: Path, option: str, arch: str | None) -> StoredOSNet:
    found = osnet_state(path, option)
    if arch is not None and found.arch != arch:
        name = "--arch" if option == "--critic" else "--critic.arch"
        raise UserError(f"{option} {path}: holds {found.arch}, {name} is {arch}; set {name} {found.arch}")
    return found
