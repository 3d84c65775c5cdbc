"""Recipes beside a finished run: trained with its C on its split, and set in one table with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from intact_fast.config.checks import check_config
from intact_fast.config.options import Config
from intact_fast.data.progress import Progress, no_progress
from intact_fast.errors import UserError
from intact_fast.evaluation.evaluator import Evaluation
from intact_fast.experiments.measured import Measured
from intact_fast.experiments.recipes import RECIPES, SAME_AS, apply, find_recipe
from intact_fast.experiments.table_runs import TableRuns
from intact_fast.files import write_atomically
from intact_fast.reporting.console import make_console
from intact_fast.reporting.tables import describe_protocol, markdown_rows, rich_rows, row_figures
from intact_fast.training.critic import finished_critic
from intact_fast.training.distributed.process import Process

_FOLDER = "rows"


def recipes_beside(config: Config) -> list[str]:
    """Resolve and check the recipes of ``compare`` before anything is trained; each once, in the order given.

    Raises:
        UserError: There is no such recipe, or the configuration does not allow it.
    """
    unknown = [name for name in config.compare if name not in RECIPES and name not in SAME_AS]
    if unknown:
        raise UserError(f"--compare {unknown[0]}: no such recipe; `intact-fast experiments --list` has them")
    names = list(dict.fromkeys(find_recipe(name) for name in config.compare))
    for name in names:
        check_config(apply(name, _rows_config(config, names_files=False)))
    return names


def set_beside(
    config: Config,
    recipes: Sequence[str],
    evaluation: Evaluation,
    process: Process,
    progress: Progress = no_progress,
) -> Path:
    """Train and evaluate recipes with the C and the split of a finished run, and print all in one table.

    Rows lie in the run's folder. One that is there already is not trained again.

    Args:
        config: The run's.
        recipes: Names.
        evaluation: The run's.
        process: This process among its group.
        progress: Told how far an evaluation is.

    Returns:
        The table as Markdown.

    Raises:
        UserError: A row cannot be trained or evaluated.
    """
    runs = TableRuns(_rows_config(config), process, Measured(), progress)
    rows = {name: row_figures(evaluation, view) for view, name in evaluation.names.items()}
    for recipe in recipes:
        runs.prepare(config.seed)
        kept = runs.kept_result(recipe, config.seed)
        rows[recipe] = (runs.run(recipe, config.seed) if kept is None else kept).figures
    path = runs.folder / "rows.md"
    process.on_main(lambda: _present(path, f"{config.name}: {evaluation.dataset}", rows, recipes, config))
    return path


def _rows_config(config: Config, names_files: bool = True) -> Config:
    """What rows have in common: the run's settings, its split and its C."""
    folder = config.runs / config.name
    base = replace(config, runs=folder, name=_FOLDER, compare=())
    if not names_files:
        # before the run there is neither
        return replace(base, critic=replace(base.critic, checkpoint=None, init=Path("C")))
    critic = replace(base.critic, checkpoint=finished_critic(config), init=None)
    return replace(base, data=replace(base.data, manifest=folder / "manifest.jsonl"), critic=critic)


def _present(path: Path, title: str, rows: dict[str, dict[str, float]], recipes: Sequence[str], config: Config) -> None:
    lines = [f"{name}: {RECIPES[name].description}." for name in recipes]
    lines.append(f"One seed ({config.seed}); {describe_protocol(config.evaluation)}.")
    with write_atomically(path) as temporary:
        text = "\n\n".join([f"# {title}", markdown_rows(rows), *lines]) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    console = make_console()
    console.print(rich_rows(title, rows))
    for line in [*lines, f"the same table: {path}"]:
        console.print(line, markup=False)
