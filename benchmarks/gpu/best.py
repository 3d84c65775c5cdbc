"""Stage ``best``: the light G and C_q of preset ``best`` behind a C, and their multi-shot Rank-1.

It takes the training's options behind its own: ``--stage best --data.root /data --critic.checkpoint critic.pt`` takes
the C of the stage ``critic``. Without one, C is trained first, which takes longer than a stage has.
"""

from __future__ import annotations

from benchmarks.gpu.stage import Outcome, Task
from benchmarks.gpu.training import config_of, train_and_evaluate
from intact_fast.training.run import Run

RECIPE = ("--data.dataset", "market1501")


def measure(task: Task) -> Outcome:
    """Train G and C_q, and score them."""
    with config_of(task, "best", RECIPE) as config:
        return train_and_evaluate(task, config, "best", ("hr", "lr", "sr"), Run.train)
