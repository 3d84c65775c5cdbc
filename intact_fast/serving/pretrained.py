"""The retrieval module as one safetensors file with its configuration inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from intact_fast.config.options import Interpolation, OSNetName
from intact_fast.config.ranges import MOST
from intact_fast.errors import UserError
from intact_fast.file_names import plain_path
from intact_fast.files import UnreadableCheckpoint, read_checkpoint, write_atomically
from intact_fast.foreign_files import describe_file, is_safetensors
from intact_fast.json_text import from_json, to_json
from intact_fast.models.foreign_weights import describe_content, find_osnets, own_file
from intact_fast.models.generators import AnyGenerator, generator_of
from intact_fast.models.loading import weights_of, with_weights
from intact_fast.models.osnet import OSNet, build_osnet
from intact_fast.models.osnet_weights import feature_digest
from intact_fast.plain_values import read_plain, shown
from intact_fast.serving.thresholds import Thresholds

_KEY = "intact_fast"
_VERSION = 1
_SHIPPED = Path(__file__).resolve().parent.parent / "pretrained"
_NEW_NAMES = {"kernel": "interpolation"}
"""Today's names of options that earlier files have under another one."""


@dataclass(frozen=True)
class _Critic:
    """Settings of C or C_q in a file."""

    name: OSNetName
    num_classes: int
    enlarge: int = 1


@dataclass(frozen=True)
class _Options:
    """Options of the module in a file."""

    size: tuple[int, int]
    interpolation: Interpolation
    mode: Literal["auto", "always", "never"]
    lr_height: int
    normalize: bool


@dataclass(frozen=True)
class _Configuration:
    """What a file says of its tensors, in the order in which it is written."""

    version: int
    critic: _Critic | None
    generator: dict[str, Any] | None
    options: _Options
    query_critic: _Critic | None = None
    enlarge: int = 1
    trained_for: str | None = None
    thresholds: Thresholds | None = None


@dataclass(frozen=True)
class Pretrained:
    """What a model file holds.

    Attributes:
        critic: C, or None in a file of G alone.
        generator: G, or None.
        query_critic: C_q, or None.
        options: Of the module around them, plain values.
        enlarge: How many times C enlarges its pictures first.
        trained_for: Digest of the C that a G without it was trained for (`feature_digest`), or None.
        thresholds: Of these networks, or None where none were measured.
    """

    critic: OSNet | None
    generator: AnyGenerator | None
    query_critic: OSNet | None
    options: dict[str, Any]
    enlarge: int
    trained_for: str | None = None
    thresholds: Thresholds | None = None

    def fits(self, critic: OSNet) -> bool:
        """Say whether G was trained for that C, as far as the file tells."""
        known = self.trained_for if self.critic is None else feature_digest(self.critic)
        return known in (None, feature_digest(critic))

    def networks(self) -> dict[str, nn.Module]:
        """Those that are there, by the prefix of their tensors."""
        found = {"critic": self.critic, "generator": self.generator, "query_critic": self.query_critic}
        return {role: network for role, network in found.items() if network is not None}


def write_pretrained(path: Path, model: Pretrained) -> None:
    """Write networks and options, atomically.

    Args:
        path: The file; an older one is replaced.
        model: What it shall hold.
    """
    tensors = {
        f"{role}.{name}": value.detach().cpu().contiguous()
        for role, network in model.networks().items()
        for name, value in network.state_dict().items()
    }
    configuration: dict[str, Any] = {
        "version": _VERSION,
        "critic": None if model.critic is None else _settings(model.critic),
        "generator": None if model.generator is None else model.generator.settings,
        "options": model.options,
    }
    if model.query_critic is not None:
        configuration["query_critic"] = _settings(model.query_critic)
    if model.critic is None:
        configuration |= {"enlarge": model.enlarge, "trained_for": model.trained_for}
    if model.thresholds is not None:
        configuration["thresholds"] = model.thresholds.to_plain()
    with write_atomically(path) as temporary:
        # the file's own writer makes another temporary one, which stays where the process is killed
        temporary.write_bytes(save(tensors, {_KEY: to_json(configuration)}))


def _settings(critic: OSNet) -> dict[str, Any]:
    return {"name": critic.name, "num_classes": critic.num_classes, "enlarge": critic.enlarge}


