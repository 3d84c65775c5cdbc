"""Published figures beside ours, each with its protocol; a difference is given only where nothing known forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intact_fast.config.options import DatasetName
from intact_fast.experiments.published import INTACT, PUBLISHED, Figures, OurProtocol, PublishedProtocol
from intact_fast.reporting.tables import markdown_lines

_EMPTY = "–"


@dataclass(frozen=True)
class ComparedRow:
    """A row of ours.

    Attributes:
        label: As its table has it.
        recipe: Its name.
        means: Its figures over seeds.
        paper: What INTACT's paper reports for it; empty where it does not.
    """

    label: str
    recipe: str
    means: Figures
    paper: Figures


def beside_published(dataset: DatasetName, rows: Sequence[ComparedRow], ours: OurProtocol) -> str:
    """Write the comparison as Markdown: the paper's rows beside ours, then each method beside our best row.

    Args:
        dataset: What was measured.
        rows: Of our table.
        ours: How they were scored.

    Returns:
        Empty where nothing is published.
    """
    lines = [["", "ours", "published", "difference"]]
    not_compared: dict[str, list[str]] = {}
    scored: dict[str, PublishedProtocol] = {}

    def add(method: str, label: str, row: ComparedRow, figure: str, theirs: float, protocol: PublishedProtocol) -> None:
        counterpart = _counterpart(row.means, ours, protocol, figure)
        if counterpart is None:
            return
        scored[method] = protocol
        digits = 3 if figure == "SSIM" else 1
        reasons = ours.differences(protocol, counterpart)
        if reasons:
            not_compared.setdefault(f"{method} ({'; '.join(reasons)})", []).append(figure)
            lines.append([f"{label}: {figure}", _EMPTY, f"{theirs:.{digits}f}", _EMPTY])
            return
        found = row.means[counterpart]
        cells = [f"{found:.{digits}f}", f"{theirs:.{digits}f}", f"{found - theirs:+.{digits}f}"]
        lines.append([f"{label}: {counterpart}", *cells])

    for row in rows:
        for figure, theirs in row.paper.items():
            add("INTACT", row.label, row, figure, theirs, INTACT[dataset].protocol)
    for publication in PUBLISHED.get(dataset, ()):
        best = _best(rows, ours, publication.protocol)
        # its own row has that line already
        if best is not None and not (best.paper and best.recipe == publication.name.lower()):
            label = f"{publication.name}, beside our best row (`{best.recipe}`)"
            add(publication.name, label, best, "Rank-1", publication.figures["Rank-1"], publication.protocol)
    if len(lines) == 1:
        return ""
    parts = ["Published figures, each with its own C and length of training:", markdown_lines(lines)]
    parts += [
        f"Not compared: {', '.join(dict.fromkeys(figures))} of {method}." for method, figures in not_compared.items()
    ]
    parts += [f"Protocol of {method}: {protocol.describe()}." for method, protocol in scored.items()]
    return "\n\n".join(parts)


def _counterpart(
    means: Mapping[str, float], ours: OurProtocol, published: PublishedProtocol, figure: str
) -> str | None:
    return next((name for name in ours.counterparts(published, figure) if name in means), None)


def _best(rows: Sequence[ComparedRow], ours: OurProtocol, published: PublishedProtocol) -> ComparedRow | None:
    known = [(row.means[name], row) for row in rows if (name := _counterpart(row.means, ours, published, "Rank-1"))]
    return max(known, key=lambda pair: pair[0])[1] if known else None
