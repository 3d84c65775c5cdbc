"""Tables over several records: the verdict, effects by setting, and what super-resolution wins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docs.generate import records
from docs.generate.blocks import ROOT, Call, table
from docs.generate.rows import BOUND, EMPTY, gain, interval, number, spread

Row = Mapping[str, Any]

COLUMNS = ("lr", "critic-mlr", "sole-sr", "mse+id", "mse+id+gan", "intact", "feature-matching", BOUND)
OURS = ("sole-sr", "mse+id", "mse+id+gan", "intact")
"""Rows that super-resolve and are no control."""

_PAPER_SIZE = "2026-11-26-nvidia-h100-paper-size-market1501-table3"
_AVERAGED = "2026-11-26-nvidia-h100-paper-size-average-seeds"
_VIPER = "2026-11-26-nvidia-h100-paper-size-viper-three-splits"
_SMALL = "2026-11-26-nvidia-h100-market1501-table3"
_REMEDIES = "2026-11-26-cpu-2-cores-market1501-remedies"
_WEAK = "2026-11-26-cpu-2-cores-market1501-light-weights"
_VIPER_SMALL = "2026-11-26-cpu-2-cores-viper-table3"
_SYNTHETIC = "2026-11-26-cpu-2-cores-synthetic"
_FULL_SIZE_LR = "2026-11-26-cpu-2-cores-market1501-lr-256x128"
_MIXED = "2026-11-26-cpu-2-cores-market1501-mixed-gallery"
_QUERY_SIDE = "2026-11-29-cpu-2-cores-market1501-query-side"


@dataclass(frozen=True)
class Setting:
    """Data, sizes and machine of a table, and where its rows stand.

    Attributes:
        text: What the setting is.
        page: Page of `docs/results/` without its ending.
        record: The record that holds the rows.
        multi: Whether published figures of this data are multi-shot.
        names: Names of rows in the record, where they are not the recipes'.
        elsewhere: Record and name of rows that stand in other records.
        unit: What seeds are called.
    """

    text: str
    page: str
    record: str
    multi: bool
    names: Mapping[str, str]
    elsewhere: Mapping[str, tuple[str, str]]
    unit: str = ""

    def row(self, column: str) -> Row | None:
        """Look a row up, or give None where nothing was measured."""
        record, name = self.elsewhere.get(column, (self.record, self.names.get(column, column)))
        return records.read(record)["rows"].get(name)

    def figure(self, column: str, multi: bool) -> float | None:
        """Give multi-shot or single-shot Rank-1 of a row."""
        found = (self.row(column) or {}).get("figures", {}).get("multi-shot Rank-1" if multi else "Rank-1")
        return found["mean"] if isinstance(found, Mapping) else found

    def seeds(self) -> str:
        """Say how many seeds the trained rows have."""
        counts = sorted({len(row["seeds"]) for name in COLUMNS[1:-1] if (row := self.row(name)) is not None})
        text = f"{counts[0]} to {counts[-1]}" if len(counts) > 2 else " or ".join(map(str, counts))
        return f"{text} {self.unit}".strip()

    def over(self, column: str, other: str) -> Row | None:
        """Give what a row gains over another one, from the record or as a difference of means."""
        for first, second, sign in ((column, other, 1), (other, column, -1)):
            row = self.row(first) or {}
            found = row.get("gains", {}).get(self.names.get(second, second).removesuffix(" three seeds"))
            if found is not None:
                return found if sign == 1 else _turned(found)
        here, there = self.figure(column, multi=False), self.figure(other, multi=False)
        return None if here is None or there is None else {"points": here - there}


def _turned(found: Row) -> Row:
    turned: dict[str, Any] = {"points": -found["points"]}
    if "interval" in found:
        low, high = found["interval"]
        turned["interval"] = [-high, -low]
    return turned


_THREE = {name: f"{name} three seeds" for name in OURS}
_AVERAGED_NAMES = {name: f"averaged/{name}" for name in ("mse+id", "mse+id+gan", "intact", "feature-matching")}
PAPER_SIZE = Setting("Market-1501, the paper's sizes (H100)", "market1501-paper-size", _PAPER_SIZE, True, {}, {})
AVERAGED = Setting("… averaged G, λ_dis 0.1 (H100)", "market1501-paper-size-averaged", _AVERAGED, True, {}, {})
VIPER = Setting("VIPeR, the paper's sizes (H100)", "viper-paper-size", _VIPER, False, {}, {}, "splits")
SMALL = Setting("Market-1501, small G, strong C (H100)", "market1501-small-g", _SMALL, True, _THREE, {})
REMEDIES = Setting(
    "… averaged G, λ_dis 0.1 (CPU)",
    "market1501-remedies",
    _REMEDIES,
    True,
    _AVERAGED_NAMES,
    {name: (_SMALL, name) for name in ("lr", "critic-mlr")},
)
WEAK = Setting("Market-1501, small G, weak C (CPU)", "market1501-weak-critic", _WEAK, True, {}, {})
VIPER_SMALL = Setting("VIPeR, small G (CPU)", "viper-small-g", _VIPER_SMALL, False, {}, {}, "split")
SYNTHETIC = Setting("synthetic set (CPU)", "synthetic", _SYNTHETIC, False, {}, {})
SETTINGS = (PAPER_SIZE, AVERAGED, VIPER, SMALL, REMEDIES, WEAK, VIPER_SMALL, SYNTHETIC)


def verdict_block(call: Call) -> str:
    """Write Rank-1 of every setting: ``verdict`` as publications score it, ``verdict single`` single-shot."""
    single = "single" in call.words
    lines = []
    for setting in SETTINGS:
        multi = setting.multi and not single
        means = {column: setting.figure(column, multi) for column in COLUMNS}
        known = [round(mean, 1) for column, mean in means.items() if mean is not None and column != BOUND]
        cells = [_cell(mean, column != BOUND and max(known)) for column, mean in means.items()]
        line = [f"[{setting.text}]({_page(setting.page, call)})"]
        if single:
            found = setting.over("intact", "mse+id+gan")
            lines.append([*line, *cells, gain({"gains": {"other": found}}, "other")])
        else:
            lines.append([*line, "multi-shot" if multi else "single-shot", setting.seeds(), *cells])
    columns = [column if column == BOUND else f"`{column}`" for column in COLUMNS]
    if single:
        return table(["single-shot Rank-1", *columns, "`intact` over `mse+id+gan`"], lines, 1)
    return table(["Rank-1", "protocol", "seeds", *columns], lines, 3)


def effects_block(call: Call) -> str:
    """Write differences of single-shot Rank-1 between rows, by setting: ``effects``."""
    settings = (PAPER_SIZE, AVERAGED, SMALL, REMEDIES, VIPER)
    pairs = {
        "MSE alone over LR queries": ("sole-sr", "lr"),
        "MSE + identity over LR queries": ("mse+id", "lr"),
        "HR queries over LR queries": (BOUND, "lr"),
        "identity term: `mse+id` over `sole-sr`": ("mse+id", "sole-sr"),
        "GAN term: `mse+id+gan` over `mse+id`": ("mse+id+gan", "mse+id"),
        "association: `intact` over `mse+id+gan`": ("intact", "mse+id+gan"),
        "association: `intact` over the control": ("intact", "feature-matching"),
    }
    lines = [[text, *(_points(setting.over(*pair)) for setting in settings)] for text, pair in pairs.items()]
    for name in ("mse+id", "mse+id+gan"):
        averaged = (AVERAGED.row(name) or {})["gains"]["itself not averaged"]
        lines.append([f"averaged G: `{name}` over itself", EMPTY, _points(averaged), *(EMPTY for _ in settings[2:])])
    small = REMEDIES.figure("mse+id+gan", multi=False), SMALL.figure("mse+id+gan", multi=False)
    lines[-1][4] = _points({"points": small[0] - small[1]} if None not in small else None)
    head = [
        "Market-1501, paper's sizes",
        "… averaged G",
        "Market-1501, small G",
        "… averaged G",
        "VIPeR, paper's sizes",
    ]
    return table(["single-shot Rank-1", *head], lines, 1)


def wins_block(call: Call) -> str:
    """Write what super-resolution wins, on which data and against what: ``wins``."""
    lines = [
        _win("Market-1501, the paper's sizes, averaged G, multi-shot", AVERAGED, True, call),
        _win("… exact single-shot", AVERAGED, False, call),
        _win("VIPeR, the paper's sizes, three splits", VIPER, False, call),
        _win("Market-1501, small G, torchreid's OSNet x0.25, multi-shot", SMALL, True, call),
        _query_side("… preset `best`, multi-shot", "multi-shot Rank-1", call),
        _query_side("… exact single-shot", "Rank-1", call),
        _mixed(call),
    ]
    # LR queries that take no detour through the small G's size are the stronger baseline
    lines[3][1] = spread(records.read(_FULL_SIZE_LR)["rows"]["lr-256x128"]["figures"]["multi-shot Rank-1"])
    head = [
        "Rank-1",
        "LR queries without SR",
        "C fine-tuned on degraded pictures",
        "best row with SR (which)",
        "HR queries",
    ]
    return table(head, lines, 1)


def _win(text: str, setting: Setting, multi: bool, call: Call) -> list[str]:
    figure = "multi-shot Rank-1" if multi else "Rank-1"
    means = {name: setting.figure(name, multi) or 0.0 for name in OURS}
    best = max(means, key=lambda name: means[name])
    cells = {name: spread((setting.row(name) or {"figures": {}})["figures"].get(figure)) for name in COLUMNS}
    link = f"[{text}]({_page(setting.page, call)})"
    other = cells["critic-mlr"]
    if round(setting.figure("critic-mlr", multi) or 0.0, 1) == round(means[best], 1):
        other = f"**{other}**"
    return [link, cells["lr"], other, f"**{cells[best]}** (`{best}`)", cells[BOUND]]


def _query_side(text: str, figure: str, call: Call) -> list[str]:
    rows = records.read(_QUERY_SIDE)["rows"]
    best = "light+query-critic"
    cells = {name: spread(rows[name]["figures"][figure]) for name in ("lr", best, BOUND)}
    link = f"[{text}]({_page('market1501-query-side', call)})"
    return [link, cells["lr"], EMPTY, f"**{cells[best]}** (`{best}`)", cells[BOUND]]


def _mixed(call: Call) -> list[str]:
    rows = records.read(_MIXED)["rows"]
    figure = {name: spread(row["figures"]["Rank-1"]) for name, row in rows.items()}
    return [
        f"[Market-1501, half of the gallery LR, single-shot]({_page('market1501-mixed-gallery', call)})",
        figure["bypass/lr"],
        EMPTY,
        f"**{figure['auto/intact']}** (`intact`, gallery too)",
        f"{figure['bypass/hr']}; {figure['auto/hr']} with SR of the gallery",
    ]


def _cell(mean: float | None, best: float | bool) -> str:
    if mean is None:
        return EMPTY
    text = number(mean)
    return f"**{text}**" if best is not False and round(mean, 1) == best else text


def _points(found: Row | None) -> str:
    if found is None:
        return EMPTY
    text = number(found["points"], signed=True)
    return f"{text} {interval(found['interval'])}" if "interval" in found else text


def _page(name: str, call: Call) -> str:
    target = ROOT / "docs" / "results" / f"{name}.md"
    return os.path.relpath(target, call.page.parent).replace(os.sep, "/")
