"""Checks of options that can be made before anything is read or trained."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from intact_fast.config.devices import parse_device
from intact_fast.config.options import Config, DataConfig, DatasetName, EvaluationConfig
from intact_fast.config.ranges import check_ranges, check_section
from intact_fast.errors import UserError

_DISCRIMINATOR_PAIRS = 4
_SAME_PEOPLE = {"cuhk03", "cuhk03-np"}


def check_data(data: DataConfig) -> None:
    """Raise UserError for a value that no data set could make sense of."""
    check_section("data", data)
    _at_least("data", data, 1, ("height", "width"))
    _at_least("data", data, 0, ("split_seed", "pad", "threads", "prefetch", "cache_mib"))
    if not data.factors or min(data.factors) < 1:
        raise UserError(f"--data.factors {data.factors}: give one or more rates of 1 or more")
    if data.jpeg_quality is not None and not 1 <= data.jpeg_quality <= 100:
        raise UserError(f"--data.jpeg-quality {data.jpeg_quality}: must be 1 to 100")
    if not 0 <= data.val_fraction < 1:
        raise UserError(f"--data.val-fraction {data.val_fraction}: must be at least 0 and below 1")
    if not 0 <= data.clean_share < 1:
        raise UserError(f"--data.clean-share {data.clean_share}: must be at least 0 and below 1")
    if data.clean_share > 0 and data.degradation != "blind":
        raise UserError(f"--data.clean-share {data.clean_share}: all are clean; add --data.degradation blind")
    _check_sources(data)
    if data.name_pattern is not None:
        compile_name_pattern(data.name_pattern)
        if "folder" not in (data.dataset, *(source_of(text)[0] for text in data.sources)):
            raise UserError(f"--data.name-pattern: {data.dataset} has names of its own; leave it out, or read a folder")


def source_of(text: str) -> tuple[DatasetName, Path | None]:
    """Understand an entry of ``--data.sources``: the data set, and its folder where it has one of its own.

    Raises:
        UserError: There is no such data set, or the folder is left out behind the colon.
    """
    name, colon, place = text.partition(":")
    for dataset in get_args(DatasetName):
        if dataset == name and bool(colon) == bool(place):
            return dataset, Path(place) if place else None
    raise UserError(
        f"--data.sources {text}: give names of data sets ({', '.join(get_args(DatasetName))}), or name:folder where "
        "one has another folder than --data.root"
    )


def _check_sources(data: DataConfig) -> None:
    """Raise UserError where the same people would train twice, or train and be tested."""
    given = [(data.dataset, data.root.resolve())]
    for text in data.sources:
        dataset, place = source_of(text)
        source = dataset, (place or data.root).resolve()
        if source in given:
            raise UserError(f"--data.sources {text}: is there already; give each data set once")
        for other, _ in given:
            if other != dataset and {other, dataset} <= _SAME_PEOPLE:
                raise UserError(f"--data.sources {text}: shows the people of {other}; leave one of them out")
            if other == dataset and dataset != "folder":
                raise UserError(f"--data.sources {text}: a second copy of {dataset}; give each data set once")
        given.append(source)


def compile_name_pattern(text: str) -> re.Pattern[str]:
    """Compile ``--data.name-pattern``.

    Raises:
        UserError: It is no regular expression, or lacks the group ``pid``.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"--data.name-pattern {text!r}: no regular expression ({error}); correct it") from error
    if "pid" not in pattern.groupindex:
        raise UserError(f"--data.name-pattern {text!r}: no group (?P<pid>…); name what gives it, as in (?P<pid>[0-9]+)")
    return pattern


def check_evaluation(evaluation: EvaluationConfig) -> None:
    """Raise UserError for sizes that leave nothing to do."""
    check_section("evaluation", evaluation)
    _at_least("evaluation", evaluation, 1, ("batch_size", "repeats"))


def _check_name(name: str) -> None:
    """Raise UserError for the name of a run that would be another folder than one below ``--runs``."""
    parts = name.split("/")
    if not all(part.strip() and part.strip(".") for part in parts) or not name.isprintable():
        raise UserError(f"--name {name!r}: must name a folder below --runs; give letters, digits, -, _ and .")


