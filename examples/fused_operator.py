"""Put fused operators into a network of one's own, and check them against PyTorch's, forward and backward.

``batch_norm_act`` is batch normalisation, residual sum and activation in one pass. ``pixel_shuffle_act`` is bias,
activation and pixel shuffle. Both are Triton kernels on a GPU, plain PyTorch on a CPU, and take channels-last tensors.

    python examples/fused_operator.py --device cuda
"""

import argparse
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intact_fast.kernels import batch_norm_act, pixel_shuffle_act


class Upscaler(nn.Module):
    """A residual block, and an enlargement to twice the size."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused, self.bn = fused, nn.BatchNorm2d(16)
        self.conv, self.up = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.Conv2d(16, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×16×H×W to N×16×2H×2W."""
        y, bn, up = self.conv(x), self.bn, self.up
        if not self.fused:
            return F.pixel_shuffle(F.relu(up(F.relu(bn(y) + x))), 2)
        statistics = (bn.running_mean, bn.running_var)  # Updated in place, as nn.BatchNorm2d does.
        y = batch_norm_act(y, bn.weight, bn.bias, *statistics, residual=x, training=self.training, activation="relu")
        return pixel_shuffle_act(F.conv2d(y, up.weight), up.bias, activation="relu")  # It adds the bias, too.


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both forms on the same weights and input, and compare results, gradients and running statistics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args(arguments).device
    torch.manual_seed(0)
    plain, fused = (Upscaler(fused).to(device, memory_format=torch.channels_last) for fused in (False, True))
    fused.load_state_dict(plain.state_dict())
    found = []
    x = torch.randn(8, 16, 32, 16).to(device, memory_format=torch.channels_last).requires_grad_()
    for network in (plain, fused):
        out = network(x)
        grads = torch.autograd.grad(out.square().sum(), [x, *network.parameters()])
        found.append([out, network.bn.running_mean, network.bn.running_var, *grads])
    names = ["output", "running mean", "running variance", "gradient of x"]
    for name, a, b in zip([*names, *(f"gradient of {n}" for n, _ in plain.named_parameters())], *found, strict=True):
        error = ((a - b).norm() / a.norm()).item()
        print(f"{name:<24} {tuple(a.shape)!s:<18} relative difference {error:.1e}")
        assert error < 1e-3, "more than rounding"  # A GPU's convolutions round their factors to 10 bits (TF32).


if __name__ == "__main__":
    main()
