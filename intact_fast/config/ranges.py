"""Numbers that no option of a training can have: infinite, too large to count with, outside of what they mean."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.plain_values import shown

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
_MOST_VALUES = 64
"""Of an option with several."""
MOST = {
    "data.height": 2048,
    "data.width": 2048,
    "data.pad": 2048,
    "data.threads": 1024,
    "data.prefetch": 1024,
    "data.cache_mib": 2**24,
    "generator.widths": 8192,
    "generator.blocks_per_group": 256,
    "generator.light_width": 8192,
    "generator.light_blocks": 256,
    "generator.light_factor": 64,
    "discriminator.widths": 8192,
    "discriminator.hidden": 2**16,
    "association.hidden": 2**16,
    "association.latent": 2**16,
    "critic.enlarge": 16,
}
"""Sizes beyond which no machine has the memory; a file that others wrote can ask for them."""


def check_ranges(config: Config) -> None:
    """Raise UserError for the first number that is out of its range."""
    for field in dataclasses.fields(config):
        options = getattr(config, field.name)
        if dataclasses.is_dataclass(options):
            check_section(field.name, options)
        else:
            _check("", field.name, options)


def check_section(section: str, options: Any) -> None:
    """Raise UserError for the first number of a section, such as ``data``, that is out of its range."""
    for field in dataclasses.fields(options):
        _check(section, field.name, getattr(options, field.name))


def _check(section: str, name: str, value: Any) -> None:
    values = value if isinstance(value, tuple) else (value,)
    place = (f"--{section}.{name}" if section else f"--{name}").replace("_", "-")
    if len(values) > _MOST_VALUES and not isinstance(value[0], str):
        raise UserError(f"{place}: {len(values):,} values; give {_MOST_VALUES} at most")
    for number in values:
        if isinstance(number, int | float) and not isinstance(number, bool):
            wanted = _wanted(section, name, number)
            if wanted:
                raise UserError(f"{place} {shown(number)}: must be {wanted}")


def _wanted(section: str, name: str, value: float) -> str:
    """Say what a value should be; empty where it may stay."""
    limit = _SEED_LIMIT if name in _SEEDS else _COUNT_LIMIT
    # before it is a number with decimals, which the largest whole ones cannot be
    if isinstance(value, int) and value >= limit:
        return f"below {limit}"
    if not math.isfinite(value):
        return "a finite number"
    most = MOST.get(f"{section}.{name}")
    if most is not None and value > most:
        return f"at most {most:,}"
    if name in _NOT_NEGATIVE and value < 0:
        return "0 or more"
    if _SHARES.get(name) == section and not 0 <= value <= 1:
        return "0 to 1"
    if name == "betas" and not 0 <= value < 1:
        return "at least 0 and below 1 each"
    if (section, name) == ("association", "hidden") and value < 1:
        return "1 or more"
    return ""