def shipped() -> dict[str, Path]:
    """Files that come with the package, by name; each has a card beside it that says how it was made."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.safetensors"))}


def find_pretrained(path: str | Path) -> Path:
    """The file of that path, or the shipped one of that name."""
    if str(path) in shipped() and not Path(path).exists():
        return shipped()[str(path)]
    return Path(path)


def read_pretrained(path: str | Path) -> Pretrained:
    """Rebuild what `write_pretrained` wrote, on the CPU.

    Args:
        path: The file, or the name of one that comes with the package.

    Raises:
        UserError: The file is missing, broken, or of something else.
    """
    path = find_pretrained(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the model.safetensors in it")
    if not path.is_file():
        names = f"; the package has {', '.join(shipped())}" if shipped() else ""
        raise UserError(f"{path}: no such file{names}")
    try:
        with plain_path(path) as plain, safe_open(plain, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if text else {}  # noqa: SIM118
    # a broken or foreign file can fail anywhere, with any exception
    except Exception as error:
        raise UserError(f"{path}: {_what_else(path)}") from error
    if text is None:
        raise UserError(f"{path}: a safetensors file, but none of intact_fast's: it holds no configuration")
    try:
        configuration = _configuration(text, path)
        return _with_weights(configuration, tensors)
    except ValueError as error:
        raise UserError(
            f"{path}: its tensors do not fit its own configuration ({error}); write it again with save_pretrained"
        ) from error


def _configuration(text: str, path: Path) -> _Configuration:
    """Understand the configuration of a model file."""
    plain = from_json(text)
    version = plain.get("version") if isinstance(plain, dict) else None
    if version != _VERSION:
        raise UserError(
            f"{path}: written in version {shown(version)}, this version reads {_VERSION}; write it again with "
            "save_pretrained"
        )
    options = plain.get("options")
    if isinstance(options, dict):
        plain["options"] = {_NEW_NAMES.get(name, name): value for name, value in options.items()}
    found = read_plain(_Configuration, plain)
    if not all(1 <= side <= MOST["data.height"] for side in found.options.size):
        raise ValueError(f"options.size is {' × '.join(map(shown, found.options.size))}")
    if found.options.lr_height < 0:
        raise ValueError(f"options.lr_height is {shown(found.options.lr_height)}")
    critics = [critic for critic in (found.critic, found.query_critic) if critic is not None]
    if not all(1 <= enlarge <= MOST["critic.enlarge"] for enlarge in (found.enlarge, *(c.enlarge for c in critics))):
        raise ValueError("enlarge is out of its range")
    return found


def _with_weights(found: _Configuration, tensors: Mapping[str, Tensor]) -> Pretrained:
    """Build the networks of a model file."""

    def critic_of(settings: _Critic | None, role: str) -> OSNet | None:
        if settings is None:
            return None
        return with_weights(lambda: build_osnet(**vars(settings)), weights_of(role, tensors))

    generator, settings = None, found.generator
    if settings is not None:
        generator = with_weights(lambda: generator_of(settings), weights_of("generator", tensors))
        if any(side % generator.stride for side in found.options.size):
            raise ValueError(f"options.size is no multiple of {generator.stride}")
    return Pretrained(
        critic_of(found.critic, "critic"),
        generator,
        critic_of(found.query_critic, "query_critic"),
        dict(vars(found.options)),
        found.enlarge if found.critic is None else found.critic.enlarge,
        found.trained_for,
        found.thresholds,
    )


def _what_else(path: Path) -> str:
    """Say what a file is that is no model file, and what to do."""
    if is_safetensors(path):
        return "a broken safetensors file; copy it again, or let intact-fast export --checkpoint write another"
    remedy = "a training writes a model file (runs/NAME/model.safetensors), and intact-fast export --checkpoint another"
    try:
        content = read_checkpoint(path, "")
    except UnreadableCheckpoint:
        return f"no safetensors file but {describe_file(path)}; {remedy}"
    if find_osnets(content) and not own_file(content):
        return "no safetensors file but an OSNet checkpoint; load it by SRReID.from_torchreid"
    return f"no safetensors file but {describe_content(content)}; {remedy}"
