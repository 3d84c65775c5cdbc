"""The options that matter in a training, with advice; `training.md` shows them beside their values."""

from __future__ import annotations

ESSENTIAL: dict[str, str] = {
    "generator.ema_decay": (
        "Averages G. On Market-1501 the average gains 0.2 to 2.5 points of Rank-1 and steadies the seeds. "
        "1/(1 − decay) iterations must be a small part of the training: 0.97 for a few hundred iterations. "
        "0.99 fails in 160."
    ),
    "loss.lambda_g": (
        "Weight of the GAN term. The term costs Rank-1 on Market-1501 and VIPeR, 1.7 to 2.8 points at full size. "
        "0, together with `--loss.lambda-dis 0`, leaves the discriminator D out and trains MSE and identity alone."
    ),
    "loss.lambda_dis": (
        "Weight of the association. No gain is credited to it here. 1 was 1.5 points behind leaving it out at full "
        "size (by seed +1.1, −2.6, −3.1). Keep 0.1 to study it, 0 to leave it out."
    ),
    "critic.checkpoint": (
        "A finished re-id network C, torchreid's or ours. Take your own: C's HR queries are about what a G can reach. "
        "See [own critic](#your-own-critic)."
    ),
    "critic.init": (
        "A backbone to start C's training from. Use it on small sets such as VIPeR, with a C of a larger set, "
        "300 iterations and `--critic.learning-rate 1e-3`."
    ),
    "critic.enlarge": (
        "C sees pictures enlarged this many times. 2 with `--data.height 128 --data.width 64` puts a small, fast G "
        "before a C of 256×128."
    ),
    "data.factors": (
        "Rates r to train and test on. Add 6 and 8 where such queries occur: on the synthetic set their Rank-1 rises "
        "from 5.9 and 3.6 to 32.3 and 15.5, at 5.5 points less over 2, 3 and 4 (one seed)."
    ),
    "training.iterations": (
        "Length. The full-size results here have 400 on Market-1501 (one epoch) and 150 on VIPeR; 40,000 have not run. "
        "May be raised later: the same command goes on, unless `--optimiser.schedule` is `cosine`. "
        "Below 1,000 lower `--association.dis-warmup`, which is 500 in preset `fast`."
    ),
    "training.batch_size": (
        "Pictures per process. Lower it first when memory runs out; batch normalisation needs 2 or more. "
        "Learning rates do not follow it."
    ),
    "optimiser.generator_learning_rate": (
        "The paper's is 1e-4. The results here at full size have 2e-4 and 400 iterations. "
        "Lower it when a loss is no number."
    ),
    "training.precision": (
        "`auto` is bfloat16 on a GPU, and on a CPU with AMX or AVX512-BF16, where AMX gave 1.7 times the pictures per "
        "second. Elsewhere it is float32."
    ),
    "training.compile": (
        "`auto` compiles on a GPU, which takes one to two minutes first. `off` for short trainings, and on every CPU."
    ),
    "training.f_c_table": (
        "Computes C's features of HR pictures once: 1.1 to 1.2 times the pictures per second. "
        "Turn it on unless `--data.pad` is above 0."
    ),
    "training.validate_every": (
        "Iterations between validations, which choose `best.pt`. 0 validates at the end alone. "
        "A C that was trained on the held-out identities makes their scores useless."
    ),
    "data.threads": (
        "Workers that read pictures, per process. Raise it while pictures per second rise. "
        "`--data.cache-mib` keeps decoded pictures in memory (DALI); Market-1501 needs 304."
    ),
}
"""Advice by dotted name of the option."""
