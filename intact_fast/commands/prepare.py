"""``intact-fast prepare``: write the split manifest of a data set."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from intact_fast.commands.model_options import run_command
from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_data
from intact_fast.config.option_words import value_of
from intact_fast.config.options import DataConfig, DatasetName, SameCamera
from intact_fast.data.manifest import SPLITS, Entry, Manifest
from intact_fast.data.matches import count_matches
from intact_fast.data.presets import SPLIT_PRESETS, PresetName
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError, tell, warn
from intact_fast.files import check_writable
from intact_fast.json_text import to_json


@dataclass(frozen=True)
class MatchOptions:
    """What an evaluation takes for a match, which a split has to provide."""

    same_camera: SameCamera = "drop"
    """The query's person in the query's own camera: `drop` leaves it out, `keep` makes it a match, for pictures without
    camera ids. With `keep` half of the pictures of each test person of one camera are queries."""


@dataclass(frozen=True)
class PrepareOptions:
    """Write a split manifest, from which training and evaluation are exactly repeatable."""

    out: Path
    """File to write (JSON lines); an existing file is never replaced."""
    dataset: Annotated[DatasetName | None, tyro.conf.Positional] = None
    """Data set, as `--data.dataset`."""
    preset: PresetName | None = None
    """Published variant of the protocol, from which the defaults of `--data.*` come; `market-camera` needs
    `--data.lr-camera` as well."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: MatchOptions = field(default_factory=MatchOptions)
    json: bool = False
    """Print the result as JSON."""
    debug: bool = False
    """Show tracebacks of user errors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    name = value_of(arguments, "--preset")
    # what is no preset is refused below
    preset = next((preset for known, preset in SPLIT_PRESETS.items() if known == name), None)
    data = DataConfig() if preset is None else preset.apply(DataConfig())
    default = PrepareOptions(out=tyro.MISSING, data=data)
    return run_command(PrepareOptions, "intact-fast prepare", arguments, _run, default)


def _run(options: PrepareOptions) -> int:
    data = _data(options)
    if options.out.exists():
        raise UserError(f"--out {options.out}: exists already; remove it or name another file")
    check_writable(options.out, "--out")
    check_data(data)
    warnings: list[str] = []
    notes: list[str] = []

    def explain(note: str) -> None:
        notes.append(note)
        # at once, as a split that fails after it needs it most
        if options.json:
            tell(note)
        else:
            print(note)

    quiet_progress = partial(progress, quiet=options.json)
    manifest = obtain_manifest(
        data, quiet_progress, warnings.append, explain, name_copies=True, same_camera=options.evaluation.same_camera
    )
    manifest.save(options.out)
    for warning in warnings:
        warn(warning)
    if options.json:
        print(to_json({**_figures(options, manifest), "notes": notes, "warnings": warnings}, indent=1))
    else:
        _print_summary(options, manifest)
    return 0


def _data(options: PrepareOptions) -> DataConfig:
    """Complete the options of the data by the data set, from whichever place names it."""
    data = options.data
    if data.manifest is not None and options.dataset is None:
        return replace(data, dataset=Manifest.load(data.manifest).header.dataset)
    if options.dataset is None:
        return data
    if data.dataset not in (DataConfig.dataset, options.dataset):
        raise UserError(
            f"--data.dataset {data.dataset}: the command names {options.dataset} already; give one of the two"
        )
    return replace(data, dataset=options.dataset)


def _figures(options: PrepareOptions, manifest: Manifest) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        entries = manifest.split(split)
        if entries:
            splits[split] = {"pictures": len(entries), "identities": len({entry.pid for entry in entries})}
            if any(entry.is_lr for entry in entries):
                splits[split]["r"] = _histogram(entries)
    return {
        "manifest": str(options.out),
        "dataset": manifest.header.dataset,
        "preset": options.preset,
        "use_with": _use_with(options, manifest),
        "hash": manifest.hash,
        "training_identities": len(manifest.labels),
        "splits": splits,
        "sources": [{"dataset": one.dataset, "identities": len(one.pids)} for one in manifest.header.sources],
        "matches": count_matches(manifest, options.evaluation.same_camera).figures(),
    }


def _use_with(options: PrepareOptions, manifest: Manifest) -> list[str]:
    """Give the options with which a training and an evaluation take the split, and score as the preset's source."""
    header = manifest.header
    words = ["--data.dataset", header.dataset, "--data.root", str(options.data.root)]
    words += ["--data.manifest", str(options.out)]
    for name in ("interpolation", "jpeg_quality"):
        value = getattr(header, name)
        if value != getattr(DataConfig, name):
            words += [f"--data.{name.replace('_', '-')}", str(value)]
    if options.evaluation.same_camera != MatchOptions.same_camera:
        words += ["--evaluation.same-camera", options.evaluation.same_camera]
    scored = {} if options.preset is None else SPLIT_PRESETS[options.preset].evaluation
    return [*words, *(word for name, value in scored.items() for word in (f"--evaluation.{name}", value))]


def _histogram(entries: Sequence[Entry]) -> dict[str, int]:
    """Count the LR entries of each r, ``native`` for those that are LR by themselves."""
    counts = Counter("native" if entry.r is None else str(entry.r) for entry in entries if entry.is_lr)
    return dict(sorted(counts.items()))


def _print_summary(options: PrepareOptions, manifest: Manifest) -> None:
    counts = Counter(entry.split for entry in manifest.entries)
    pictures = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{options.out}: {pictures}; {len(manifest.labels)} training identities; hash {manifest.hash[:12]}")
    if options.preset is None:
        return
    preset = SPLIT_PRESETS[options.preset]
    print(f"preset {options.preset}: {preset.description} ({preset.source}); decided here: {preset.decided}")
    if manifest.header.dataset not in preset.datasets:
        print(f"Its source does not report on {manifest.header.dataset}; the same rule was applied.")
    print(f"options for train, experiments and evaluate: {shlex.join(_use_with(options, manifest))}")
    distractors = sum(entry.pid == manifest.header.distractor_pid for entry in manifest.split("gallery"))
    if preset.evaluation.get("distractors") == "drop" and distractors:
        print(
            f"{distractors:,} pictures of the gallery are distractors, which --evaluation.distractors drop leaves out."
        )
