"""``intact-fast report``: a run's report again, from what stands in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from intact_fast.commands.model_options import run_command
from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_data, check_evaluation
from intact_fast.config.command_line import read_config
from intact_fast.config.options import TestTime
from intact_fast.data.manifest import Manifest
from intact_fast.data.matches import count_matches
from intact_fast.data.places import require_inside
from intact_fast.errors import UserError, warn
from intact_fast.evaluation.calibration import measure_thresholds
from intact_fast.evaluation.evaluator import evaluate
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.views import had_association
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.reporting.console import make_console
from intact_fast.reporting.presentation import HTML_QUERIES, present, print_presentation
from intact_fast.reporting.report import read_notes
from intact_fast.reporting.tables import figures
from intact_fast.serving.thresholds import RATES
from intact_fast.training.checkpoint_models import (
    checked_checkpoint,
    describe_checkpoint,
    lr_height,
    model_of_checkpoint,
    read_training_checkpoint,
)
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import choose_device
from intact_fast.training.intact import IntactTask


@dataclass(frozen=True)
class ReportOptions:
    """Evaluate a run's checkpoint on the run's own split, and write its report again.

    Writes report.md, report.html, evaluation.json and the pictures.

    A run in progress needs one checkpoint. Protocol and distance are those of the run's config.yaml.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run (`runs/NAME`)."""
    checkpoint: Literal["last", "best"] = "last"
    """The latest checkpoint, or the one that was best on the validation identities."""
    data_root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None
    """Where the pictures are now; none takes the run's own."""
    skip_corrupt: Annotated[bool, tyro.conf.arg(name="evaluation.skip-corrupt")] = False
    """Leave unreadable queries and gallery pictures out, where the run's config.yaml does not."""
    test_time: Annotated[tuple[TestTime, ...], tyro.conf.arg(name="evaluation.test-time")] = ()
    """Further rows, where the run's config.yaml has none: SR queries with `flip`, `plain`, `shifts`, `cosine`."""
    rates: tuple[float, ...] = RATES
    """False-match rates to suggest thresholds of the similarity for."""
    html_queries: int = HTML_QUERIES
    """Queries whose ranked lists report.html shows; a page of all can be large."""
    device: str = "auto"
    """Device to evaluate on: `auto`, `cpu`, `cuda`, or one of several GPUs as `cuda:1`."""
    json: bool = False
    """Print figures and thresholds as JSON instead of a table."""
    debug: bool = False
    """Show tracebacks of user errors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(ReportOptions, "intact-fast report", arguments, _run)


def _run(options: ReportOptions) -> int:
    folder = options.run
    if not options.rates or not all(0 < rate < 1 for rate in options.rates):
        raise UserError(f"--rates {options.rates}: give one or more, each above 0 and below 1")
    if options.html_queries < 1:
        raise UserError(f"--html-queries {options.html_queries}: must be 1 or more")
    for name in ("config.yaml", "manifest.jsonl"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: not the folder of a run, it holds no {name}; give runs/NAME")
    check_writable(folder, "report", folder=True)
    config = read_config(folder / "config.yaml")
    check_data(config.data)
    check_evaluation(config.evaluation)
    device = choose_device(options.device)
    root = options.data_root or config.data.root
    if not root.is_dir():
        raise UserError(f"--data.root {root}: no such folder; give the one that holds the run's pictures")
    path, checkpoint = _checkpoint_of(folder, options.checkpoint)
    manifest = Manifest.load(folder / "manifest.jsonl")
    require_inside(manifest.split("query", "gallery", "val_query", "val_gallery"), root)
    if checkpoint["manifest_hash"] != manifest.hash:
        raise UserError(
            f"{path}: trained on split {checkpoint['manifest_hash'][:12]}, {folder / 'manifest.jsonl'} is "
            f"{manifest.hash[:12]}; put the run's own back"
        )
    height = lr_height(root, manifest, config.data.factors)
    model = model_of_checkpoint(checkpoint, path, interpolation=manifest.header.interpolation, lr_height=height)
    model.to(device)
    shown = partial(progress, quiet=options.json)
    rules = replace(
        config.evaluation,
        skip_corrupt=config.evaluation.skip_corrupt or options.skip_corrupt,
        test_time=options.test_time or config.evaluation.test_time,
    )
    evaluation = evaluate(
        model, manifest, root, rules, config.data.threads, progress=shown, association=had_association(config)
    )
    if count_matches(manifest, rules.same_camera, validation=True).found:
        model.thresholds = measure_thresholds(
            model, manifest, root, rules, config.data.threads, options.rates, validation=True, progress=shown
        )
    source = PictureSource(root, manifest.header, model, config.evaluation.batch_size, config.data.threads)
    notes = [*read_notes(folder), describe_checkpoint(checkpoint, path)]
    presentation = present(source, evaluation, folder, path, notes, options.rates, options.html_queries)
    if options.json:
        files = {name: str(file) for name, file in presentation.files.items()}
        print(to_json({**figures(evaluation), **presentation.thresholds, "files": files}, indent=1))
    else:
        print_presentation(presentation, make_console())
    return 0


def _checkpoint_of(folder: Path, choice: Literal["last", "best"]) -> tuple[Path, dict[str, Any]]:
    checkpoints = folder / "checkpoints"
    if choice == "last":
        latest = CheckpointStore(checkpoints, 1).read_latest(IntactTask.name)
        if latest is None:
            raise UserError(
                f"{folder}: no checkpoint of the alternating training yet; start the run's command again, or wait "
                "for its first (--training.checkpoint-every)"
            )
        for broken in latest.unreadable:
            warn(f"{broken}: not a readable checkpoint; the one before it is taken")
        return latest.path, checked_checkpoint(latest.checkpoint, latest.path)
    best = checkpoints / "best.pt"
    if not best.is_file():
        raise UserError(f"--checkpoint best: {best} is missing (no validation yet); use --checkpoint last")
    return best, read_training_checkpoint(best)
