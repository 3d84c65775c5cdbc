"""A look at every picture before anything is trained: a damaged one is named now, and not after hours."""

from __future__ import annotations

from collections.abc import Sequence

from intact_fast.config.options import Config
from intact_fast.data.degradation import read_image
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.readable import OPTION, readable_entries
from intact_fast.evaluation.sharding import Processes

_TRAINING_OPTION = "--data.skip-corrupt"
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
    for entries, kind, option in ((training, "training", _TRAINING_OPTION), (tested, "test", OPTION)):
        _require_readable(entries, kind, option, config, processes)


def _require_readable(entries: Sequence[Entry], kind: str, option: str, config: Config, processes: Processes) -> None:
    good = set(readable_entries(entries, config.data.root, config.data.threads, processes))
    bad = [config.data.root / entry.path for entry in entries if entry not in good]
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
        count = f" ({len(bad):,} of {len(entries):,} cannot be read: {names})"
    raise UserError(f"{reason} or leave such {kind} pictures out with {option}{count}")
