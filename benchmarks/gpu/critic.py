"""Stage ``critic``: C from scratch by a whole recipe of today, and its multi-shot Rank-1 on HR queries.

It takes a training's options behind its own: ``--stage critic --data.root /data --seconds 580``. A training that the
stage's time cuts off has saved its state, and the same command goes on.
"""

from __future__ import annotations

from benchmarks.gpu.stage import Outcome, Task
from benchmarks.gpu.training import config_of, train_and_evaluate
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.critic import load_critic
from intact_fast.training.run import Run

EPOCHS, BATCH, PICTURES = 150, 256, 11_642
"""150 epochs of what Market-1501's training split has without the held-out tenth of its identities."""
RECIPE = (
    *("--data.dataset", "market1501"),
    *("--critic.iterations", str(EPOCHS * PICTURES // BATCH)),
    *("--critic.batch-size", str(BATCH), "--critic.learning-rate", "3e-3"),
    *("--critic.erased", "0.5", "--critic.half-size", "0.6", "--critic.ema-decay", "0.998"),
)
"""Flip, padding and crop, label smoothing, and a one-cycle rate (a warm-up, then half a cosine) are what C has anyway.

The average reaches over 500 iterations, which is 11 epochs.
"""


def _train(run: Run) -> SRReID:
    settings, data = run.config.critic, run.config.data
    critic = load_critic(run.train_critic(), settings.arch, None, enlarge=settings.enlarge)
    model = SRReID(critic, None, (data.height, data.width), data.interpolation)
    return model.to(run.process.device)


def measure(task: Task) -> Outcome:
    """Train C and score it."""
    with config_of(task, "critic", RECIPE) as config:
        return train_and_evaluate(task, config, "C", ("hr", "lr"), _train)