def check_config(config: Config) -> None:
    """Raise UserError for options of a training that cannot work, before it starts."""
    _check_name(config.name)
    check_ranges(config)
    check_data(config.data)
    check_evaluation(config.evaluation)
    _at_least("training", config.training, 1, ("iterations", "keep_checkpoints"))
    _at_least("training", config.training, 0, ("log_every", "checkpoint_every", "validate_every"))
    _at_least("critic", config.critic, 1, ("iterations", "enlarge"))
    _at_least("association", config.association, 1, ("latent", "updates_per_iteration"))
    _at_least("association", config.association, 0, ("dis_warmup",))
    _at_least("generator", config.generator, 1, ("blocks_per_group", "light_width", "light_blocks", "light_factor"))
    _at_least("discriminator", config.discriminator, 1, ("hidden",))
    for name, size in (("training", config.training.batch_size), ("critic", config.critic.batch_size)):
        if size < 2:
            raise UserError(f"--{name}.batch-size {size}: batch normalisation needs at least 2 pictures")
    parse_device(config.device)
    _check_critic_size(config)
    if config.seed < 0:
        raise UserError(f"--seed {config.seed}: must be 0 or more")
    if not config.generator.widths or min(config.generator.widths) < 1:
        raise UserError(f"--generator.widths {config.generator.widths}: give one or more widths of 1 or more")
    widths = config.discriminator.widths
    if len(widths) != _DISCRIMINATOR_PAIRS or min(widths) < 1:
        raise UserError(f"--discriminator.widths {widths}: give {_DISCRIMINATOR_PAIRS} widths of 1 or more")
    _check_query_side(config)
    if config.training.f_c_table and config.data.pad > 0:
        raise UserError(
            f"--training.f-c-table: with --data.pad {config.data.pad} f_c depends on the crop; leave one of them out"
        )
    if config.training.f_c_table and config.data.augment == "strong":
        raise UserError(
            "--training.f-c-table: with --data.augment strong f_c depends on the draw; use --training.no-f-c-table, or "
            "leave the augmentation out"
        )
    if config.critic.keep_classifier and config.critic.init is None:
        raise UserError("--critic.keep-classifier: whose? give --critic.init as well")
    association = config.association
    if association.predictor == "mean" and association.direction != "r-to-d":
        raise UserError(
            f"--association.predictor mean: only with --association.direction r-to-d, not {association.direction}"
        )
    for section, decay in (("generator", config.generator.ema_decay), ("critic", config.critic.ema_decay)):
        if decay is not None and not 0 <= decay < 1:
            raise UserError(f"--{section}.ema-decay {decay}: must be at least 0 and below 1")
    if config.critic.checkpoint is not None and config.critic.init is not None:
        raise UserError("--critic.checkpoint and --critic.init exclude each other; give the one you mean")


def _check_query_side(config: Config) -> None:
    """See that there is something to train for queries, and that every term has what it compares."""
    loss, query = config.loss, config.critic.query
    if config.generator.arch == "none":
        if query != "joint":
            raise UserError("--generator.arch none: nothing is left to train; use --critic.query joint as well")
        if loss.lambda_g != 0 or loss.lambda_dis != 0:
            raise UserError(
                "--generator.arch none: without G there is nothing for D to judge; use --loss.lambda-g 0 and "
                "--loss.lambda-dis 0 as well"
            )
    if query != "off" and loss.lambda_c == 0 and loss.lambda_f == 0:
        raise UserError(f"--critic.query {query}: no term trains C_q; give --loss.lambda-f or --loss.lambda-c a weight")
    if config.data.unlabelled is not None and config.generator.arch == "none" and loss.lambda_f == 0:
        raise UserError(
            "--data.unlabelled: without G only the feature term learns from pictures without identities; give "
            "--loss.lambda-f a weight"
        )
    if config.training.f_c_table and loss.feature == "map" and loss.lambda_f != 0:
        raise UserError("--loss.feature map: --training.f-c-table holds no feature maps; leave one of them out")
    if loss.lambda_f < 0:
        raise UserError(f"--loss.lambda-f {loss.lambda_f}: must be 0 or more")


def _check_critic_size(config: Config) -> None:
    """See that something is left of a picture in C's last layers, and that instance normalisation has two values."""
    needed = 2 if config.critic.arch.startswith("osnet_ain") else 1
    positions = 1
    halved = config.critic.half_size > 0
    for side in (config.data.height, config.data.width):
        pixels = (side // 2 if halved else side) * config.critic.enlarge
        for _ in range(2):
            pixels = (pixels + 1) // 2
        positions *= pixels // 4
    if positions < needed:
        remedy = ", or leave --critic.half-size out" if halved else ""
        raise UserError(
            f"--data.height {config.data.height}, --data.width {config.data.width}: too small for "
            f"{config.critic.arch}, which divides both by 16; use {'64 and 32' if halved else '32 and 16'} or more, "
            f"or --critic.enlarge{remedy}"
        )


def _at_least(section: str, values: object, least: int, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(values, name)
        if value < least:
            raise UserError(f"--{section}.{name.replace('_', '-')} {value}: must be {least} or more")
