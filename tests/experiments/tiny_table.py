"""Options of the smallest table that still trains and tests everything."""

from __future__ import annotations

TINY = (
    "--preset cpu --device cpu --data.dataset folder --data.backend pillow --data.threads 0 --data.height 48 "
    "--data.width 32 --data.val-fraction 0.4 --generator.widths 4 4 6 6 --discriminator.widths 4 4 6 8 "
    "--discriminator.hidden 10 --association.hidden 12 10 --association.latent 8 --association.dis-warmup 0 "
    "--critic.iterations 1 --critic.batch-size 4 --training.iterations 2 --training.batch-size 4 "
    "--training.log-every 1 --training.validate-every 1"
).split()
