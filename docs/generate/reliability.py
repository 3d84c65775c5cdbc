"""The table of a record of `benchmarks.chaos`."""

from __future__ import annotations

from docs.generate import records
from docs.generate.blocks import Call, table


def campaigns_block(call: Call) -> str:
    """Write a line for each promise, with how often it held: ``campaigns RECORD``."""
    found = records.read(call.words[0])["figures"]
    lines = []
    for name, campaign in found.items():
        first = f"`{name}`, {campaign['seconds']:.0f} s"
        for promise in campaign["promises"]:
            held = promise["trials"] - len(promise["broken"])
            lines.append([first, promise["promise"].rstrip("."), f"{held:,} of {promise['trials']:,}"])
            first = ""
    return table(["campaign", "promise", "held"], lines, 2)
