"""The table of a record of `benchmarks.gallery_engines`."""

from __future__ import annotations

from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY

_NAMES = {
    "former": "one safetensors file, as before",
    "lance": "Lance, as the package uses it",
    "faiss and parquet": "FAISS, rows in Parquet",
    "usearch and sqlite": "USearch, rows in SQLite",
}
_LINES = (
    ("bytes written per byte of features, commits of 5,000 rows", "add", "bytes_per_byte", "{:.2f}"),
    ("rows lost by SIGKILL, of those committed", "kill", "lost", "{:,}"),
    ("opening, s", "exact", "open_s", "{:.3f}"),
    ("from the disk to 64 exact lists, s", "exact", "open_and_64_queries_s", "{:.2f}"),
    ("64 exact lists of an open gallery, s", "exact", "64_queries_s", "{:.2f}"),
    ("one exact list, s", "exact", "1_query_s", "{:.3f}"),
    ("64 exact lists with a condition, s", "exact", "64_queries_with_condition_s", "{:.2f}"),
    ("peak memory of these, GB", "exact", "peak_gb", "{:.2f}"),
    ("making an index, s", "approximate", "build_s", "{:.0f}"),
    ("recall of the exact top 10", "approximate", "recall", "{:.3f}"),
    ("64 approximate lists, s", "approximate", "64_queries_s", "{:.3f}"),
    ("one approximate list, s", "approximate", "1_query_s", "{:.4f}"),
    ("bytes written per byte of 2,000 changed and deleted rows", "change", "bytes_per_byte", "{:.1f}"),
)


def galleries_block(call: Call) -> str:
    """Write a column for each engine: ``galleries RECORD``."""
    figures = records.read(call.words[0])["figures"]
    engines = [name for name in _NAMES if name in figures]
    lines = [
        [text, *(_cell(figures[name].get(step, {}).get(key), form) for name in engines)]
        for text, step, key, form in _LINES
    ]
    return table(["", *(_NAMES[name] for name in engines)], lines, 1)


def _cell(value: Any, form: str) -> str:
    return EMPTY if value is None else form.format(value)
