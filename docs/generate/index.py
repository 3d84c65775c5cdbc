"""The index of all records."""

from __future__ import annotations

from docs.generate import records
from docs.generate.blocks import Call, table


def index_block(call: Call) -> str:
    """List every record with its date, machine, command and headline: ``index``."""
    lines = []
    for name in records.names():
        record = records.read(name)
        first = next(iter(records.commands(record).values()), "")
        short = first if len(first) <= 70 else first[:67].rsplit(" ", 1)[0] + " …"
        lines.append(
            [
                f"[{name}]({name}.json)",
                record["date"],
                records.machine(record).replace("|", "/"),
                f"`{short}`" if short else "",
                record.get("headline", ""),
            ]
        )
    return table(["record", "date", "machine", "command", "headline"], lines, 5)
