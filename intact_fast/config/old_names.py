"""Former names of options, which command lines, configurations and model files of earlier versions still have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OLD_NAMES: Mapping[str, str] = {
    "association.form": "association.direction",
    "critic.lr": "critic.learning_rate",
    "data.kernel": "data.interpolation",
    "optimiser.lr_association": "optimiser.association_learning_rate",
    "optimiser.lr_discriminator": "optimiser.discriminator_learning_rate",
    "optimiser.lr_generator": "optimiser.generator_learning_rate",
    "training.form": "training.step",
}
"""Today's dotted name of every option that had another one."""


def current_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace former names of options in a command line.

    Args:
        arguments: Without the program; ``--a.b c`` and ``--a.b=c`` are both known, with ``-`` or ``_`` between words.
    """
    return [_current_argument(argument) for argument in arguments]


def _current_argument(argument: str) -> str:
    option, equals, value = argument.partition("=")
    name = OLD_NAMES.get(option.removeprefix("--").replace("-", "_")) if option.startswith("--") else None
    return argument if name is None else f"--{name.replace('_', '-')}{equals}{value}"


def current_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace former names of options in a configuration's nested values.

    Args:
        values: Options by section; other values stay as they are.
    """
    result = dict(values)
    for old, new in OLD_NAMES.items():
        section, option = old.split(".")
        if isinstance(result.get(section), dict) and option in result[section]:
            kept = {name: value for name, value in result[section].items() if name != option}
            result[section] = {**kept, new.split(".")[1]: result[section][option]}
    return result
