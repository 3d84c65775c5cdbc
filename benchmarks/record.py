"""Dated records of what was measured: ``python -m benchmarks.record RESULT.json COMMAND [NAME]``.

``RESULT.json`` is what pytest-benchmark wrote for ``COMMAND`` (``make bench ARGS="… --benchmark-json=RESULT.json"``),
or a table of ``intact-fast experiments`` (``table3.json``). ``records/README.md`` says what a record holds.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.table_record import rows_of_table
from intact_fast.files import write_atomically

RECORDS = Path(__file__).parent / "records"
_BFLOAT16_UNITS = {"amx_bf16": "AMX bfloat16", "avx512_bf16": "AVX512-BF16"}
FIELDS = ("kind", "headline", "date", "machine", "versions", "commands", "notes")
"""What every record begins with, in this order; ``notes`` may be missing."""
LINE = 100
"""Longest list or dictionary, in characters, that stands on one line."""


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of what the figures depend on, as far as it is installed."""
    result = {"python": platform.python_version()}
    for package in (*packages, "intact_fast"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            continue
    return result


def cpu_kind() -> str:
    """Model of the processor, its cores, and whether it multiplies bfloat16 matrices in hardware."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    model = re.sub(r"\((R|TM)\)", "", fields.get("model name", platform.machine()))
    flags = fields.get("flags", "").split()
    unit = next((f" with {name}" for flag, name in _BFLOAT16_UNITS.items() if flag in flags), "")
    return f"{model}, {os.cpu_count()} cores{unit}"


def machine_of(device: torch.device) -> dict[str, str]:
    """Name the GPU, where the measurement ran on one, and the processor."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {**gpu, "cpu": cpu_kind()}


def name_of_machine(device: torch.device) -> str:
    """Name the machine as records' files do."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {os.cpu_count()} cores"
    return name.replace(" ", "-").lower()


def write_record(record: Mapping[str, Any], name: str, folder: Path | None = None) -> Path:
    """Write ``records/DATE-NAME.json``, numbered where that exists; an earlier record is never touched.

    Args:
        record: What it holds.
        name: What the file is called behind the date.
        folder: Another place than ``records``.
    """
    folder = RECORDS if folder is None else folder
    dated = {"date": datetime.date.today().isoformat(), **record}
    missing = [field for field in FIELDS if field not in dated and field != "notes"]
    assert not missing, missing
    stem, number = f"{dated['date']}-{name}", 2
    path = folder / f"{stem}.json"
    while path.exists():
        path = folder / f"{stem}-{number}.json"
        number += 1
    ordered = {field: dated[field] for field in FIELDS if field in dated} | dated
    with write_atomically(path) as temporary:
        temporary.write_text(as_text(ordered) + "\n", encoding="utf-8")
    return path


def rounded(value: Any) -> Any:
    """Round every figure to 5 significant digits, so that a table may round to 3 again."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def as_text(value: Any, depth: int = 0) -> str:
    """Write JSON by lines; a list or dictionary of plain values that fits stands on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    inner = list(value.values()) if isinstance(value, Mapping) else value
    is_plain = not isinstance(inner, list) or not any(isinstance(v, Mapping | list) for v in inner)
    if not isinstance(inner, list) or not inner or (is_plain and len(flat) <= LINE):
        return flat
    parts = [as_text(v, depth + 1) for v in inner]
    if isinstance(value, Mapping):
        names = [json.dumps(str(key), ensure_ascii=False) for key in value]
        parts = [f"{name}: {part}" for name, part in zip(names, parts, strict=True)]
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    lines = ",\n".join(" " * (depth + 1) + part for part in parts)
    return f"{start}\n{lines}\n{' ' * depth}{end}"


def figures(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Times of pytest-benchmark's JSON by group and row, with what the benchmark noted beside them.

    A row is named by the benchmark's ``extra_info["row"]``, else by its parameters, else by its function.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for measured in result["benchmarks"]:
        noted = dict(measured["extra_info"])
        row = noted.pop("row", None) or measured.get("param") or measured["name"].removeprefix("test_")
        times = {f"{key}_s": measured["stats"][key] for key in ("median", "min", "max")}
        found.setdefault(measured["group"], {})[row] = {**times, "rounds": measured["stats"]["rounds"], **noted}
    return found


def headline(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Say the first group's fastest and slowest row."""
    group, rows = next(iter(groups.items()))
    by_time = sorted(rows, key=lambda name: rows[name]["median_s"])
    ends = dict.fromkeys((by_time[0], by_time[-1]))
    times = ", ".join(f"{name} {1e3 * rows[name]['median_s']:.4g} ms" for name in ends)
    return f"{group[0].upper()}{group[1:]}: {times}."


def main(source: str, command: str, name: str | None = None) -> None:
    """Turn pytest-benchmark's JSON, or a table's, into a record."""
    result = json.loads(Path(source).read_text(encoding="utf-8"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if "benchmarks" in result:
        measured = figures(result)
        content = {"kind": "speed", "headline": headline(measured), "figures": rounded(measured)}
    else:
        content = {"kind": "training", **rows_of_table(result)}
    record = {
        "machine": machine_of(device),
        "versions": versions("torch", "triton", "nvidia-dali-cuda130", "pillow", "numpy"),
        "commands": {"command": command},
        **content,
    }
    print(f"record: {write_record(record, name or name_of_machine(device))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
