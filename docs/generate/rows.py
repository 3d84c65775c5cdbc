"""Tables of trainings: the rows of a record that compares recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, table

Row = Mapping[str, Any]

LABELS = {
    "lr": "LR queries without SR (`lr`)",
    "critic-mlr": "no SR, C fine-tuned on degraded pictures (`critic-mlr`)",
    "sole-sr": "MSE (`sole-sr`)",
    "mse+id": "MSE + identity (`mse+id`)",
    "mse+id+gan": "MSE + identity + GAN (`mse+id+gan`)",
    "intact": "… + association (`intact`)",
    "feature-matching": "… + feature matching, the control (`feature-matching`)",
    "HR queries": "HR queries (upper bound)",
}
BOUND = "HR queries"
MINUS = "\N{MINUS SIGN}"
EMPTY = "–"


def number(value: float, digits: int = 1, signed: bool = False) -> str:
    """Write a figure with a typographic minus, and a plus where it is a difference."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", MINUS)


def interval(bounds: list[float]) -> str:
    """Write the two ends of an interval."""
    return f"[{number(bounds[0])}, {number(bounds[1])}]"


def spread(figure: Mapping[str, float] | float | None, digits: int = 1) -> str:
    """Write a mean over seeds and, where there is one, its standard deviation."""
    if figure is None:
        return EMPTY
    if not isinstance(figure, Mapping):
        return number(figure, digits)
    text = number(figure["mean"], digits)
    return f"{text} ± {number(figure['std'], digits)}" if figure.get("std") is not None else text


def gain(row: Row, other: str) -> str:
    """Write what a row gains over another one, paired by query."""
    found = row.get("gains", {}).get(other)
    if found is None:
        return EMPTY
    text = number(found["points"], signed=True)
    if "interval" in found:
        text += f" {interval(found['interval'])}"
    if "by_seed" in found:
        text += "; by seed " + ", ".join(number(points, signed=True) for points in found["by_seed"].values())
    return text


def _figure(name: str, digits: int = 1) -> Callable[[Row], str]:
    return lambda row: spread(row.get("figures", {}).get(name), digits)


def _by_seed(row: Row, name: str = "Rank-1") -> str:
    found = [number(seed[name]) for seed in row.get("by_seed", []) if name in seed]
    return ", ".join(found) or EMPTY


def _by_r(row: Row, rates: tuple[str, ...]) -> str:
    found = row.get("by_r", {})
    return ", ".join(number(found[r]) for r in rates if r in found) or EMPTY


COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "multi": ("multi-shot Rank-1", _figure("multi-shot Rank-1")),
    "mAP": ("mAP", _figure("mAP")),
    "single": ("single-shot Rank-1", _figure("Rank-1")),
    "single-cosine": ("single-shot Rank-1, cosine", _figure("cosine Rank-1")),
    "multi-cosine": ("multi-shot Rank-1, cosine", _figure("cosine multi-shot Rank-1")),
    "rank5": ("single-shot Rank-5", _figure("Rank-5")),
    "rank10": ("single-shot Rank-10", _figure("Rank-10")),
    "psnr": ("PSNR (dB)", _figure("PSNR (dB)")),
    "ssim": ("SSIM", _figure("SSIM", 2)),
    "seeds": ("seeds", lambda row: str(len(row["seeds"])) if "seeds" in row else EMPTY),
    "by-seed": ("single-shot Rank-1 by seed", _by_seed),
    "interval": ("95 % interval", lambda row: interval(row["interval"]) if "interval" in row else EMPTY),
    "r": ("Rank-1 at r = 2, 3, 4", lambda row: _by_r(row, ("2", "3", "4"))),
    "unseen": ("at the unseen r = 6, 8", lambda row: _by_r(row, ("6", "8"))),
    "validation": ("Rank-1 of held-out identities", lambda row: _by_seed(row, "validation Rank-1")),
}
"""Title and cell of a column; ``over:ROW``, ``gain:KEY:TITLE`` and ``health:KEY:TITLE:DIGITS`` come besides."""


def rows_block(call: Call) -> str:
    """Write rows of a record: ``rows RECORD rows=a,b columns=multi,mAP,over:c [first=TITLE]``.

    The best figure of each column is bold, the upper bound aside. ``rows`` left out gives all.
    """
    record = records.read(call.words[0])
    chosen = call.listed("rows") or list(record["rows"])
    columns = call.listed("columns", "multi,mAP,single")
    cells = [[title(name, record["rows"][name])] for name in chosen]
    head = [call.options.get("first", "")]
    for column in columns:
        heading, cell = _column(column)
        head.append(heading)
        written = [cell(record["rows"][name]) for name in chosen]
        best = _best(column, chosen, record["rows"])
        for line, text, name in zip(cells, written, chosen, strict=True):
            line.append(f"**{text}**" if name in best else text)
    return table(head, cells, 1)


def title(name: str, row: Row) -> str:
    """Name a row: by its own label, else by that of its recipe."""
    return row.get("label") or LABELS.get(name, f"`{name}`")


def _column(name: str) -> tuple[str, Callable[[Row], str]]:
    kind, _, rest = name.partition(":")
    if kind == "over":
        return f"over `{rest}`, paired", lambda row: gain(row, rest)
    if kind == "gain":
        other, heading = rest.split(":")
        return heading, lambda row: gain(row, other)
    if kind == "health":
        key, heading, digits = rest.split(":")
        return heading, lambda row: spread(row.get("health", {}).get(key), int(digits))
    return COLUMNS[name]


_BEST_OF = {
    "multi": "multi-shot Rank-1",
    "mAP": "mAP",
    "single": "Rank-1",
    "single-cosine": "cosine Rank-1",
    "multi-cosine": "cosine multi-shot Rank-1",
}


def _best(column: str, chosen: list[str], rows: Mapping[str, Row]) -> set[str]:
    if column not in _BEST_OF:
        return set()
    means = {
        name: _mean(rows[name], _BEST_OF[column]) for name in chosen if not title(name, rows[name]).startswith(BOUND)
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    return {name for name, mean in known.items() if round(mean, 1) == round(max(known.values()), 1)} if known else set()


def _mean(row: Row, figure: str) -> float | None:
    found = row.get("figures", {}).get(figure)
    return found["mean"] if isinstance(found, Mapping) else found
