"""``intact-fast evaluate``: the evaluation table of a training checkpoint or of a critic alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_data, check_evaluation
from intact_fast.config.command_line import parse_options
from intact_fast.config.option_words import value_of
from intact_fast.config.options import DataConfig, EvaluationConfig, OSNetName
from intact_fast.data.manifest import Manifest
from intact_fast.data.sources import names_of
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError, fail, tell, warn
from intact_fast.evaluation.evaluator import Evaluation, evaluate
from intact_fast.evaluation.views import View, had_association
from intact_fast.json_text import to_json
from intact_fast.reporting.console import make_console
from intact_fast.reporting.tables import describe_protocol, figures, gain_sentence, rich_table, unreadable_sentence
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.checkpoint_models import (
    config_of,
    lr_height,
    manifest_beside,
    model_of_checkpoint,
    read_training_checkpoint,
)
from intact_fast.training.critic import load_critic
from intact_fast.training.distributed.process import choose_device
from intact_fast.training.known_people import people_of_sources, refuse_known_people


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a training checkpoint (its own data and split by default) or a critic without G."""

    checkpoint: Path | None = None
    """Checkpoint of a training run; its configuration gives the defaults of all other options."""
    critic: Path | None = None
    """Critic alone, ours or torchreid's: queries as HR and as LR without SR."""
    arch: OSNetName | None = None
    """Architecture that `critic` must have; none takes the file's own."""
    queries: tuple[Literal["hr", "lr", "sr"], ...] = ("hr", "lr", "sr")
    """Which rows to compute: `hr`, `lr` (without SR), `sr`."""
    device: str = "auto"
    """Device to evaluate on: `auto`, `cpu`, `cuda`, or one of several GPUs as `cuda:1`."""
    json: bool = False
    """Print the figures as JSON instead of a table."""
    debug: bool = False
    """Show tracebacks of user errors."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = list(arguments)
    try:
        _run(arguments)
    except (UserError, OSError) as error:
        return fail(error, "--debug" in arguments)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _run(arguments: list[str]) -> None:
    named = value_of(arguments, "--checkpoint")
    path = Path(named or "")
    checkpoint = None if named is None else read_training_checkpoint(path)
    defaults = EvaluateOptions() if checkpoint is None else _defaults(checkpoint, path, arguments)
    options = parse_options(EvaluateOptions, "intact-fast evaluate", arguments, defaults)
    _check_test_time(options, arguments)
    device = choose_device(options.device)
    if checkpoint is not None and options.critic is None:
        result = _evaluate_checkpoint(checkpoint, path, options, device)
    elif options.critic is not None and checkpoint is None:
        result = _evaluate_critic(options.critic, options, device)
    else:
        raise UserError("evaluate needs --checkpoint FILE or --critic FILE (one of them)")
    if options.json:
        print(to_json(figures(result), indent=1))
        return
    console = make_console()
    console.print(rich_table(result))
    for line in (describe_protocol(result.config), unreadable_sentence(result), gain_sentence(result)):
        if line:
            console.print(line, markup=False)


def _check_test_time(options: EvaluateOptions, arguments: list[str]) -> None:
    """Refuse to leave options on the command line without effect; a run's own may have none here."""
    if value_of(arguments, "--evaluation.test-time") is None:
        return
    if options.critic is not None or "sr" not in options.queries:
        remedy = "use --checkpoint instead of --critic" if options.critic is not None else "add sr to --queries"
        words = " ".join(options.evaluation.test_time)
        raise UserError(f"--evaluation.test-time {words}: adds rows of SR queries, and there are none; {remedy}")


def _evaluate_checkpoint(
    checkpoint: dict[str, Any], path: Path, options: EvaluateOptions, device: torch.device
) -> Evaluation:
    manifest = _manifest(options)
    _check_split(manifest, checkpoint, options, path)
    size = (options.data.height, options.data.width)
    height = lr_height(options.data.root, manifest, options.data.factors)
    model = model_of_checkpoint(checkpoint, path, size, manifest.header.interpolation, height)
    association = had_association(config_of(checkpoint, path))
    return _evaluate(model.to(device), manifest, options.queries, options, association)


