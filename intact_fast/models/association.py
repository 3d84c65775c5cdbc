"""The inter-task association network φ with its latent f_e, and the bridge σ (section 3.2 of the paper)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from intact_fast.kernels import association_losses, distillation_loss
from intact_fast.models.fused import FCStack, update_stacks


class AssociationOutput(NamedTuple):
    """The results of one pass through φ."""

    f_d: Tensor
    """N×out_dim, φ(f_c): the predicted discriminator feature."""
    f_e: Tensor
    """N×latent, the encoder's output."""


class AssociationNetwork(nn.Module):
    """φ: encoder f_c → f_e and decoder f_e → f_d, three FC layers each (section 4.3 of the paper).

    The encoder's last batch normalisation has no affine pair. With one, L_e could be minimised by shrinking f_e and
    σ(f_d) together to 0.

    Args:
        in_dim: Dimension of f_c.
        out_dim: Dimension of f_d.
        hidden: Widths of the encoder's first two layers; the decoder mirrors them.
        latent: Dimension of f_e.
        output_gamma: Initial γ of the last batch normalisation.
    """

    def __init__(
        self,
        in_dim: int = 512,
        out_dim: int = 1024,
        hidden: tuple[int, int] = (512, 256),
        latent: int = 200,
        output_gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = FCStack([in_dim, *hidden, latent], last_affine=False)
        self.decoder = FCStack([latent, *reversed(hidden), out_dim], last_affine=True)
        nn.init.constant_(self.decoder.norms[-1].weight, output_gamma)

    def fuses(self, f_c: Tensor) -> bool:
        """Tell whether both halves run on the fused operators."""
        return self.encoder.fuses(f_c) and self.decoder.fuses(f_c)

    def forward(self, f_c: Tensor) -> AssociationOutput:
        """Map f_c (N×in_dim) to φ(f_c) and f_e."""
        f_e = self.encoder(f_c)
        return AssociationOutput(self.decoder(f_e), f_e)


class Bridge(nn.Module):
    """σ: f_d → the space of f_e, of the encoder's structure (Eq. 6).

    Args:
        in_dim: Dimension of f_d.
        hidden: Widths of its first two layers.
        latent: Dimension of f_e.
    """

    def __init__(self, in_dim: int = 1024, hidden: tuple[int, int] = (512, 256), latent: int = 200) -> None:
        super().__init__()
        self.layers = FCStack([in_dim, *hidden, latent], last_affine=False)

    def forward(self, f_d: Tensor) -> Tensor:
        """Map f_d (N×in_dim) to σ(f_d) (N×latent)."""
        return self.layers(f_d)


def fused_association_losses(
    phi: AssociationNetwork, sigma: Bridge, f_c: Tensor, f_d: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute L_intact (Eq. 5) and L_e (Eq. 6) on the fused operators, which end in the losses, and f_e.

    Args:
        phi: φ; it and σ must fuse.
        sigma: σ.
        f_c: N×in_dim.
        f_d: N×out_dim, a constant.

    Returns:
        L_intact and L_e, scalars; and f_e, N×latent.
    """
    assert phi.training == sigma.training
    f_e, of_encoder = phi.encoder.run_fused(f_c)
    phi_hidden, of_decoder = phi.decoder.run_fused(f_e, skip_last=True)
    sigma_hidden, of_sigma = sigma.layers.run_fused(f_d, skip_last=True)
    losses = association_losses(
        phi_hidden,
        phi.decoder.linear_bns[-1],
        sigma_hidden,
        sigma.layers.linear_bns[-1],
        f_d,
        f_e,
        training=phi.training,
    )
    if phi.training:
        update_stacks(
            {
                phi.encoder: of_encoder,
                phi.decoder: [*of_decoder, losses.phi_statistics],
                sigma.layers: [*of_sigma, losses.sigma_statistics],
            }
        )
    return losses.l_intact, losses.l_e, f_e


def fused_distillation_loss(phi: AssociationNetwork, f_c: Tensor, f_d: Tensor) -> Tensor:
    """Compute L_dis (Eq. 8), a scalar, on the fused operators from N×in_dim and N×out_dim; φ is in eval mode."""
    assert not phi.training
    hidden, _ = phi.decoder.run_fused(phi.encoder.run_fused(f_c)[0], skip_last=True)
    return distillation_loss(hidden, phi.decoder.linear_bns[-1], f_d)


class FeatureScaler(nn.Module):
    """Puts f_d on the scale that φ is trained against.

    Standardising uses running statistics over HR pictures in both modes. So real and super-resolved pictures are
    measured by the same ruler. :meth:`observe` updates the statistics.

    Args:
        dim: Dimension of f_d.
        standardise: False makes this the identity.
        momentum: Weight of a new batch.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, dim: int, standardise: bool, momentum: float = 0.1) -> None:
        super().__init__()
        self.standardise = standardise
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def observe(self, f_d: Tensor) -> None:
        """Update the running statistics with f_d of HR pictures (N×dim)."""
        self.batches += 1
        f_d = f_d.to(self.mean.dtype)
        # the first batch replaces the arbitrary starting values
        weight = torch.where(self.batches == 1, 1.0, self.momentum)
        self.mean.lerp_(f_d.mean(dim=0), weight)
        self.variance.lerp_(f_d.var(dim=0, unbiased=False), weight)

    def forward(self, f_d: Tensor) -> Tensor:
        """Scale f_d (N×dim)."""
        if not self.standardise:
            return f_d
        return (f_d - self.mean) * torch.rsqrt(self.variance + 1e-5)
