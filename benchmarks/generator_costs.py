"""Parameters and multiply-accumulates of G and C for one picture: ``python -m benchmarks.generator_costs``."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from intact_fast.config.options import Config, GeneratorConfig
from intact_fast.models import build_osnet
from intact_fast.training.step.networks import build_generator

SMALL = GeneratorConfig(widths=(16, 32, 64, 96), blocks_per_group=1, skip="add", global_residual=True)


def cost(network: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """Count parameters in millions, and GMAC for one picture of (height, width)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, *size))
    return sum(p.numel() for p in network.parameters()) / 1e6, counter.get_total_flops() / 2e9


def main() -> None:
    """Print a line for each network."""
    paper = Config()
    small = replace(paper, generator=SMALL, data=replace(paper.data, height=128, width=64))
    light = replace(paper, generator=GeneratorConfig(arch="light"))
    networks = {
        "paper's G": (build_generator(paper), (256, 128)),
        "small G at 128×64": (build_generator(small), (128, 64)),
        "light G": (build_generator(light), (256, 128)),
        "C or C_q (OSNet x0.25)": (build_osnet("osnet_x0_25", 0), (256, 128)),
    }
    for name, (network, size) in networks.items():
        parameters, macs = cost(network, size)
        print(f"{name}: {parameters:.2f} million parameters, {macs:.2f} GMAC a picture")


if __name__ == "__main__":
    main()
