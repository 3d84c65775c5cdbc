"""Command lines to configurations, and configurations to YAML and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import tyro
import yaml

from intact_fast.config.complaints import in_one_line
from intact_fast.config.old_names import current_arguments, current_values
from intact_fast.config.option_words import check_names, end_lists, value_of
from intact_fast.config.options import Config
from intact_fast.config.presets import PRESETS, resolve_preset
from intact_fast.config.ranges import check_ranges
from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.plain_values import read_plain
from intact_fast.yaml_text import from_yaml_text

T = TypeVar("T")


def parse_options(
    options_class: type[T],
    program: str,
    arguments: Sequence[str],
    default: T | None = None,
    description: str | None = None,
) -> T:
    """Parse a command line into a dataclass of options; former names of options are known, too.

    Args:
        options_class: The dataclass.
        program: Name shown by ``--help``.
        arguments: Without the program's name.
        default: Values of options that are not given; None takes the class's own.
        description: First paragraph of ``--help``; None takes the class's docstring.

    Raises:
        UserError: The command line is wrong.
    """
    words = current_arguments(arguments)
    check_names(words, program, options_class)
    words = end_lists(options_class, words)
    parse = partial(tyro.cli, options_class, prog=program, description=description, args=words)
    with in_one_line(program):
        return parse() if default is None else parse(default=default)


def parse_own_options(options_class: type[T], program: str, arguments: Sequence[str]) -> tuple[T, list[str]]:
    """Parse options that a command has beside those of a training, and give the rest of the words.

    Args:
        options_class: The dataclass.
        program: Name shown by ``--help``.
        arguments: Without the program's name.

    Raises:
        UserError: The command line is wrong, or names an option that neither the command nor a training has.
    """
    words = current_arguments(arguments)
    check_names(words, program, options_class, Config)
    with in_one_line(program):
        return tyro.cli(options_class, prog=program, args=words, return_unknown_args=True)


def parse_config(arguments: Sequence[str], program: str, description: str) -> Config:
    """Parse a command line over the preset that it names.

    Args:
        arguments: Without the program's name.
        program: Name shown by ``--help``.
        description: First paragraph of ``--help``.
    """
    preset = value_of(arguments, "--preset")
    # what is no preset is refused below
    default = resolve_preset(preset if preset in PRESETS else "auto", torch.cuda.is_available())
    config = parse_options(Config, program, arguments, default, description)
    # `--preset auto` on the command line would otherwise leave the word in place of the choice
    return dataclasses.replace(config, preset=default.preset)


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values of a configuration."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def to_yaml(config: Config) -> str:
    """YAML text of a configuration."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def from_yaml(text: str, source: str) -> Config:
    """Rebuild a configuration from :func:`to_yaml`.

    Args:
        text: YAML.
        source: Where it came from, for the error.

    Raises:
        UserError: The text is not a configuration of this version, or has sizes that no machine has.
    """
    try:
        values = from_yaml_text(text)
        config = read_plain(Config, current_values(values) if isinstance(values, dict) else values)
    except ValueError as error:
        raise UserError(f"{source}: not a configuration of this version ({error})") from error
    try:
        check_ranges(config)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    return config


def read_config(path: Path) -> Config:
    """Read a file that `save_config` wrote.

    Raises:
        UserError: As `from_yaml`.
        OSError: It cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a configuration of this version ({error})") from error
    return from_yaml(text, str(path))


# options that change neither what is computed nor what a checkpoint means
_WITHOUT_EFFECT = {
    "name",
    "runs",
    "debug",
    "compare",
    "device",
    "data.root",
    # a checkpoint knows the hash of its split, whatever file that came from
    "data.manifest",
    "data.backend",
    "data.decode",
    "data.cache_mib",
    "data.threads",
    "data.prefetch",
    "data.skip_corrupt",
    "training.iterations",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.validate_every",
}


def differences(old: Config, new: Config) -> list[str]:
    """Name the options in which two configurations would train differently.

    A file may be named by another path, and one below the folder of runs may have moved with it.
    """
    before, after = (_flat(_resolved(dataclasses.asdict(config))) for config in (old, new))
    # rates that fall to the end of a training have its length in every iteration
    bound = {"training.iterations"} if new.optimiser.schedule == "cosine" else set()
    names = [
        name
        for name in before
        if name not in _WITHOUT_EFFECT - bound and not _same(before[name], old.runs, after[name], new.runs)
    ]
    return [name for name in names if not name.startswith("evaluation.")]


def _same(before: Any, runs_before: Path, after: Any, runs_after: Path) -> bool:
    """Say whether two values agree, or name the same place below their folders of runs."""
    if before == after or not (isinstance(before, Path) and isinstance(after, Path)):
        return before == after
    old, new = runs_before.resolve(), runs_after.resolve()
    inside = before.is_relative_to(old) and after.is_relative_to(new)
    return inside and before.relative_to(old) == after.relative_to(new)


def _resolved(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    return value.resolve() if isinstance(value, Path) else value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result |= _flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def save_config(config: Config, path: Path) -> None:
    """Write a configuration as YAML, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(to_yaml(config), encoding="utf-8")
