"""Tables of the bound on an iteration, from a record of `benchmarks.roofline`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, Maker, table
from docs.generate.speed import short

FORMS = {
    "launched": "each operation by itself",
    "compiled": "elementwise chains in one launch",
    "passes": "all between two convolutions in one launch",
    "fused": "all folded into convolutions",
    "flops": "FLOPs alone",
}
NETWORKS = {"paper": "paper's G", "best": "light G and C_q (`best`)"}


def _networks(call: Call) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    record = records.read(call.words[0])
    return record, record["networks"]


def _first(batches: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(batches.values()))


def chips_block(call: Call) -> str:
    """Write the rates that the bound divides by: ``chips RECORD``."""
    record, _ = _networks(call)
    lines = [[name, short(chip["tflop_per_s"]), short(chip["gb_per_s"])] for name, chip in record["chips"].items()]
    return table(["rates", "TFLOP/s", "GB/s"], lines, 1)


def forms_block(call: Call) -> str:
    """Write each form's bytes, launches, least time and most pictures, at the first batch: ``forms RECORD``."""
    record, networks = _networks(call)
    chips = list(record["chips"])
    tables = []
    for name, batches in networks.items():
        size, found = next(iter(batches.items()))
        lines = []
        for form, text in FORMS.items():
            row = found["forms"][form]
            cells = [f"{short(row['ms'][chip])} ({short(row['img_per_s'][chip])})" for chip in chips]
            launches = str(row["launches"]) if row["launches"] else "–"
            lines.append([text, short(row["gb"]), launches, *cells])
        title = f"{NETWORKS[name]}, batch {size}, {short(found['tflop'])} TFLOP: least ms (most pictures per second)"
        tables.append(table([title, "GB", "launches", *chips], lines, 1))
    return "\n\n".join(tables)


def cached_block(call: Call) -> str:
    """Write the least time where small tensors move for nothing: ``cached RECORD``."""
    record, networks = _networks(call)
    chips = list(record["chips"])
    lines = []
    for form in ("passes", "fused"):
        for size, found in networks["paper"].items():
            ms = found["without_small_ms"][form]
            cells = [f"{short(ms[chip])} ({short(1e3 * int(size) / ms[chip])})" for chip in chips]
            lines.append([FORMS[form], size, *cells])
    mib = record["cache_bytes"] // 2**20
    return table([f"tensors of up to {mib} MiB move for nothing: least ms", "batch", *chips], lines, 2)


def parts_block(call: Call) -> str:
    """Write what each part of an iteration takes at least on the first chip: ``parts RECORD``."""
    return _rows(call, "parts", "part")


def kinds_block(call: Call) -> str:
    """Write the same by kind of operation: ``kinds RECORD``."""
    return _rows(call, "kinds", "kind")


def _rows(call: Call, key: str, title: str) -> str:
    record, networks = _networks(call)
    chip = next(iter(record["chips"]))
    tables = []
    for name, batches in networks.items():
        found = _first(batches)[key]
        whole = sum(row.get("compiled_ms", 0.0) for row in found.values())
        lines = []
        for row_name, row in sorted(found.items(), key=lambda entry: -entry[1].get("compiled_ms", 0.0)):
            ms = [short(row.get(f"{form}_ms", 0.0)) for form in list(FORMS)[:-1]]
            share = 100 * row.get("compiled_ms", 0.0) / whole
            cells = [short(row.get("gflop", 0.0)), short(row.get("launched_gb", 0.0)), short(row.get("fused_gb", 0.0))]
            lines.append([row_name, *cells, *ms, f"{share:.1f} %"])
        head = [f"{NETWORKS[name]}: {title}", "GFLOP", "GB launched", "GB folded"]
        forms = ["ms launched", "compiled", "one launch between convolutions", "folded"]
        tables.append(table([*head, *forms, "share of compiled"], lines, 1))
    return f"Least times are those of the rates {chip}.\n\n" + "\n\n".join(tables)


def candidates_block(call: Call) -> str:
    """Write what each candidate would save of the compiled form: ``candidates RECORD``."""
    record, networks = _networks(call)
    measured = record["measured"]["ms"]
    paper, best = (_first(networks[name]) for name in NETWORKS)
    bound = next(iter(best["forms"]["compiled"]["ms"].values()))
    lines = []
    for name, row in paper["candidates"].items():
        light = best["candidates"][name]
        lines.append(
            [
                name,
                row["needs"],
                f"{short(row['gb'])} GB, {short(row['ms'])} ms",
                f"{100 * row['ms'] / measured:.1f} %",
                f"{short(light['gb'])} GB, {short(light['ms'])} ms",
                f"{100 * light['ms'] / bound:.1f} %",
            ]
        )
    shares = [f"of the measured {measured:.1f} ms", f"of the bound's {short(bound)} ms"]
    return table(["saved at most", "needs", "paper's G", shares[0], "`best`", shares[1]], lines, 2)


def batches_block(call: Call) -> str:
    """Write the most pictures per second by batch size: ``batches RECORD``."""
    record, networks = _networks(call)
    chip = next(iter(record["chips"]))
    lines = []
    for name, batches in networks.items():
        for form in ("compiled", "passes", "fused"):
            figures = [short(found["forms"][form]["img_per_s"][chip]) for found in batches.values()]
            lines.append([NETWORKS[name], FORMS[form], *figures])
    sizes = [f"batch {size}" for size in _first({"": networks["paper"]})]
    return table([f"most pictures per second, {chip}", "form", *sizes], lines, 2)


TABLES: Mapping[str, Maker] = {
    "batches": batches_block,
    "cached": cached_block,
    "candidates": candidates_block,
    "chips": chips_block,
    "forms": forms_block,
    "kinds": kinds_block,
    "parts": parts_block,
}


def bound_block(call: Call) -> str:
    """Write one of the `TABLES`: ``bound RECORD TABLE``."""
    name, wanted = call.words
    return TABLES[wanted](Call((name,), {}, call.page))
