"""Presentation of a run's evaluation: pictures, report, and the table on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from intact_fast.data.sampling import evenly_spaced
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.verification import pair_similarities
from intact_fast.reporting.curves import read_metrics, save_curves
from intact_fast.reporting.histogram import save_histogram
from intact_fast.reporting.html_report import Ranked, write_html_report
from intact_fast.reporting.pictures import TRIPTYCHS, save_ranked_lists, save_triptychs
from intact_fast.reporting.ranked_lists import choose_queries, lists_by_view, ranked_lists
from intact_fast.reporting.report import Section, gain_sentences, write_report
from intact_fast.reporting.tables import describe_left_out, describe_protocol, rich_table, unreadable_sentence
from intact_fast.reporting.threshold_tables import markdown_thresholds, threshold_figures, threshold_tables
from intact_fast.serving.thresholds import RATES

HTML_QUERIES = 100
"""Queries that ``report.html`` shows where nothing else is said: about 10 MB of page."""
_RANKED_QUERIES = 6
_TOP = 10


@dataclass(frozen=True, eq=False)
class Presentation:
    """The files that were written, and what they show.

    Attributes:
        evaluation: What it shows.
        thresholds: From `threshold_figures`.
        files: What the report points at, by name, and the report.
    """

    evaluation: Evaluation
    thresholds: Mapping[str, Any]
    files: Mapping[str, Path]


def present(
    source: PictureSource,
    evaluation: Evaluation,
    folder: Path,
    checkpoint: Path,
    notes: Sequence[str],
    rates: Sequence[float] = RATES,
    html_queries: int = HTML_QUERIES,
) -> Presentation:
    """Write ``samples/``, ``report.md`` and ``report.html`` of a run's folder.

    Args:
        source: Reads the pictures and holds the evaluated model, with its thresholds.
        evaluation: What was measured.
        folder: The run's folder.
        checkpoint: File in it whose networks were evaluated.
        notes: Sentences about how the run was made.
        rates: False-match rates to suggest thresholds for.
        html_queries: Queries whose ranked lists the HTML page shows.
    """
    samples = folder / "samples"
    pairs = pair_similarities(evaluation, rates)
    sections = []
    curves = samples / "curves.png"
    metrics = read_metrics(folder)
    if save_curves(metrics, curves):
        sections.append(Section("Training", curves))
    histogram = samples / "similarities.png"
    save_histogram(pairs, evaluation.names, histogram)
    found = pairs, evaluation.names, source.model.thresholds
    tables, numbers = threshold_tables(*found), threshold_figures(*found)
    sections.append(Section("Similarities and thresholds", histogram, markdown_thresholds(tables)))
    indices = evenly_spaced(range(len(evaluation.query_entries)), max(TRIPTYCHS, _RANKED_QUERIES))
    triptychs = samples / "triptychs.png"
    save_triptychs(source, [evaluation.query_entries[i] for i in indices[:TRIPTYCHS]], triptychs)
    sections.append(Section("Queries: LR, SR, HR", triptychs))
    ranked = samples / "ranked_lists.png"
    choice = choose_queries(evaluation, html_queries)
    drawn = indices[:_RANKED_QUERIES]
    lists = lists_by_view(evaluation, [*drawn, *choice.rows], _TOP, source.header.distractor_pid)
    save_ranked_lists(source, evaluation, drawn, ranked, lists=lists)
    # no list of HR queries is shown, but where each would have found its person
    upper_bound = ranked_lists(evaluation, "hr", choice.rows, 1, source.header.distractor_pid)
    sections.append(
        Section(
            "Ranked lists before and after SR",
            ranked,
            f"Green: the query's person; red: another one. {describe_left_out(evaluation.config)}",
        )
    )
    files = {
        "checkpoint": checkpoint,
        "best checkpoint (validation identities)": folder / "checkpoints" / "best.pt",
        "model": folder / "model.safetensors",
        "pictures": samples,
    }
    files = {name: path for name, path in files.items() if path.exists()}
    page = folder / "report.html"
    write_html_report(
        page,
        source,
        evaluation,
        Ranked(choice, lists, upper_bound),
        indices[:TRIPTYCHS],
        pairs,
        tables,
        metrics,
        files | {"report as Markdown": folder / "report.md"},
        notes,
    )
    report = write_report(evaluation, folder, {"interactive report": page} | files, notes, sections, numbers)
    return Presentation(evaluation, numbers, files | {"report": report, "interactive report": page})


def print_presentation(presentation: Presentation, console: Console) -> None:
    """Print the table, what it means, and where the files are."""
    evaluation = presentation.evaluation
    console.print(rich_table(evaluation))
    lines = [describe_protocol(evaluation.config)]
    unreadable = unreadable_sentence(evaluation)
    if unreadable is not None:
        lines.append(unreadable)
    lines += gain_sentences(evaluation)
    lines += [f"{name}: {path}" for name, path in presentation.files.items()]
    for line in lines:
        console.print(line, markup=False)
