"""Numbers that no option of a training can have: infinite, too large to count with, outside of what they mean."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from intact_fast.config.options import Config
from intact_fast.errors import UserError

_COUNT_LIMIT = 2**31
_SEED_LIMIT = 2**62
_SEEDS = ("seed", "split_seed")
_NOT_NEGATIVE = (
    *("learning_rate", "generator_learning_rate", "discriminator_learning_rate", "association_learning_rate"),
    *("query_critic_learning_rate", "weight_decay", "lambda_g", "lambda_c", "lambda_dis", "pad"),
)
_SHARES = {
    **dict.fromkeys(("label_smoothing", "degraded", "erased", "half_size"), "critic"),
    **dict.fromkeys(("ema_decay", "gate_decay"), "association"),
}
"""Options from 0 to 1, with their sections."""


def check_ranges(config: Config) -> None:
    """Raise UserError for the first number that is out of its range."""
    for section, name, value in _numbers(config):
        wanted = _wanted(section, name, value)
        if wanted:
            place = f"--{section}.{name}" if section else f"--{name}"
            raise UserError(f"{place.replace('_', '-')} {value}: must be {wanted}")


def _numbers(config: Config) -> Iterator[tuple[str, str, float]]:
    for outer in dataclasses.fields(config):
        options = getattr(config, outer.name)
        named = (
            {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
            if dataclasses.is_dataclass(options)
            else {outer.name: options}
        )
        section = outer.name if dataclasses.is_dataclass(options) else ""
        for name, value in named.items():
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    yield section, name, number


def _wanted(section: str, name: str, value: float) -> str:
    """Say what a value should be; empty where it may stay."""
    if not math.isfinite(value):
        return "a finite number"
    limit = _SEED_LIMIT if name in _SEEDS else _COUNT_LIMIT
    if isinstance(value, int) and value >= limit:
        return f"below {limit}"
    if name in _NOT_NEGATIVE and value < 0:
        return "0 or more"
    if _SHARES.get(name) == section and not 0 <= value <= 1:
        return "0 to 1"
    if name == "betas" and not 0 <= value < 1:
        return "at least 0 and below 1 each"
    if (section, name) == ("association", "hidden") and value < 1:
        return "1 or more"
    return ""
