"""The tables of a record of `benchmarks.chaos`."""

from __future__ import annotations

from docs.generate import records
from docs.generate.blocks import Call, table

_OF_A_TRIAL = ("promise", "trials", "broken")


def campaigns_block(call: Call) -> str:
    """Write a line for each promise, with how often it held: ``campaigns RECORD``."""
    found = records.read(call.words[0])["figures"]
    lines = []
    for name, campaign in found.items():
        first = f"`{name}`, {campaign['seconds']:.0f} s"
        for promise in campaign["promises"]:
            held, text = promise["trials"] - len(promise["broken"]), promise["promise"].rstrip(".")
            lines.append([first, text[0].upper() + text[1:], f"{held:,} of {promise['trials']:,}"])
            first = ""
    return table(["campaign", "promise", "held"], lines, 2)


def figures_block(call: Call) -> str:
    """Write what was measured or counted besides: ``figures RECORD CAMPAIGN TITLE [TITLE …] [promises=1,2]``.

    A figure that several promises have stands in as many columns. Promises are counted from 1; all without it.
    """
    record, campaign, *titles = call.words
    promises = records.read(record)["figures"][campaign]["promises"]
    chosen = [int(number) - 1 for number in call.listed("promises")] or range(len(promises))
    lines: dict[str, list[str]] = {}
    for number in chosen:
        for name, value in promises[number].items():
            if name not in _OF_A_TRIAL:
                lines.setdefault(name, []).append(f"{value:,}" if isinstance(value, int | float) else value)
    return table(["", *titles], [[name, *values] for name, values in lines.items()], 1)
