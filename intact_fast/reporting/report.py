"""The report of a run, and the notes that it keeps for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact_fast.errors import UserError
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain
from intact_fast.reporting.tables import describe_protocol, figures, gain_sentence, markdown_table, unreadable_sentence

CAVEAT = (
    "A gain here shows super-resolution and identity supervision at work, not yet the association: for what that "
    "adds, compare with the same training without L_dis (`--loss.lambda-dis 0`), over several seeds."
)
_NOTES = "notes.json"


@dataclass(frozen=True)
class Section:
    """A part of the report around one picture.

    Attributes:
        title: Its heading.
        picture: File of the picture.
        text: Markdown below it.
    """

    title: str
    picture: Path
    text: str = ""


def save_notes(notes: Sequence[str], folder: Path) -> None:
    """Keep sentences about how a run was made in its folder."""
    _write(folder / _NOTES, to_json(notes, indent=1))


def read_notes(folder: Path) -> list[str]:
    """Read what `save_notes` kept; nothing of a run that has none.

    Raises:
        UserError: The file holds something else.
    """
    path = folder / _NOTES
    if not path.is_file():
        return []
    try:
        return read_plain(list[str], from_json(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path}: no notes of a run ({error}); remove it") from error


def gain_sentences(evaluation: Evaluation) -> list[str]:
    """Say how large the gain is and, where the association took part, what it is no evidence of; [] without a gain."""
    gain = gain_sentence(evaluation)
    if gain is None:
        return []
    return [gain, CAVEAT] if evaluation.association else [gain]


def write_report(
    evaluation: Evaluation,
    folder: Path,
    files: Mapping[str, Path],
    notes: Sequence[str],
    sections: Sequence[Section] = (),
    thresholds: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.md`` and ``evaluation.json`` into a run's folder.

    Args:
        evaluation: What was measured.
        folder: The run's folder.
        files: What to point at, by name; in the folder, so that links outlive its moving.
        notes: Sentences about how the run was made.
        sections: Pictures with what there is to say about them.
        thresholds: Further figures of ``evaluation.json``, from `threshold_figures`.

    Returns:
        The path of the report.
    """
    plain = figures(evaluation)
    sentences = [describe_protocol(evaluation.config) + "."]
    unreadable = unreadable_sentence(evaluation)
    if unreadable is not None:
        sentences.append(unreadable)
    sentences += gain_sentences(evaluation)
    identical = {view: quality.identical for view, quality in evaluation.quality.items()}
    if any(identical.values()):
        counts = ", ".join(f"{count} {view.upper()}" for view, count in identical.items())
        sentences.append(f"Left out of the mean PSNR as equal to their HR picture: {counts}.")
    body = [
        _escaped(f"# {folder.resolve().name}: {plain['dataset']}"),
        f"{plain['queries']} queries, {plain['gallery']} gallery pictures, split `{plain['manifest'][:12]}`.",
        markdown_table(evaluation),
        _escaped("\n".join(sentences)),
        _escaped("\n".join(f"- {note}" for note in notes)),
    ]
    for section in sections:
        picture = f"![{section.title}]({_relative(section.picture, folder)})"
        body += [f"## {section.title}", picture, _escaped(section.text)]
    links = (f"- {name}: [`{_relative(path, folder)}`]({_relative(path, folder)})" for name, path in files.items())
    body += ["## Files", "\n".join(links)]
    report = folder / "report.md"
    _write(report, "\n\n".join(part for part in body if part))
    _write(folder / "evaluation.json", to_json({**plain, **(thresholds or {})}, indent=1))
    return report


def _escaped(text: str) -> str:
    """Keep a file's name from becoming markup, a link or a picture of elsewhere where Markdown is shown as a page."""
    return text.replace("<", "&lt;").replace("[", "\\[")


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        # bytes of a file's name that are no Unicode become their escape
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
