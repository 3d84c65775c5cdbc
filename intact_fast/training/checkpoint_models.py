"""Training checkpoints as retrieval modules: this reads a checkpoint and builds what it serves."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from intact_fast.config.command_line import from_yaml
from intact_fast.config.options import Config, Interpolation
from intact_fast.data.decoding import picture_size
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.models import NoGenerator, OSNet, build_osnet
from intact_fast.models.foreign_weights import describe_content, find_osnets, own_file
from intact_fast.models.loading import weights_of, with_weights
from intact_fast.plain_values import read_plain
from intact_fast.serving.pretrained import read_pretrained
from intact_fast.serving.sr_reid import LR_HEIGHT, SRReID
from intact_fast.training.intact import describe_training
from intact_fast.training.step.association import build_health
from intact_fast.training.step.networks import build_generator

_LOOKED_AT = 200


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of the alternating training.

    Raises:
        UserError: The file is missing, broken, or of something else.
    """
    checkpoint = read_checkpoint(path, "--checkpoint")
    state = checkpoint.get("state")
    if not isinstance(state, dict) or "networks" not in state or "config" not in checkpoint:
        what = "an OSNet" if find_osnets(checkpoint) and not own_file(checkpoint) else describe_content(checkpoint)
        raise UserError(
            f"--checkpoint {path}: not a checkpoint of the alternating training but {what}; a critic goes to "
            "--critic, a model file to --model"
        )
    return checked_checkpoint(checkpoint, path)


@dataclass(frozen=True)
class _Parts:
    """What of a checkpoint is used besides its networks."""

    config: str
    manifest_hash: str
    iteration: int


def checked_checkpoint(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Give a checkpoint whose parts are of their types.

    Args:
        checkpoint: What the file holds.
        path: It, for the error.

    Raises:
        UserError: One is not.
    """
    try:
        names = (field.name for field in fields(_Parts))
        read_plain(_Parts, {name: checkpoint[name] for name in names if name in checkpoint})
        networks = checkpoint["state"]["networks"]
        if not isinstance(networks, dict) or not all(isinstance(name, str) for name in networks):
            raise ValueError("state.networks are no weights by name")
        wrong = next((name for name, value in networks.items() if not isinstance(value, Tensor)), None)
        if wrong is not None:
            raise ValueError(f"state.networks.{wrong} is no tensor")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"--checkpoint {path}: not as a training writes it ({error}); give another") from error
    return checkpoint


def config_of(checkpoint: dict[str, Any], path: Path) -> Config:
    """Configuration of the run that wrote a checkpoint.

    Raises:
        UserError: It is of another version.
    """
    return from_yaml(checkpoint["config"], str(path))


def model_of_checkpoint(
    checkpoint: dict[str, Any],
    path: Path,
    size: tuple[int, int] | None = None,
    interpolation: Interpolation | None = None,
    lr_height: int = LR_HEIGHT,
) -> SRReID:
    """Build the module that a training serves: its C and its (averaged, where it has one) G.

    Args:
        checkpoint: What `read_training_checkpoint` gave.
        path: Its file, for errors.
        size: Input size instead of the training's.
        interpolation: Filter instead of the training's.
        lr_height: A picture with fewer rows is low-resolution.

    Raises:
        UserError: The networks do not fit the configuration, or the size does not fit G.
    """
    config = config_of(checkpoint, path)
    data = config.data
    size = size or (data.height, data.width)
    networks = checkpoint["state"]["networks"]
    averaged = "" if config.generator.ema_decay is None else "_ema"
    classifier = networks.get("critic.classifier.bias")
    classes = 0 if classifier is None else classifier.numel()

    def build_critic() -> OSNet:
        return build_osnet(config.critic.arch, classes, config.critic.enlarge)

    trained = None
    try:
        critic = with_weights(build_critic, weights_of("critic", networks))
        generator = with_weights(lambda: build_generator(config, size), weights_of(f"generator{averaged}", networks))
        if config.critic.query != "off":
            trained = with_weights(build_critic, weights_of(f"query_critic{averaged}", networks))
    except ValueError as error:
        raise UserError(
            f"--checkpoint {path}: its networks do not fit its own configuration ({error}); give another"
        ) from error
    served = None if isinstance(generator, NoGenerator) else generator
    filter_ = interpolation or data.interpolation
    return SRReID(critic, served, size, filter_, lr_height=lr_height, query_critic=trained)


def served_by(path: Path) -> SRReID:
    """The module that a training checkpoint serves, with its run's own LR height.

    That is the one of the run's finished model, else measured on the run's pictures.

    Args:
        path: Below ``checkpoints`` of the run's folder, or anywhere.

    Raises:
        UserError: The file is missing, broken, or of something else.
    """
    checkpoint = read_training_checkpoint(path)
    own, data = manifest_beside(path), config_of(checkpoint, path).data
    finished = own.with_name("model.safetensors")
    height = LR_HEIGHT
    if finished.is_file():
        height = read_pretrained(finished).options["lr_height"]
    elif own.is_file():
        height = lr_height(data.root, Manifest.load(own), data.factors)
    return model_of_checkpoint(checkpoint, path, lr_height=height)


def manifest_beside(path: Path) -> Path:
    """Where the run that wrote a checkpoint keeps its split."""
    return path.resolve().parent.parent / "manifest.jsonl"


def describe_checkpoint(checkpoint: dict[str, Any], path: Path) -> str:
    """Say how far the training was at a checkpoint and how much φ had learned.

    Args:
        checkpoint: What `read_training_checkpoint` gave.
        path: Its file, for errors.

    Raises:
        UserError: The configuration is of another version.
    """
    config = config_of(checkpoint, path)
    r2 = checkpoint["state"]["networks"].get("association.health.r2")
    health = None
    if r2 is not None:
        health = build_health(config.association)
        try:
            health.load_state_dict({"r2": r2}, strict=False)
        except RuntimeError as error:
            raise UserError(f"--checkpoint {path}: association.health.r2 is no number; give another") from error
    return describe_training(health, config.loss.lambda_dis, checkpoint["iteration"])


def lr_height(root: Path, manifest: Manifest, factors: tuple[int, ...]) -> int:
    """Between the heights of a data set's HR pictures and of its LR ones at the mildest r: their geometric mean.

    Args:
        root: Folder that the manifest's paths are relative to.
        manifest: Whose training pictures to look at, a few hundred at most.
        factors: The down-sampling rates.
    """
    entries = manifest.split("train")
    heights = []
    for entry in entries[:: max(1, len(entries) // _LOOKED_AT)]:
        try:
            heights.append(picture_size(root / entry.path)[1])
        except UserError:
            # a training may leave unreadable pictures out; the others say enough
            continue
    if not heights:
        return LR_HEIGHT
    return round(median(heights) / math.sqrt(max(min(factors), 1)))
