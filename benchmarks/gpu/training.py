"""What the stages ``critic`` and ``best`` share: a training that stops in time, and its multi-shot figures."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu.stage import Outcome, Task
from benchmarks.setup import pictures_like_market
from intact_fast.config.checks import check_config
from intact_fast.config.command_line import parse_config
from intact_fast.config.options import Config
from intact_fast.evaluation.evaluator import evaluate
from intact_fast.evaluation.views import View
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.distributed.process import Interrupted, process_group
from intact_fast.training.distributed.signals import signals_as_interrupt
from intact_fast.training.run import Run

EVALUATION_SECONDS = 40.0
"""What is kept of a stage's time for the evaluation."""

TINY = (
    "--device cpu --data.dataset folder --data.backend pillow --data.threads 0 --data.height 48 --data.width 32 "
    "--data.val-fraction 0 --generator.light-width 4 --generator.light-blocks 1 --critic.arch osnet_x0_25 "
    "--critic.iterations 1 --critic.batch-size 4 --training.iterations 1 --training.batch-size 4 "
    "--evaluation.batch-size 8"
).split()


def tiny_pictures(root: Path, people: int = 8) -> None:
    """Draw two pictures of each person, by two cameras each."""
    for number, path in enumerate(pictures_like_market(root, 4 * people)):
        path.rename(root / f"{number // 4:04d}_cam{1 + number % 2}_{number % 4 // 2}.jpg")


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Ask this process's training to save its state and end, as a user's signal would."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def config_of(task: Task, name: str, words: tuple[str, ...]) -> Iterator[Config]:
    """The configuration of a stage: its own options, then the user's.

    A smoke run has tiny ones and a folder that goes.
    """
    with TemporaryDirectory() as folder:
        if task.smoke:
            root = Path(folder) / "pictures"
            root.mkdir()
            tiny_pictures(root)
            words = (*words, *TINY, "--data.root", str(root), "--runs", f"{folder}/runs")
        given = ["--preset", "best", "--name", f"gpu-{name}", *words, *task.words]
        config = parse_config(given, "python -m benchmarks.gpu", "A stage that trains.")
        check_config(config)
        yield config


def train_and_evaluate(
    task: Task, config: Config, name: str, views: tuple[View, ...], train: Callable[[Run], SRReID]
) -> Outcome:
    """Train as far as the time goes, and give the multi-shot figures of what is finished.

    Args:
        task: Whose clock stops the training.
        config: Of the training.
        name: Of the row.
        views: Rows that are scored.
        train: Trains a run.
    """
    begin = time.monotonic()
    with process_group(config.device) as process, signals_as_interrupt():
        run = Run(config, process)
        try:
            with stopped_after(max(task.clock.left() - EVALUATION_SECONDS, 1.0)):
                model = train(run)
        except (Interrupted, KeyboardInterrupt):
            line = f"{name}: not finished in {time.monotonic() - begin:.0f} s; the same command goes on in {run.folder}"
            return Outcome(line, {"rows": {}}, [line], passed=False, kind="training")
        seconds = time.monotonic() - begin
        settings = replace(config.evaluation, protocol="multi-shot")
        found = evaluate(model, run.manifest, config.data.root, settings, config.data.threads, views=views)
    rows: dict[str, Any] = {}
    table = [f"{'queries':<12}{'Rank-1':>8}{'mAP':>8}   multi-shot, {found.dataset}, trained in {seconds:.0f} s"]
    for view, ranking in found.rankings.items():
        rank1, mean_ap = 100 * float(ranking.cmc[0]), 100 * float(ranking.mean_ap)
        table.append(f"{view:<12}{rank1:>8.2f}{mean_ap:>8.2f}")
        key = {"hr": "HR queries", "lr": "lr", "sr": name}.get(view, view)
        rows[key] = {"figures": {"multi-shot Rank-1": {"mean": rank1}, "multi-shot mAP": {"mean": mean_ap}}}
    main = rows[name if name in rows else "HR queries"]["figures"]["multi-shot Rank-1"]["mean"]
    headline = f"{name}: multi-shot Rank-1 {main:.1f} on {found.dataset} after {seconds:.0f} s of training."
    return Outcome(headline, {"training_seconds": seconds, "rows": rows}, table, kind="training")
