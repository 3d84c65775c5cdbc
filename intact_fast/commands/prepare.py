"""``intact-fast prepare``: write the split manifest of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from intact_fast.checks import check_data
from intact_fast.config import DataConfig
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError, fail


@dataclass(frozen=True)
class PrepareOptions:
    """Write a split manifest, from which training and evaluation are exactly repeatable."""

    out: Path
    """File to write (JSON lines); an existing file is never replaced."""
    data: DataConfig = field(default_factory=DataConfig)
    debug: bool = False
    """Show tracebacks of user errors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = list(arguments)
    try:
        options = tyro.cli(PrepareOptions, prog="intact-fast prepare", args=arguments)
        if options.out.exists():
            raise UserError(f"--out {options.out}: exists already; remove it or name another file")
        check_data(options.data)
        manifest = obtain_manifest(options.data)
        manifest.save(options.out)
    except UserError as error:
        return fail(error, "--debug" in arguments)
    counts = Counter(row.split for row in manifest.rows)
    pictures = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{options.out}: {pictures}; {len(manifest.labels)} training identities; hash {manifest.hash[:12]}")
    return 0
