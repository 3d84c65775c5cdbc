"""``intact-fast experiments``: a table of the paper, or any recipes, over seeds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from rich.markdown import Markdown

from intact_fast.checks import check_config
from intact_fast.config import Config, DataConfig, DatasetName
from intact_fast.configuration import parse_config
from intact_fast.errors import UserError, fail, speaks
from intact_fast.experiments.paper_tables import TABLES
from intact_fast.experiments.recipes import CONTROLS, RECIPES, SAME_AS, apply, find_recipe
from intact_fast.experiments.results import RowResult
from intact_fast.experiments.rows import Rows, log_file
from intact_fast.experiments.side_by_side import Place, side_by_side
from intact_fast.experiments.summary import Summary, as_json, markdown, summaries
from intact_fast.files import occupied, write_atomically
from intact_fast.training.distributed import Interrupted, process_group, terminate_as_interrupt
from intact_fast.training.monitoring import make_console

_PROGRAM = "intact-fast experiments"
_FOLDER = "experiments"


@dataclass(frozen=True)
class ExperimentOptions:
    """Run the rows of a table, or resume them, and set them beside the paper's.

    C is trained once for each split and shared by the rows. The same command goes on after an interruption, and a row
    that is finished is not run again. All options of `intact-fast train` besides these set what the rows have in
    common; `--name` names the folder of the table (`experiments` by default). `--list` describes the recipes.
    """

    table: Literal[1, 2, 3, 4, 5] | None = None
    """Table of the paper."""
    recipes: tuple[str, ...] = ()
    """Recipes to run besides the table's rows."""
    controls: bool = True
    """Run what a gain must be measured against, too: lr, critic-mlr, mse+id+gan, feature-matching."""
    dataset: DatasetName | None = None
    """Data set, as `--data.dataset`; none takes the table's own."""
    seeds: int = 1
    """Seeds, from 0; of another split each where identities are split at random."""
    jobs: int = 1
    """Rows to run at the same time, each in a process of its own; several GPUs are taken in turn."""
    unseen: tuple[int, ...] = (6, 8)
    """Rates r to measure as well with all queries at that r, where the split does not have them."""
    list: bool = False
    """Describe the recipes and end."""
    json: bool = False
    """Print the figures as JSON at the end."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = list(arguments)
    options, others = tyro.cli(ExperimentOptions, prog=_PROGRAM, args=arguments, return_unknown_args=True)
    if options.list:
        for name, recipe in RECIPES.items():
            aliases = [other for other, meant in SAME_AS.items() if meant == name]
            print(f"{name:<18} {recipe.description}" + (f" (also: {', '.join(aliases)})" if aliases else ""))
        return 0
    try:
        names = _names(options)
        base = _base(options, others)
        check_config(base)
        for name in names:
            # what C starts from is known only when it is there
            critic = replace(base.critic, checkpoint=None, init=Path("C"))
            check_config(apply(RECIPES[name], replace(base, critic=critic)))
        _run(options, names, base)
    except (Interrupted, KeyboardInterrupt):
        if speaks():
            print("Interrupted; run the same command to go on.", file=sys.stderr)
        return 130
    except UserError as error:
        return fail(error, "--debug" in arguments)
    return 0


def _names(options: ExperimentOptions) -> list[str]:
    """Recipes in the order in which they are run and shown, each once."""
    if options.table is None and not options.recipes:
        raise UserError("--table, --recipes: give one of them (--list describes the recipes)")
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds}: must be 1 or more")
    if options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: must be 1 or more")
    if options.jobs > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"--jobs {options.jobs}: a group of torchrun runs one row at a time; leave out one of them"
        )
    if min(options.unseen, default=1) < 1:
        raise UserError(f"--unseen {options.unseen}: rates must be 1 or more")
    rows = [] if options.table is None else [recipe for _, recipe in TABLES[options.table].rows]
    chosen = [find_recipe(name) for name in options.recipes]
    controls = CONTROLS if options.controls and options.table is not None else ()
    wanted = [*rows, *chosen, *controls]
    return [name for name in RECIPES if name in wanted]


def _base(options: ExperimentOptions, others: Sequence[str]) -> Config:
    base = parse_config(others, _PROGRAM, "Options that the rows have in common.")
    if base.name == Config.name:
        # the default name is a training's
        base = replace(base, name=_FOLDER)
    dataset = options.dataset
    if dataset is None and options.table is not None and "--data.dataset" not in " ".join(others):
        dataset = TABLES[options.table].dataset
        if dataset is None:
            raise UserError(f"--dataset: table {options.table} has several; give one")
    if dataset is not None and base.data.dataset not in (DataConfig.dataset, dataset):
        raise UserError(f"--dataset {dataset}, --data.dataset {base.data.dataset}: give one of the two")
    if dataset is not None:
        base = replace(base, data=replace(base.data, dataset=dataset))
    return base


def _run(options: ExperimentOptions, names: Sequence[str], base: Config) -> None:
    table = None if options.table is None else TABLES[options.table]
    title = f"{table.title} (Table {options.table})" if table else "Recipes"
    title += f": {base.data.dataset}"
    results: dict[str, list[RowResult]] = {name: [] for name in names}
    aside = redirect_stdout(sys.stderr) if options.json else nullcontext()
    # seed by seed, so that a table that is broken off holds whole seeds
    places = [Place(name, seed) for seed in range(options.seeds) for name in names]
    with aside, process_group(base.device) as process, terminate_as_interrupt(), ExitStack() as stack:
        rows = Rows(base, process, options.unseen)
        option = f"--name {base.name}"
        process.on_main(lambda: stack.enter_context(occupied(rows.folder, option)))
        obtained = _one_by_one(rows, places) if options.jobs == 1 else _at_once(options, rows, base, places)
        # closed before the folder is given free, whatever happens here, so that its processes end first
        stack.enter_context(closing(obtained))
        for place, result in obtained:
            results[place.recipe].append(result)
            results[place.recipe].sort(key=lambda found: found.seed)
            shown = summaries(names, results, table, base.data.dataset)
            process.on_main(lambda shown=shown: _write(rows.folder, title, options, base.data.dataset, shown))
        if not process.is_main:
            return
    if options.json:
        print(json.dumps(as_json(shown), indent=1))
    else:
        text = (rows.folder / _file_name(options)).read_text(encoding="utf-8")
        make_console().print(Markdown(text))
        print(rows.folder / _file_name(options))


def _one_by_one(rows: Rows, places: Sequence[Place]) -> Generator[tuple[Place, RowResult], None, None]:
    for place in places:
        yield place, rows.obtain(*place)


def _at_once(
    options: ExperimentOptions, rows: Rows, base: Config, places: Sequence[Place]
) -> Generator[tuple[Place, RowResult], None, None]:
    """The rows that are kept, then the others as they are done, which is told as it happens."""
    for seed in range(options.seeds):
        rows.prepare(seed)
    kept = {place: rows.kept(*place) for place in places}
    yield from ((place, result) for place, result in kept.items() if result is not None)
    left = [place for place, result in kept.items() if result is None]
    if not left:
        return
    console = make_console()
    logs = log_file(rows.folder, "").parent
    console.print(f"{len(left)} rows, up to {options.jobs} at a time; {logs} has what they say.")
    with closing(side_by_side(base, options.unseen, left, options.jobs)) as found:
        for done, (place, result) in enumerate(found, start=1):
            console.print(
                f"{place.row(base)}: Rank-1 {result.figures['Rank-1']:.1f} ({done} of {len(left)} rows)"
            )
            yield place, result


def _file_name(options: ExperimentOptions) -> str:
    return "recipes.md" if options.table is None else f"table{options.table}.md"


def _write(
    folder: Path, title: str, options: ExperimentOptions, dataset: str, shown: Sequence[Summary]
) -> None:
    table = None if options.table is None else TABLES[options.table]
    notes = [
        f"`{row.recipe}`: {RECIPES[row.recipe].description}; seeds {', '.join(str(r.seed) for r in row.results)}"
        for row in shown
    ]
    path = folder / _file_name(options)
    with write_atomically(path) as temporary:
        temporary.write_text(markdown(title, table, dataset, shown, notes), encoding="utf-8")
    with write_atomically(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(as_json(shown), indent=1) + "\n", encoding="utf-8")
