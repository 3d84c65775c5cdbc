"""Dated records of what was measured: ``python -m benchmarks.record RESULT.json COMMAND [NAME]``.

``RESULT.json`` is what pytest-benchmark wrote for ``COMMAND`` (``make bench ARGS="… --benchmark-json=RESULT.json"``),
or a table of ``intact-fast experiments`` (``table3.json``).
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from intact_fast.files import write_atomically

RECORDS = Path(__file__).parent / "records"


def versions(*packages: str) -> dict[str, str | None]:
    """Versions of Python and of what the figures depend on; None where a package is not installed."""
    result: dict[str, str | None] = {"python": platform.python_version()}
    for package in (*packages, "intact_fast"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = None
    return result


def cpu_kind() -> str:
    """Model of the processor, its cores, and whether it multiplies bfloat16 matrices in hardware."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    amx = " with AMX bfloat16" if "amx_bf16" in fields.get("flags", "").split() else ""
    return f"{fields.get('model name', platform.machine())}, {os.cpu_count()} cores{amx}"


def write_record(record: dict[str, Any], name: str) -> Path:
    """Write ``records/DATE-NAME.json``, numbered where that exists; an earlier record is never touched."""
    record = {"date": datetime.date.today().isoformat(), **record}
    stem, number = f"{record['date']}-{name}", 2
    path = RECORDS / f"{stem}.json"
    while path.exists():
        path = RECORDS / f"{stem}-{number}.json"
        number += 1
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def figures(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Times of every benchmark in pytest-benchmark's JSON, by group and name, with what it noted beside them."""
    return {
        f"{row['group']}: {row['name']}": {
            **{f"{key}_s": float(f"{row['stats'][key]:.4g}") for key in ("median", "min", "max")},
            "rounds": row["stats"]["rounds"],
            **row["extra_info"],
        }
        for row in result["benchmarks"]
    }


def main(source: str, command: str, name: str | None = None) -> None:
    """Turn pytest-benchmark's JSON, or a table's, into a record."""
    result = json.loads(Path(source).read_text(encoding="utf-8"))
    record = {
        "command": command,
        "machine": {"cpu": cpu_kind(), "gpu": None},
        "versions": versions("torch", "triton", "nvidia-dali-cuda130", "pillow", "numpy"),
        "figures": figures(result) if "benchmarks" in result else result,
    }
    print(f"record: {write_record(record, name or f'cpu-{os.cpu_count()}-cores')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
