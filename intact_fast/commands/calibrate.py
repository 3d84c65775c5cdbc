"""``intact-fast calibrate``: thresholds of a model, measured on labelled pictures of a site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from intact_fast.commands.model_options import model_files, run_command
from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_data
from intact_fast.config.options import DataConfig, EvaluationConfig, SameCamera
from intact_fast.data.manifest import Manifest
from intact_fast.data.matches import require_matches
from intact_fast.data.places import require_inside
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError, tell, warn
from intact_fast.evaluation.calibration import measure_thresholds
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.reporting.threshold_tables import calibration_lines
from intact_fast.serving.gallery.store import Identity
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.thresholds import RATES, Thresholds, supports, write_thresholds
from intact_fast.training.distributed.process import choose_device


@dataclass(frozen=True)
class PairOptions:
    """What is a match, and how pictures are read."""

    same_camera: SameCamera = "drop"
    """The query's person in the query's own camera: `drop` leaves it out, `keep` makes it a match, for pictures without
    camera ids."""
    batch_size: int = 64
    """Pictures per forward pass."""
    skip_corrupt: bool = False
    """Leave unreadable pictures out instead of stopping."""


@dataclass(frozen=True)
class CalibrateOptions:
    """Measure a model's thresholds on labelled pictures that it was not trained on.

    The pictures are the queries and the gallery of a split, as `evaluate` reads it. Queries are measured as HR, as LR
    and through G.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model file of a run (`runs/NAME/model.safetensors`), or the name of one that comes with the package."""
    out: Path
    """File to write: .json for `search --thresholds`, or .safetensors, the model with its thresholds; an existing file
    is never replaced."""
    critic: Path | None = None
    """OSNet checkpoint to take C from, where the model file is of G alone or trained for it; none takes the file's."""
    rates: tuple[float, ...] = RATES
    """False-match rates; each needs pairs for ten false matches."""
    device: str = "auto"
    """Device to compute on: `auto`, `cpu`, `cuda`, or one of several GPUs as `cuda:1`."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: PairOptions = field(default_factory=PairOptions)
    json: bool = False
    """Print the result as JSON."""
    debug: bool = False
    """Show tracebacks of user errors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(CalibrateOptions, "intact-fast calibrate", arguments, _run)


def _run(options: CalibrateOptions) -> int:
    _check(options)
    model = _load(options)
    manifest = _manifest(options)
    found = measure_thresholds(
        model.to(choose_device(options.device)),
        manifest,
        options.data.root,
        replace(EvaluationConfig(), **vars(options.evaluation)),
        options.data.threads,
        options.rates,
        progress=partial(progress, quiet=options.json),
    )
    least = max(options.rates)
    if not any(view.steps for view in found.views.values()):
        most = max(view.non_matches for view in found.views.values())
        raise UserError(
            f"--rates {least:g}: {found.data} has {most:,} pairs of two people, and none of the rates has enough; give "
            "a greater rate, or more people"
        )
    _write(options, model, found)
    for view, measured in found.views.items():
        left_out = [f"{rate:g}" for rate in options.rates if not supports(rate, measured.non_matches)]
        if left_out:
            warn(f"--rates {' '.join(left_out)}: {measured.non_matches:,} pairs of two people ({view}) are too few")
    if options.json:
        print(to_json({"out": str(options.out), **found.to_plain()}, indent=1))
        return 0
    for line in calibration_lines(found):
        print(line)
    print(f"thresholds: {options.out}")
    return 0


def _check(options: CalibrateOptions) -> None:
    if options.out.suffix.lower() not in (".json", ".safetensors"):
        raise UserError(f"--out {options.out}: name it .json, or .safetensors for a whole model")
    if options.out.exists():
        raise UserError(f"--out {options.out}: exists already; remove it or name another file")
    check_writable(options.out, "--out")
    if not options.rates or not all(0 < rate < 1 for rate in options.rates):
        raise UserError(f"--rates {options.rates}: give one or more, each above 0 and below 1")
    if options.evaluation.batch_size < 1:
        raise UserError(f"--evaluation.batch-size {options.evaluation.batch_size}: must be 1 or more")


def _load(options: CalibrateOptions) -> SRReID:
    if options.critic is not None:
        return SRReID.from_torchreid(options.critic, options.model)
    return SRReID.from_pretrained(options.model)


def _manifest(options: CalibrateOptions) -> Manifest:
    """Load the split, or build one; further training people have no part in it."""
    same_camera = options.evaluation.same_camera
    if options.data.manifest is not None:
        check_data(replace(options.data, sources=()))
        manifest = Manifest.load(options.data.manifest)
        require_inside(manifest.split("query", "gallery"), options.data.root)
        require_matches(manifest, same_camera, warn)
        return manifest
    data = replace(options.data, sources=())
    check_data(data)
    return obtain_manifest(data, partial(progress, quiet=options.json), warn, tell, same_camera=same_camera)


def _write(options: CalibrateOptions, model: SRReID, found: Thresholds) -> None:
    if options.out.suffix.lower() == ".safetensors":
        model.thresholds = found
        model.save_pretrained(options.out)
        return
    identity = Identity.of_files(model_files(options.model, options.critic), "")
    write_thresholds(options.out, found, identity.model, identity.digest)
