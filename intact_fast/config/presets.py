"""The presets: the paper's settings, faster ones, those that match best, and small ones for a CPU."""

from __future__ import annotations

from dataclasses import replace

from intact_fast.config.options import (
    AssociationConfig,
    Config,
    CriticConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimiserConfig,
    TrainingConfig,
)

PAPER = Config(
    preset="paper",
    training=TrainingConfig(precision="fp32", compile="off", cuda_graph="off", kernels="torch"),
)
"""The paper's sizes and settings, literally (sections 4.2 and 4.3), in plain arithmetic."""

FAST = replace(
    PAPER,
    preset="fast",
    generator=GeneratorConfig(skip="add", global_residual=True, ema_decay=0.97),
    association=AssociationConfig(feature="pool", scale="standardised", target="ema", dis_warmup=500, dis_gate="r2"),
    loss=LossConfig(lambda_dis=0.1),
    training=TrainingConfig(f_c_table=True),
)
"""The paper's sizes and what trains faster: 16 bits, compiling, CUDA graphs on a GPU, skip connections, gated L_dis.

Held-out identities of Market-1501 chose the averaged G and the tenth of the paper's λ_dis
(docs/results/market1501-paper-size-averaged.md).
"""

BEST = replace(
    FAST,
    preset="best",
    generator=GeneratorConfig(arch="light", ema_decay=0.97),
    critic=CriticConfig(query="joint"),
    loss=LossConfig(lambda_g=0.0, lambda_dis=0.0, lambda_f=1.0),
    optimiser=OptimiserConfig(generator_learning_rate=5e-4),
    training=TrainingConfig(iterations=400, f_c_table=True, checkpoint_every=200, validate_every=200),
)
"""What won on Market-1501 with the gallery untouched: a light G and C_q, by MSE, identity and feature term.

It has neither D nor an association. Held-out identities chose it (docs/results/market1501-query-side.md).
"""

CPU = replace(
    PAPER,
    preset="cpu",
    data=replace(PAPER.data, height=96, width=48),
    generator=GeneratorConfig(widths=(16, 32, 64, 96), skip="add", global_residual=True, ema_decay=0.9),
    discriminator=DiscriminatorConfig(widths=(16, 32, 64, 128), hidden=256),
    association=AssociationConfig(
        feature="conv5", scale="standardised", output_gamma=0.3, target="ema", dis_warmup=20, dis_gate="r2"
    ),
    critic=CriticConfig(arch="osnet_x0_25", iterations=1200, batch_size=32, learning_rate=6e-3, pad=4),
    optimiser=OptimiserConfig(generator_learning_rate=5e-4, discriminator_learning_rate=1e-4),
    training=TrainingConfig(iterations=100, f_c_table=True, log_every=20, checkpoint_every=50, validate_every=50),
)
"""Small inputs and a small, averaged G with skip connections and a global residual, for a 2-core CPU.

f_d is D's fifth convolution, and φ's predictions begin with the spread that they can justify: with `pool` and γ = 1 φ
explained nothing in so short a training (docs/results/make-train.md).
"""

PRESETS: dict[str, Config] = {"paper": PAPER, "fast": FAST, "best": BEST, "cpu": CPU}


def resolve_preset(name: str, cuda: bool) -> Config:
    """Return the preset of that name; ``auto`` is ``paper`` with a GPU and ``cpu`` without."""
    return PRESETS[("paper" if cuda else "cpu") if name == "auto" else name]
