"""What is measured of every row of a table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intact_fast.data.manifest import Entry, Manifest, Split
from intact_fast.errors import UserError

_TESTED_AS: dict[Split, Split] = {"train": "train", "val_query": "query", "val_gallery": "gallery"}


@dataclass(frozen=True)
class Measured:
    """What is measured of every row.

    Attributes:
        unseen: Rates r that the split does not have, to measure as well.
        held_out: Score held-out training identities in place of the test identities: recipes and options are chosen by
            them, so that test identities are looked at once.
    """

    unseen: tuple[int, ...] = ()
    held_out: bool = False

    @property
    def suffix(self) -> str:
        """What names of files end with, so that both measurements of a row have a place."""
        return "-held-out" if self.held_out else ""

    def tested(self, manifest: Manifest) -> Manifest:
        """Give the split whose queries and gallery are scored.

        Raises:
            UserError: The split holds no identities out.
        """
        if not self.held_out:
            return manifest
        if not manifest.split("val_query"):
            raise UserError("--held-out: the split holds no identities out; give --data.val-fraction more than 0")
        return replace(manifest, entries=tuple(_as_tested(entry) for entry in manifest.entries if _takes_part(entry)))


def _takes_part(entry: Entry) -> bool:
    return entry.split in _TESTED_AS


def _as_tested(entry: Entry) -> Entry:
    return replace(entry, split=_TESTED_AS[entry.split])
