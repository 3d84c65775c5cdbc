"""Records of measurements: `benchmarks/records/`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from docs.generate.blocks import ROOT, Call

FOLDER = ROOT / "benchmarks" / "records"

_CPU_CHANGED = "2026-11-29"
_OF_PRESET_CPU = re.compile(r"--preset cpu\b|\bmake train\b|\bintact-fast train (?!.*--preset )")
_CPU_BEFORE = (
    "--generator.ema-decay none --association.feature pool --association.output-gamma 1 --association.dis-warmup 50 "
    "--critic.iterations 380 --training.iterations 160 --training.no-f-c-table --training.validate-every 80 "
    "--training.checkpoint-every 80"
)


@cache
def read(name: str) -> Mapping[str, Any]:
    """Read a record by its file's name without the ending."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Name every record, the latest first."""
    return sorted((path.stem for path in FOLDER.glob("*.json")), reverse=True)


def commands(record: Mapping[str, Any]) -> dict[str, str]:
    """Give a record's commands by name; one without a name is called ``command``."""
    found = record.get("commands", record.get("command", {}))
    if isinstance(found, str):
        return {"command": found}
    return dict(found) if isinstance(found, dict) else {str(number): text for number, text in enumerate(found, 1)}


def commands_block(call: Call) -> str:
    """Write commands of a record as a block for the shell: ``commands RECORD [NAME …]``."""
    name, *wanted = call.words
    record = read(name)
    found = commands(record)
    chosen = [found[name] for name in wanted or found]
    block = "```sh\n" + "\n".join(wrapped(command) for command in chosen) + "\n```"
    return f"{block}\n\n{_former_preset()}" if _had_former_preset(record, chosen) else block


def _had_former_preset(record: Mapping[str, Any], chosen: Sequence[str]) -> bool:
    """Whether commands rest on what the preset `cpu` was when the record was made."""
    return record["date"] < _CPU_CHANGED and any(_OF_PRESET_CPU.search(command) for command in chosen)


def _former_preset() -> str:
    lines = ["Preset `cpu` has changed since. To repeat such a command, add those of its former options that it lacks:"]
    return "\n".join([*lines, "", "```sh", wrapped(_CPU_BEFORE), "```"])


def machine_block(call: Call) -> str:
    """Say where and with what a record was made: ``machine RECORD …``."""
    return "\n".join(f"- {_origin(name, call.page)}" for name in call.words)


def link(name: str, page: Path) -> str:
    """Link to a record from a page."""
    up = "../" * len(page.parent.relative_to(ROOT).parts)
    return f"[`{name}`]({up}benchmarks/records/{name}.json)"


def machine(record: Mapping[str, Any]) -> str:
    """Name the machine of a record."""
    found = record.get("machine", {})
    if isinstance(found, str):
        return found
    parts = [found.get("gpu"), found.get("cpu")]
    return "; ".join(part for part in parts if part)


def _origin(name: str, page: Path) -> str:
    record = read(name)
    versions = record.get("versions", {})
    torch = f", PyTorch {str(versions['torch']).split('+')[0]}" if "torch" in versions else ""
    return f"Record {link(name, page)}: {record['date']}, {machine(record)}{torch}."


def wrapped(command: str, width: int = 110) -> str:
    """Break a command into lines that a shell joins again."""
    lines, current = [], ""
    for word in command.split(" "):
        if current and len(current) + 1 + len(word) > width:
            lines.append(current + " \\")
            current = "  " + word
        else:
            current = f"{current} {word}" if current else word
    return "\n".join([*lines, current])
