"""One evaluation as a table: for the terminal, for the report, and as plain figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from intact_fast.config.options import EvaluationConfig
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.views import View

_ROUNDING = 1e-9
_NAMES_SHOWN = 5
COLUMNS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "PSNR (dB)", "SSIM")


def row_figures(evaluation: Evaluation, view: View) -> dict[str, float]:
    """Plain numbers of one view: Rank and mAP in percent, PSNR in dB and SSIM where they were measured."""
    ranking = evaluation.rankings[view]
    row = {f"Rank-{k}": 100 * float(ranking.cmc[k - 1]) for k in (1, 5, 10)}
    row["mAP"] = 100 * float(ranking.mean_ap)
    if view in evaluation.quality:
        quality = evaluation.quality[view]
        row |= {"PSNR (dB)": quality.psnr, "SSIM": quality.ssim}
    return row


def markdown_lines(cells: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table of rows of equal length, the header first. The first column stands left, others right."""
    header, *body = ("| " + " | ".join(line) + " |" for line in cells)
    return "\n".join([header, "|---" + "|---:" * (len(cells[0]) - 1) + "|", *body])


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Plain numbers of an evaluation, Rank and mAP in percent, ready for JSON."""
    rows = {name: row_figures(evaluation, view) for view, name in evaluation.names.items()}
    result: dict[str, Any] = {
        "dataset": evaluation.dataset,
        "manifest": evaluation.manifest_hash,
        "protocol": describe_protocol(evaluation.config),
        "queries": int(next(iter(evaluation.rankings.values())).valid.sum()),
        "gallery": len(evaluation.gallery_entries),
        "rows": rows,
        # what does not depend on what served the queries
        "views": evaluation.names,
    }
    if evaluation.unreadable:
        result["unreadable"] = {name: list(paths) for name, paths in vars(evaluation.unreadable).items()}
    gain = evaluation.gain()
    if gain is not None:
        result["gain"] = {
            "Rank-1": 100 * gain.gain,
            "standard_error": None if gain.standard_error is None else 100 * gain.standard_error,
            "queries": gain.queries,
            "people": gain.people,
        }
    return result


def describe_protocol(config: EvaluationConfig) -> str:
    """Say in words how the figures were made."""
    cmc = {
        "single-shot": "exact expected single-shot CMC",
        "sampled": f"single-shot CMC averaged over {config.repeats} random galleries",
        "multi-shot": "multi-shot CMC",
    }[config.protocol]
    reranked = ", re-ranked by k-reciprocal encoding" if config.rerank else ""
    cameras = "; matches of the query's own camera count" if config.same_camera == "keep" else ""
    otherwise = " (cosine in rows of that name)" if "cosine" in config.test_time and config.metric != "cosine" else ""
    distractors = {"auto": "", "drop": "; distractors dropped", "keep": "; distractors kept"}[config.distractors]
    return f"{cmc}; mAP over the whole gallery; {config.metric} distance{otherwise}{reranked}{cameras}{distractors}"


def describe_left_out(config: EvaluationConfig) -> str:
    """Say in a sentence which pictures of a query's person are in no list."""
    if config.same_camera == "keep":
        return "The same person in the query's camera counts as well; the query itself is left out."
    return "The same person in the query's camera is left out."


def unreadable_sentence(evaluation: Evaluation) -> str | None:
    """Say which pictures an evaluation has left out because they cannot be read."""
    left_out = evaluation.unreadable
    if not left_out:
        return None
    names = [*left_out.queries, *left_out.gallery]
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    queries, gallery = len(evaluation.query_entries), len(evaluation.gallery_entries)
    return (
        f"Left out as unreadable: {len(left_out.queries):,} of {queries + len(left_out.queries):,} queries, "
        f"{len(left_out.gallery):,} of {gallery + len(left_out.gallery):,} gallery pictures ({shown})."
    )


def rich_table(evaluation: Evaluation) -> Table:
    """Tabulate an evaluation for the terminal."""
    plain = figures(evaluation)
    title = f"{plain['dataset']}: {plain['queries']} queries, {plain['gallery']} gallery pictures"
    return rich_rows(title, plain["rows"])


def rich_rows(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Tabulate rows of figures by their names, as `row_figures` gives them, for the terminal."""
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_cell(column, row) for column in COLUMNS))
    return table


def table_cells(evaluation: Evaluation) -> list[list[str]]:
    """Tabulate an evaluation as rows of cells, the header first."""
    return _cells(figures(evaluation)["rows"])


def _cells(rows: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    return [["", *COLUMNS], *([name, *(_cell(column, row) for column in COLUMNS)] for name, row in rows.items())]


def markdown_rows(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Tabulate rows of figures by their names as Markdown."""
    return markdown_lines(_cells(rows))


def markdown_table(evaluation: Evaluation) -> str:
    """Tabulate an evaluation for a report."""
    return markdown_lines(table_cells(evaluation))


def gain_sentence(evaluation: Evaluation) -> str | None:
    """Say by how much the SR row's Rank-1 differs from LR without SR, and how sure that is."""
    gain = evaluation.gain()
    if gain is None:
        return None
    direction = "above" if gain.gain >= 0 else "below"
    said = f"{'INTACT' if evaluation.association else 'SR'}'s Rank-1 is {100 * abs(gain.gain):.1f} points {direction} "
    said += f"LR without SR on {gain.queries} queries "
    if gain.standard_error is None:
        return f"{said}of one person, which tells nothing of others."
    said += f"of {gain.people} people"
    # people who all gain as much differ by rounding alone
    if gain.standard_error < _ROUNDING:
        return f"{said}, and as much for each of them."
    ratio = abs(gain.gain) / gain.standard_error
    return (
        f"{said} (standard error over people {100 * gain.standard_error:.1f} points, paired by query: {ratio:.1f} "
        "standard errors)."
    )


def _cell(column: str, row: Mapping[str, float]) -> str:
    if column not in row:
        return "–"
    return f"{row[column]:.3f}" if column == "SSIM" else f"{row[column]:.1f}"