def _evaluate_critic(path: Path, options: EvaluateOptions, device: torch.device) -> Evaluation:
    critic = load_critic(path, options.arch, num_classes=None, option="--critic")
    manifest = _manifest(options)
    refuse_known_people(path, "--critic", manifest)
    model = SRReID(critic, None, (options.data.height, options.data.width), manifest.header.interpolation)
    views: tuple[View, ...] = tuple(view for view in options.queries if view != "sr")
    if not views:
        raise UserError("--queries sr: a critic alone has no G; use --checkpoint, or --queries hr lr")
    return _evaluate(model.to(device), manifest, views, options)


def _manifest(options: EvaluateOptions) -> Manifest:
    """Check the options and obtain the split."""
    check_data(replace(options.data, sources=()))
    check_evaluation(options.evaluation)
    quiet_progress = partial(progress, quiet=options.json)
    # further training people have no part in a test
    data = replace(options.data, sources=())
    same_camera = options.evaluation.same_camera
    return obtain_manifest(data, quiet_progress, warn, tell, same_camera=same_camera, reads=("query", "gallery"))


def _evaluate(
    model: SRReID, manifest: Manifest, views: Sequence[View], options: EvaluateOptions, association: bool = False
) -> Evaluation:
    return evaluate(
        model,
        manifest,
        options.data.root,
        options.evaluation,
        options.data.threads,
        views,
        progress=partial(progress, quiet=options.json),
        association=association,
    )


def _defaults(checkpoint: dict[str, Any], path: Path, arguments: list[str]) -> EvaluateOptions:
    """Take the run's own options, and its own split unless the command line asks for other data."""
    config = config_of(checkpoint, path)
    own = manifest_beside(path)
    asked = {a.split("=")[0] for a in arguments if a.startswith("--data.")} - {
        "--data.root",
        "--data.threads",
    }
    data = replace(config.data, manifest=None if asked or not own.is_file() else own)
    return EvaluateOptions(checkpoint=path, data=data, evaluation=config.evaluation)


def _check_split(manifest: Manifest, checkpoint: dict[str, Any], options: EvaluateOptions, path: Path) -> None:
    """Refuse to test on pictures that the checkpoint was trained on."""
    trained = config_of(checkpoint, path).data
    test = manifest.split("query", "gallery")
    own = Manifest.load(manifest_beside(path)) if manifest_beside(path).is_file() else None
    if own is not None:
        trained = replace(trained, dataset=own.header.dataset)
    same_data = manifest.header.dataset == trained.dataset and (
        trained.dataset != "folder" or options.data.root.resolve() == trained.root.resolve()
    )
    if manifest.hash == checkpoint["manifest_hash"]:
        return
    for people in [] if own is None else people_of_sources(own):
        if people.data == manifest.data and set(people.trained) & {entry.pid for entry in test}:
            raise UserError(
                f"--checkpoint {path}: people of its --data.sources are among this split's test people; give the "
                "--data.split-seed that it was trained with, or other data"
            )
    unknown = own is None and manifest.header.dataset in names_of(trained.sources)
    if not same_data and not unknown:
        return
    if own is not None:
        # a user's folder may number its identities anew; elsewhere a person can be in files of two names
        mark = "path" if trained.dataset == "folder" else "pid"
        known = {getattr(entry, mark) for entry in own.split("train", "val_query", "val_gallery")}
        if not known & {getattr(entry, mark) for entry in test}:
            return
    raise UserError(
        f"--checkpoint {path}: trained on split {checkpoint['manifest_hash'][:12]} of {trained.dataset}, and split "
        f"{manifest.hash[:12]} may test on its training pictures; give the run's own by --data.manifest "
        f"{manifest_beside(path)}"
    )
