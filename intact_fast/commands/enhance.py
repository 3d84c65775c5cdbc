"""``intact-fast enhance``: pictures of a folder or file, super-resolved under the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor

from intact_fast.commands.model_options import ServingOptions, run_command, warn_unreadable
from intact_fast.commands.progress_bar import progress
from intact_fast.config.options import Interpolation
from intact_fast.errors import UserError
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.serving.enhanced_pictures import Original, is_writable, read_original, save_enhanced, written_name
from intact_fast.serving.finite import require_numbers
from intact_fast.serving.picture_reading import Unreadable, list_pictures, read_readable
from intact_fast.serving.sr_reid import Mode
from intact_fast.tallies import tally


@dataclass(frozen=True)
class EnhanceOptions(ServingOptions):
    """Super-resolve the pictures of a folder (and the folders below it) or one file, under the same names.

    Exit status: 0 when all were, 1 when some could not be read, 2 after a mistake in the options.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = tyro.MISSING
    """Folder or file to read."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")] = tyro.MISSING
    """Folder or file to write."""
    mode: Mode = "always"
    """`auto` passes only natively small pictures through G and enlarges the others."""
    overwrite: bool = False
    """Replace files that are there already."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(EnhanceOptions, "intact-fast enhance", arguments, _run)


def _run(options: EnhanceOptions) -> int:
    listing = list_pictures(options.source)
    if options.source.is_file():
        into_folder = options.target.is_dir()
        targets = [written_name(options.target / options.source.name) if into_folder else options.target]
    else:
        targets = [written_name(options.target / path.relative_to(options.source)) for path in listing.pictures]
    pairs = dict(zip(listing.pictures, targets, strict=True))
    check_writable(options.target, "enhance", folder=options.source.is_dir() or options.target.is_dir())
    _check_targets(pairs, options)
    model = options.load_generator()
    unreadable = Unreadable()
    with progress("enhancing", len(pairs), options.json) as advance:
        batches = read_readable(listing.pictures, read_original, model.batch_size, model.threads, unreadable)
        for paths, originals in batches:
            if originals:
                enhanced = model.super_resolve([original.image for original in originals], mode=options.mode)
                require_numbers(enhanced, paths, "enhanced picture")
                for path, original, image in zip(paths, originals, enhanced, strict=True):
                    _save(image, original, path, pairs[path], model.interpolation)
            advance(len(paths))
    figures = {
        "written": len(pairs) - len(unreadable.reasons),
        "unreadable": sorted(map(str, unreadable.reasons)),
        "other_files": listing.other_files,
        "target": str(options.target),
    }
    others = f": {listing.left_out.describe()}" if listing.left_out else ""
    if options.json:
        print(to_json(figures, indent=1))
    else:
        print(
            f"{figures['written']} pictures written to {options.target}; {len(unreadable.reasons)} unreadable, "
            f"{listing.other_files} other files left out{others}"
        )
    return warn_unreadable(unreadable)


def _check_targets(pairs: dict[Path, Path], options: EnhanceOptions) -> None:
    """Refuse what would lose a file or fail after hours, before anything is computed."""
    if len(set(pairs.values())) < len(pairs):
        (target, _), *_ = Counter(pairs.values()).most_common(1)
        raise UserError(f"{target}: two pictures of {options.source} would be written there; rename one of them")
    for source, target in pairs.items():
        if not is_writable(target):
            raise UserError(f"{target}: no picture format that can be written; name a .png or .jpg")
        if target.exists() and target.resolve() == source.resolve():
            raise UserError(f"{target}: would replace the picture that is read; give another target")
        if target.exists() and not options.overwrite:
            raise UserError(f"{target}: exists already; add --overwrite, or give another target")


def _save(pixels: Tensor, original: Original, source: Path, target: Path, interpolation: Interpolation) -> None:
    if target.suffix != source.suffix and target.name == f"{source.name}{target.suffix}":
        tally(f"of a format that cannot be written got {target.suffix} after the name", source)
    save_enhanced(pixels, original, target, interpolation)
