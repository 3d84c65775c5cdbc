"""Tables of speed records that compare recipes."""

from __future__ import annotations

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY, title


def costs_block(call: Call) -> str:
    """Write milliseconds per iteration of each recipe and what it adds to the row before: ``costs RECORD``."""
    record = records.read(call.words[0])
    lines, before = [], None
    for name, row in record["rows"].items():
        added = (
            EMPTY
            if before is None
            else f"{row['median_ms'] - before:+.0f} ({100 * (row['median_ms'] / before - 1):+.0f} %)"
        )
        lines.append(
            [title(name, row), f"{row['median_ms']:.0f}", f"{row['min_ms']:.0f}", f"{row['max_ms']:.0f}", added]
        )
        before = row["median_ms"]
    return table(["ms per iteration", "median", "least", "most", "over the row before"], lines, 1)
