"""A look at every picture before anything is trained: a damaged one is named now, and not after hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intact_fast.config.options import Config
from intact_fast.data.degradation import read_image
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.readable import OPTION, are_readable
from intact_fast.evaluation.sharding import Processes

TRAINING_OPTION = "--data.skip-corrupt"
_NAMED = 3


def require_readable(manifest: Manifest, config: Config, processes: Processes) -> None:
    """Decode every picture that the run will need and may not leave out.

    Args:
        manifest: The split.
        config: Which pictures may be left out, and where they are.
        processes: All of them call this and share the pictures; all get the same answer.

    Raises:
        UserError: Some cannot be read; it names the first ones and the option that leaves them out.
    """
    training = [] if config.data.skip_corrupt else manifest.split("train")
    tested: list[Entry] = []
    if not config.evaluation.skip_corrupt:
        tested = manifest.split("val_query", "val_gallery", "query", "gallery")
    for entries, kind, option in ((training, "training", TRAINING_OPTION), (tested, "test", OPTION)):
        paths = [config.data.root / entry.path for entry in entries]
        require_readable_pictures(paths, kind, option, config.data.threads, processes)


def require_readable_pictures(
    paths: Sequence[Path], kind: str, option: str, threads: int, processes: Processes
) -> None:
    """Decode every one of some pictures.

    Args:
        paths: Their files.
        kind: What they are for, in the error.
        option: What leaves unreadable ones out.
        threads: Threads that read.
        processes: All of them call this and share the pictures; all get the same answer.

    Raises:
        UserError: Some cannot be read.
    """
    readable = are_readable(paths, threads, processes)
    bad = [path for path, is_good in zip(paths, readable, strict=True) if not is_good]
    if not bad:
        return
    try:
        if not bad[0].is_file():
            raise UserError(f"{bad[0]}: listed in the manifest but missing; check --data.root,")
        read_image(bad[0])
    except UserError as error:
        reason = str(error)
    else:
        reason = f"{bad[0]}: could not be read a moment ago; check the disk"
    count = ""
    if len(bad) > 1:
        names = ", ".join(path.name for path in bad[:_NAMED]) + ", …" * (len(bad) > _NAMED)
        count = f" ({len(bad):,} of {len(paths):,} cannot be read: {names})"
    raise UserError(f"{reason} or leave such {kind} pictures out with {option}{count}")
