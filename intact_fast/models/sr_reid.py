"""The retrieval module: pictures in, identity features out, super-resolved on the way where asked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from intact_fast.config import Kernel
from intact_fast.data.degradation import resize, to_tensor
from intact_fast.models.generator import Generator
from intact_fast.models.osnet import OSNet


class SRReID(nn.Module):
    """G in front of C. The evaluation measures exactly this module.

    HR pictures bypass G (section 4.3: only LR pictures are super-resolved).

    Args:
        critic: C.
        generator: G; None serves C alone.
        size: (height, width) of the network inputs in pixels.
        kernel: Filter of the resize to that size.
    """

    def __init__(
        self,
        critic: OSNet,
        generator: Generator | None = None,
        size: tuple[int, int] = (256, 128),
        kernel: Kernel = "bilinear",
    ) -> None:
        super().__init__()
        self.critic = critic
        self.generator = generator
        self.size = size
        self.kernel = kernel
        self.feature_dim = critic.feature_dim
        self.eval()

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize an RGB picture of any size and normalise it: 3×H×W float32 on the CPU."""
        return to_tensor(resize(image, self.size, self.kernel))

    @torch.inference_mode()
    def super_resolve(self, x_l: Tensor) -> Tensor:
        """Run G on prepared pictures (N×3×H×W, on the module's device); without G they return as they are."""
        return x_l if self.generator is None else self.generator(x_l)

    @torch.inference_mode()
    def embed(self, prepared: Tensor) -> Tensor:
        """Compute f_c of prepared pictures: N×3×H×W → N×512, not normalised."""
        return self.critic.embed(prepared)

    def forward(self, images: Sequence[Image.Image], low_resolution: bool = False) -> Tensor:
        """Compute features of pictures of any size.

        Args:
            images: N RGB pictures.
            low_resolution: Whether they go through G.

        Returns:
            N×512 float32, not normalised.
        """
        device = next(self.critic.parameters()).device
        prepared = torch.stack([self.prepare(image) for image in images]).to(device)
        prepared = prepared.contiguous(memory_format=torch.channels_last)
        return self.embed(self.super_resolve(prepared) if low_resolution else prepared)
