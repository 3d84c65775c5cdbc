"""Further pictures that train G and C_q without identities (`--data.unlabelled`), and the look at which they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from intact_fast.config.options import Config, DataConfig
from intact_fast.data.manifest import Manifest
from intact_fast.data.picture_files import list_pictures
from intact_fast.errors import UserError
from intact_fast.evaluation.readable import are_readable
from intact_fast.evaluation.sharding import Processes
from intact_fast.file_names import leads_out
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain
from intact_fast.training.first_look import TRAINING_OPTION, require_readable_pictures

LISTED = "unlabelled.json"
"""Where a run keeps the names, so that a resumed training has the same."""
_GALLERY = Path("gallery")
_OPTION = "--data.unlabelled"


@dataclass(frozen=True)
class Unlabelled:
    """Pictures without identities.

    Attributes:
        paths: Their files.
        note: What the report says of them; empty where there are none.
    """

    paths: tuple[Path, ...] = ()
    note: str = ""


def trains_on_gallery(data: DataConfig) -> bool:
    """Say whether the gallery's own pictures train: figures are transductive then."""
    return data.unlabelled == _GALLERY


def find_unlabelled(
    config: Config, manifest: Manifest, processes: Processes, kept: Path | None, say: Callable[[str], None]
) -> Unlabelled:
    """List the pictures, and see that they may train and can be read.

    Args:
        config: Where they are, and whether unreadable ones may be left out.
        manifest: The split.
        processes: All of them call this and share the reading; all get the same answer.
        kept: The list of a training that has begun, taken as it is; None lists anew.
        say: Tells the user a line.

    Raises:
        UserError: There are none, some are test pictures, or some cannot be read.
    """
    place = config.data.unlabelled
    if place is None:
        return Unlabelled()
    base = config.data.root if place == _GALLERY else place
    if kept is not None:
        names = processes.on_main(lambda: _kept_names(kept))
        return _described([base / name for name in names], place)
    paths = processes.on_main(lambda: _listed(place, config.data.root, manifest, say))
    if config.data.skip_corrupt:
        readable = are_readable(paths, config.data.threads, processes)
        for path, is_good in zip(paths, readable, strict=True):
            if not is_good:
                say(f"Skipping unreadable picture {path}")
        paths = [path for path, is_good in zip(paths, readable, strict=True) if is_good]
        if not paths:
            raise UserError(f"{_OPTION} {place}: none of its pictures can be read; give another folder")
    else:
        require_readable_pictures(paths, "unlabelled", TRAINING_OPTION, config.data.threads, processes)
    return _described(paths, place)


def _kept_names(kept: Path) -> list[str]:
    """Read the names that `keep_list` wrote, which lie below their folder."""
    try:
        names = read_plain(list[str], from_json(kept.read_text(encoding="utf-8")))
        outside = next((name for name in names if leads_out(name)), None)
        if outside is not None:
            raise ValueError(f"{outside} leads out of the folder")
    except ValueError as error:
        raise UserError(f"{kept}: no list of pictures of a run ({error}); use another --name") from error
    return names


def keep_list(found: Unlabelled, config: Config, path: Path) -> None:
    """Write the names of the pictures to a file, for `find_unlabelled`."""
    place = config.data.unlabelled
    if place is None:
        return
    base = config.data.root if place == _GALLERY else place
    with write_atomically(path) as temporary:
        names = [str(file.relative_to(base) if file.is_relative_to(base) else file) for file in found.paths]
        temporary.write_text(to_json(names, indent=0) + "\n", encoding="utf-8")


def _described(paths: list[Path], place: Path) -> Unlabelled:
    if place == _GALLERY:
        note = (
            f"transductive: the gallery's own {len(paths):,} pictures trained as well, without identities "
            f"({_OPTION} gallery)"
        )
    else:
        note = f"{len(paths):,} pictures without identities trained as well ({_OPTION} {place})"
    return Unlabelled(tuple(paths), note)


def _listed(place: Path, root: Path, manifest: Manifest, say: Callable[[str], None]) -> list[Path]:
    """The pictures of a folder that do not train anyway, or of the gallery."""
    if place == _GALLERY:
        return [root / entry.path for entry in manifest.split("gallery")]
    if not place.is_dir():
        raise UserError(f"{_OPTION} {place}: no such folder; give one that holds pictures, or gallery")
    listing = list_pictures(place, recursive=True)
    if left_out := listing.left_out.describe():
        say(f"{_OPTION} {place}: left out {left_out}")
    real = {os.path.realpath(path): path for path in listing.pictures}
    tested = manifest.split("query", "gallery", "val_query", "val_gallery")
    overlapping = [entry for entry in tested if os.path.realpath(root / entry.path) in real]
    if overlapping:
        raise UserError(
            f"{_OPTION} {place}: holds {len(overlapping):,} of the split's test and validation pictures "
            f"({overlapping[0].path}); give a folder without them, or gallery to train on the gallery on purpose"
        )
    training = {os.path.realpath(root / entry.path) for entry in manifest.split("train")}
    paths = [path for name, path in real.items() if name not in training]
    if len(paths) < len(listing.pictures):
        say(f"{_OPTION} {place}: {len(listing.pictures) - len(paths):,} of its pictures are training pictures already")
    if not paths:
        raise UserError(f"{_OPTION} {place}: holds no picture that does not train already; give another folder")
    return paths
