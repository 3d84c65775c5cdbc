"""The report that a run ends with."""

from __future__ import annotations

import json
from pathlib import Path

from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.evaluation.tables import describe_protocol, figures, gain_sentence, markdown_table
from intact_fast.files import write_atomically

CAVEAT = (
    "A gain here shows super-resolution and identity supervision at work, not yet the association: for what that "
    "adds, compare with the same training without L_dis (`--loss.lambda-dis 0`), over several seeds."
)


def write_report(evaluation: Evaluation, folder: Path, paths: dict[str, Path], notes: list[str]) -> Path:
    """Write ``report.md`` and ``evaluation.json`` into a run's folder.

    Args:
        evaluation: What was measured.
        folder: The run's folder.
        paths: What to point at, by name.
        notes: Sentences about how the run was made.

    Returns:
        The path of the report.
    """
    plain = figures(evaluation)
    sentences = [describe_protocol(evaluation.config) + "."]
    gain = gain_sentence(evaluation)
    if gain is not None:
        sentences += [gain, CAVEAT]
    if evaluation.quality is not None and any(q.identical for q in evaluation.quality):
        lr, sr = evaluation.quality
        sentences.append(
            f"Left out of the mean PSNR as equal to their HR picture: {lr.identical} LR, {sr.identical} SR."
        )
    body = [
        f"# {folder.name}: {plain['dataset']}",
        f"{plain['queries']} queries, {plain['gallery']} gallery pictures, split `{plain['manifest'][:12]}`.",
        markdown_table(evaluation),
        "\n".join(sentences),
        "\n".join(f"- {note}" for note in notes),
        "\n".join(f"- {name}: `{path}`" for name, path in paths.items()),
    ]
    report = folder / "report.md"
    with write_atomically(report) as temporary:
        temporary.write_text("\n\n".join(part for part in body if part) + "\n", encoding="utf-8")
    with write_atomically(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    return report
