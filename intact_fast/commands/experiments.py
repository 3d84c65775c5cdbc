"""``intact-fast experiments``: a table of the paper, or any recipes, over seeds."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.markdown import Markdown

from intact_fast.commands.progress_bar import progress
from intact_fast.config.checks import check_config
from intact_fast.config.command_line import parse_config, parse_own_options
from intact_fast.config.options import Config, DataConfig, DatasetName
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError, fail, is_first_rank, warn
from intact_fast.experiments.measured import Measured
from intact_fast.experiments.paper_tables import TABLES
from intact_fast.experiments.parallel_rows import SeededRow, run_in_parallel
from intact_fast.experiments.published import OurProtocol
from intact_fast.experiments.recipes import CONTROLS, RECIPES, SAME_AS, apply, find_recipe
from intact_fast.experiments.results import RowResult
from intact_fast.experiments.summary import Summary, as_json, markdown, summaries
from intact_fast.experiments.table_runs import TableRuns, log_file
from intact_fast.files import exclusive_folder, write_atomically
from intact_fast.json_text import to_json
from intact_fast.reporting.console import make_console
from intact_fast.reporting.tables import describe_protocol
from intact_fast.training.distributed.process import Interrupted, process_group
from intact_fast.training.distributed.signals import signals_as_interrupt
from intact_fast.training.unlabelled import trains_on_gallery

_PROGRAM = "intact-fast experiments"
_FOLDER = "experiments"


@dataclass(frozen=True)
class ExperimentOptions:
    """Run the rows of a table, or resume them, and set them beside the paper's.

    C is trained once for each split and shared by the rows. The same command goes on after an interruption, and a row
    that is finished is not run again. A row that cannot be run does not keep the others (under torchrun it does). All
    options of `intact-fast train` besides these set what the rows have in common. `--name` names the folder of the
    table (`experiments` by default). `--list` describes the recipes.
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
    """How many seeds, from `--seed` on; of another split each where identities are split at random."""
    jobs: int = 1
    """Rows to run at the same time, each in a process of its own; several GPUs are taken in turn."""
    unseen: tuple[int, ...] = (6, 8)
    """Rates r to measure as well with all queries at that r, where the split does not have them."""
    held_out: bool = False
    """Score held-out training identities in place of the test identities, to choose by; C must not have seen them."""
    list: bool = False
    """Describe the recipes and end."""
    json: bool = False
    """Print the figures as JSON at the end."""

    @property
    def measured(self) -> Measured:
        """What is measured of every row."""
        return Measured(tuple(self.unseen), self.held_out)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = list(arguments)
    try:
        options, others = parse_own_options(ExperimentOptions, _PROGRAM, arguments)
        if options.list:
            width = max(map(len, RECIPES))
            for name, recipe in RECIPES.items():
                aliases = [other for other, meant in SAME_AS.items() if meant == name]
                print(f"{name:<{width}} {recipe.description}" + (f" (also: {', '.join(aliases)})" if aliases else ""))
            return 0
        names = _names(options)
        base = _base(options, others)
        check_config(base)
        # what C starts from is known only when it is there
        critic = replace(base.critic, checkpoint=None, init=Path("C"))
        configs = {name: apply(name, replace(base, critic=critic)) for name in names}
        for config in configs.values():
            check_config(config)
        _run(options, _distinct(configs), base)
    except (Interrupted, KeyboardInterrupt):
        if is_first_rank():
            print("Interrupted; run the same command to go on.", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
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
    if options.jobs > 1 and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(f"--jobs {options.jobs}: a group of torchrun runs one row at a time; leave out one of them")
    if min(options.unseen, default=1) < 1:
        raise UserError(f"--unseen {options.unseen}: rates must be 1 or more")
    rows = [] if options.table is None else [recipe for _, recipe in TABLES[options.table].rows]
    chosen = [find_recipe(name) for name in options.recipes]
    controls = CONTROLS if options.controls and options.table is not None else ()
    wanted = [*rows, *chosen, *controls]
    return [name for name in RECIPES if name in wanted]


def _distinct(configs: Mapping[str, Config]) -> list[str]:
    """Leave out recipes that are others over again, as the preset has already what they add."""
    kept: list[str] = []
    for name, config in configs.items():
        alike = [other for other in kept if configs[other] == config and RECIPES[other].trains == RECIPES[name].trains]
        if alike:
            warn(f"{name} is {alike[0]} here, with the same settings; left out")
        kept += [] if alike else [name]
    return kept


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
    title += f": {base.data.dataset}" + ", held-out training identities" * options.held_out
    results: dict[str, list[RowResult]] = {name: [] for name in names}
    standard_output = redirect_stdout(sys.stderr) if options.json else nullcontext()
    # seed by seed, so that a table that is broken off holds whole seeds
    seeds = range(base.seed, base.seed + options.seeds)
    planned = [SeededRow(name, seed) for seed in seeds for name in names]
    failed: list[str] = []
    with standard_output, process_group(base.device) as process, signals_as_interrupt(), ExitStack() as stack:
        runs = TableRuns(base, process, options.measured, partial(progress, quiet=not process.is_main))
        option = f"--name {base.name}"
        process.on_main(lambda: stack.enter_context(exclusive_folder(runs.folder, option)))

        def write() -> list[Summary]:
            shown = summaries(names, results, table, base.data.dataset)
            process.on_main(lambda: _write(runs.folder, title, options, base, shown))
            return shown

        kept = {row: runs.kept_result(*row) for row in planned}
        for row, result in kept.items():
            if result is not None:
                results[row.recipe].append(result)
        # whole, before the first row runs: an interruption must not leave less than there was
        shown = write() if any(results.values()) else []
        left = [row for row, result in kept.items() if result is None]
        runs.agree_on_processes(left)
        obtained = _one_by_one(runs, left) if options.jobs == 1 else _in_parallel(options, runs, base, left)
        # closed before the folder is given free, whatever happens here, so that its processes end first
        stack.enter_context(closing(obtained))
        for row, outcome in obtained:
            if isinstance(outcome, UserError):
                failed.append(row.folder_name(base))
                print(f"error: {failed[-1]}: {outcome}", file=sys.stderr, flush=True)
                continue
            results[row.recipe].append(outcome)
            results[row.recipe].sort(key=lambda found: found.seed)
            shown = write()
        if not process.is_main:
            return
    if options.json:
        print(to_json(as_json(shown, describe_protocol(base.evaluation)), indent=1))
    elif shown:
        text = (runs.folder / _file_name(options)).read_text(encoding="utf-8")
        make_console().print(Markdown(text))
        print(runs.folder / _file_name(options))
    if failed:
        raise UserError(f"{len(failed)} of {len(planned)} rows cannot be run as it is: {', '.join(failed)}")


_Outcomes = Generator[tuple[SeededRow, RowResult | UserError], None, None]
"""Each row as it is done, or why it cannot be run."""


def _one_by_one(runs: TableRuns, planned: Sequence[SeededRow]) -> _Outcomes:
    for row in planned:
        runs.prepare(row.seed)
        yield row, runs.attempt(*row)


def _in_parallel(options: ExperimentOptions, runs: TableRuns, base: Config, planned: Sequence[SeededRow]) -> _Outcomes:
    """Run rows in several processes, and print each row as it is done."""
    if not planned:
        return
    for seed in sorted({row.seed for row in planned}):
        runs.prepare(seed)
    console = make_console()
    logs = log_file(runs.folder, "").parent
    console.print(f"{len(planned)} rows, up to {options.jobs} at a time; {logs} has what they say.")
    with closing(run_in_parallel(base, options.measured, planned, options.jobs)) as found:
        for done, (row, outcome) in enumerate(found, start=1):
            outcome_text = "failed" if isinstance(outcome, UserError) else f"Rank-1 {outcome.figures['Rank-1']:.1f}"
            console.print(f"{row.folder_name(base)}: {outcome_text} ({done} of {len(planned)} rows)")
            yield row, outcome


def _file_name(options: ExperimentOptions) -> str:
    name = "recipes" if options.table is None else f"table{options.table}"
    return f"{name}{options.measured.suffix}.md"


def _write(folder: Path, title: str, options: ExperimentOptions, base: Config, rows: Sequence[Summary]) -> None:
    protocol = describe_protocol(base.evaluation)
    # one of the splits, which differ in who is tested alone
    split = Manifest.load(folder / "splits" / f"seed{base.seed}.jsonl")
    # what is published is of test people
    ours = None if options.held_out else OurProtocol.of(base.evaluation, split)
    table = None if options.table is None else TABLES[options.table]
    notes = [
        f"`{row.recipe}`: {RECIPES[row.recipe].description}; seeds {', '.join(str(r.seed) for r in row.results)}"
        for row in rows
    ]
    if trains_on_gallery(base.data):
        notes.append("transductive: the gallery's own pictures trained G and C_q, so that no other table compares")
    path = folder / _file_name(options)
    with write_atomically(path) as temporary:
        text = markdown(title, table, base.data.dataset, protocol, rows, notes, ours)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    with write_atomically(path.with_suffix(".json")) as temporary:
        temporary.write_text(to_json(as_json(rows, protocol), indent=1) + "\n", encoding="utf-8")
