"""``intact-fast enhance``: pictures of a folder or file, super-resolved under the same names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image
from torch import Tensor

from intact_fast.commands.model_options import ServingOptions, run_command, warn_unreadable
from intact_fast.commands.progress_bar import progress
from intact_fast.errors import UserError
from intact_fast.files import check_writable, save_picture
from intact_fast.json_text import to_json
from intact_fast.serving.gallery import Unreadable, list_pictures, read_in_batches
from intact_fast.serving.sr_reid import Mode


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
        targets = [options.target / options.source.name if options.target.is_dir() else options.target]
    else:
        targets = [options.target / path.relative_to(options.source) for path in listing.pictures]
    pairs = dict(zip(listing.pictures, targets, strict=True))
    check_writable(options.target, "enhance", folder=options.source.is_dir() or options.target.is_dir())
    _check_targets(pairs, options)
    model = options.load()
    if model.generator is None:
        raise UserError(f"--model {options.model}: holds no generator; give a training's model.safetensors")
    unreadable = Unreadable()
    with progress("enhancing", len(pairs), options.json) as advance:
        for paths, images in read_in_batches(listing.pictures, model.batch_size, model.threads, unreadable):
            if images:
                enhanced = model.super_resolve(images, mode=options.mode)
                for path, image in zip(paths, enhanced, strict=True):
                    _save(image, pairs[path])
            advance(len(paths))
    figures = {
        "written": len(pairs) - len(unreadable.reasons),
        "unreadable": sorted(map(str, unreadable.reasons)),
        "other_files": listing.other_files,
        "target": str(options.target),
    }
    if options.json:
        print(to_json(figures, indent=1))
    else:
        print(
            f"{figures['written']} pictures written to {options.target}; {len(unreadable.reasons)} unreadable, "
            f"{listing.other_files} other files left out"
        )
    return warn_unreadable(unreadable)


def _check_targets(pairs: dict[Path, Path], options: EnhanceOptions) -> None:
    """Refuse what would lose a file or fail after hours, before anything is computed."""
    writable = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.SAVE}
    for source, target in pairs.items():
        if target.suffix.lower() not in writable:
            raise UserError(f"{target}: no picture format that can be written; name a .png or .jpg")
        if target.exists() and target.resolve() == source.resolve():
            raise UserError(f"{target}: would replace the picture that is read; give another target")
        if target.exists() and not options.overwrite:
            raise UserError(f"{target}: exists already; add --overwrite, or give another target")


def _save(image: Tensor, path: Path) -> None:
    """Write 3×H×W from 0 to 1 in the format of the name."""
    array = (255 * image).round().byte().permute(1, 2, 0).cpu().numpy()
    file_format = Image.registered_extensions()[path.suffix.lower()]
    save_picture(Image.fromarray(array), path, file_format, **({"quality": 95} if file_format == "JPEG" else {}))
