"""All networks of one training, with the frozen faces that the updates look at."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from intact_fast.config.options import AssociationConfig, Config
from intact_fast.errors import UserError
from intact_fast.losses import distillation_loss
from intact_fast.models import (
    AssociationNetwork,
    Bridge,
    Discriminator,
    DiscriminatorOutput,
    FeatureScaler,
    Generator,
    OSNet,
    frozen_view,
    select_kernels,
)
from intact_fast.models.association import fused_distillation_loss


class AssociationHealth(nn.Module):
    """Recent averages of φ's R² and of L_dis on HR pictures, and how much of L_dis they let act.

    R² is measured on each new batch before φ is updated with it, by φ in eval mode, which is the φ
    that L_dis uses. A single batch counts between -1 and 1, so that φ's first iterations, when its
    running statistics mean nothing yet, are soon forgotten.

    φ explains a part of f_d alone. What it does not explain is there in HR pictures, too, and G takes it out of its own
    where L_dis may fall below what it is on HR ones: hence the floor. It is G's: where L_dis also updates D, all of
    it does.

    Args:
        config: Warm-up, gate, floor and decay.
    """

    def __init__(self, config: AssociationConfig) -> None:
        super().__init__()
        self.warmup = config.dis_warmup
        self.gate = config.dis_gate
        self.decay = config.gate_decay
        self.register_buffer("r2", torch.zeros(()))
        self.has_floor = config.dis_floor == "hr"
        if self.has_floor:
            self.register_buffer("floor", torch.full((), float("nan")))

    @torch.no_grad()
    def observe(self, r2: Tensor, level: Tensor) -> None:
        """Take in φ's R² on one HR batch, and what L_dis is on it (scalars)."""
        self.r2.lerp_(r2.to(self.r2.dtype).clamp(-1.0, 1.0), 1.0 - self.decay)
        if self.has_floor:
            average = torch.lerp(self.floor, level.to(self.floor.dtype), 1.0 - self.decay)
            self.floor.copy_(torch.where(self.floor.isnan(), level, average))

    def recorded(self) -> dict[str, Tensor]:
        """The averages, for a record."""
        found = {"association/r2_recent": self.r2.clone()}
        return {**found, "association/floor": self.floor.clone()} if self.has_floor else found

    def acting(self, dis: Tensor) -> Tensor:
        """The part of L_dis that trains G: all of it, or what it exceeds the recent one on HR pictures by."""
        return torch.relu(dis - self.floor) if self.has_floor else dis

    def weight(self, iteration: int) -> Tensor:
        """Factor of λ_dis at an iteration: 0 in the warm-up, then 1 or the recent R²."""
        if iteration < self.warmup:
            return torch.zeros_like(self.r2)
        return self.r2.clamp_min(0.0) if self.gate == "r2" else torch.ones_like(self.r2)


def describe_training(health: AssociationHealth | None, lambda_dis: float, iteration: int) -> str:
    """Say how far a training is and how much φ has learned: an association that explains nothing cannot help.

    Args:
        health: Of φ; None in a training without it.
        lambda_dis: Weight of the association term.
        iteration: How many are done.
    """
    if health is None:
        return f"after {iteration} iterations, the association left out (--loss.lambda-dis 0)"
    r2, weight = float(health.r2), lambda_dis * float(health.weight(iteration))
    text = (
        f"after {iteration} iterations φ explained R² = {r2:.2f} of f_d on HR pictures, and L_dis had the weight "
        f"{weight:.2f}"
    )
    if weight == 0:
        return text + ": it did not act"
    return text + ": it only matched mean features" if r2 <= 0 else text


class Association(nn.Module):
    """φ and σ with what surrounds them.

    In a common space φ and σ are the two encoders, of f_c and of f_d.

    Args:
        f_c_dim: Dimension of f_c.
        f_d_dim: Dimension of f_d.
        config: Structure and use.
    """

    phi: AssociationNetwork | Bridge
    sigma: Bridge | None

    def __init__(self, f_c_dim: int, f_d_dim: int, config: AssociationConfig) -> None:
        super().__init__()
        if config.direction == "common-space":
            self.phi = Bridge(f_c_dim, config.hidden, config.latent)
            self.sigma = Bridge(f_d_dim, config.hidden, config.latent)
        else:
            dims = (f_c_dim, f_d_dim) if config.direction == "r-to-d" else (f_d_dim, f_c_dim)
            self.phi = AssociationNetwork(*dims, config.hidden, config.latent, config.output_gamma)
            self.sigma = Bridge(dims[1], config.hidden, config.latent) if config.bridge else None
        self.scaler = FeatureScaler(f_d_dim, standardise=config.scale == "standardised")
        self.health = AssociationHealth(config)


class Networks(nn.Module):
    """G, D, C and the association, in one module so that one state dict holds them.

    Attributes:
        generator: G.
        generator_ema: Its moving average; None without ``generator.ema_decay``.
        discriminator: D.
        critic: C, frozen and in eval mode.
        association: φ, σ and company; None when ``loss.lambda_dis`` is 0.
        uses_discriminator: Whether any loss of G's needs D; else it stays as it was made.
        target_discriminator: Whose activation is f_d: a frozen view of D, or its moving average.

    Args:
        config: Their sizes and use.
        critic: C.
        device: Where they go.
        sync_bn: Compute batch statistics of G, D, φ and σ over all processes.
    """

    def __init__(self, config: Config, critic: OSNet, device: torch.device, sync_bn: bool = False) -> None:
        super().__init__()
        self.feature = config.association.feature
        self.uses_discriminator = config.loss.lambda_g != 0 or config.loss.lambda_dis != 0
        self._use = config.association
        self._generator_ema_decay = config.generator.ema_decay
        self._ema_decay = config.association.ema_decay if config.association.target == "ema" else None
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm if sync_bn else nn.Identity()
        self.generator = synchronised(build_generator(config)).to(device, memory_format=torch.channels_last)
        self.discriminator = synchronised(build_discriminator(config)).to(device, memory_format=torch.channels_last)
        self.critic = critic.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
        self.generator_ema: Generator | None = None
        if config.generator.ema_decay is not None:
            self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False).eval()
            # counters of batches are the only tensors that are not averaged
            self._averaged_generator = tuple(
                [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
                for module in (self.generator_ema, self.generator)
            )
        self.association: Association | None = None
        self.discriminator_ema: Discriminator | None = None
        if config.loss.lambda_dis != 0:
            dims = self.discriminator.feature_dims
            association = Association(critic.feature_dim, dims[self.feature], config.association)
            self.association = synchronised(association).to(device)
            if self._ema_decay is not None:
                self.discriminator_ema = copy.deepcopy(self.discriminator).requires_grad_(False)
        select_kernels(self, config.training.kernels)
        # outside the module tree: their tensors are the ones registered above
        self._views: dict[str, nn.Module] = {"discriminator": frozen_view(self.discriminator)}
        # D has no running statistics, and a SyncBN synchronises in train mode alone
        self._views["discriminator"].train(sync_bn)
        if self.association is not None:
            self._views["phi"] = frozen_view(self.association.phi)
            if self.association.sigma is not None:
                self._views["sigma"] = frozen_view(self.association.sigma)

    @property
    def serving_generator(self) -> Generator:
        """The G that is validated and evaluated."""
        return self.generator if self.generator_ema is None else self.generator_ema

    @property
    def frozen_discriminator(self) -> Discriminator:
        """D as a critic of G; follows D's updates."""
        return self._views["discriminator"]  # type: ignore[return-value]

    @property
    def frozen_phi(self) -> AssociationNetwork | Bridge:
        """φ as a critic of G, by its running statistics; follows φ's updates."""
        return self._views["phi"]  # type: ignore[return-value]

    @property
    def frozen_sigma(self) -> Bridge:
        """σ likewise, where there is one."""
        return self._views["sigma"]  # type: ignore[return-value]

    @property
    def target_discriminator(self) -> Discriminator:
        """The frozen D whose activation is f_d."""
        return self.discriminator_ema if self.discriminator_ema is not None else self.frozen_discriminator

    def f_d(self, output: DiscriminatorOutput) -> Tensor:
        """Pick f_d from a pass through D and scale it: N×D, float32."""
        assert self.association is not None
        return self.association.scaler(output.feature(self.feature).float())

    def l_dis(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis (Eq. 8) of f_c (N×512) and the scaled f_d (N×D) by the frozen φ: scalar."""
        phi = self.frozen_phi
        if not isinstance(phi, AssociationNetwork):
            return distillation_loss(phi(f_c), self.frozen_sigma(f_d))
        source, target = direct(self._use.direction, f_c, f_d)
        if phi.fuses(source):
            return fused_distillation_loss(phi, source, target)
        return distillation_loss(phi(source).f_d, target)

    @property
    def uses_prediction(self) -> bool:
        """Whether L_dis is to φ's prediction; in the control it is to the running mean of f_d."""
        return self._use.predictor == "phi"

    def l_dis_for_generator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis as G is trained by it: through one side or both, or against a mean instead of φ's prediction."""
        if not self.uses_prediction:
            return self._dis_to_mean(f_d)
        if self._use.dis_gradient == "f_d":
            f_c = f_c.detach()
        elif self._use.dis_gradient == "f_c":
            f_d = f_d.detach()
        return self.l_dis(f_c, f_d)

    def l_dis_for_discriminator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis as D is trained by it where it is: as G is, but through f_d alone (f_c without gradient)."""
        return self.l_dis(f_c, f_d) if self.uses_prediction else self._dis_to_mean(f_d)

    def dis_level(self, f_d: Tensor, dis_hr: Tensor, variance: Tensor) -> Tensor:
        """What G's L_dis is on HR pictures: scalar.

        Args:
            f_d: N×D, scaled.
            dis_hr: L_dis by φ; counts as if R² were -1 at least, as there.
            variance: What it would be if φ knew the means alone.
        """
        if self.uses_prediction:
            return torch.minimum(dis_hr, 2.0 * variance)
        return self._dis_to_mean(f_d)

    def _dis_to_mean(self, f_d: Tensor) -> Tensor:
        assert self.association is not None
        scaler = self.association.scaler
        return distillation_loss(scaler(scaler.mean).expand_as(f_d), f_d)

    def association_variance(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """What L_dis would be if φ knew the means alone: variance of its target, scalar.

        In a common space it is the sum of both codes' variances, so that codes without relation explain nothing.
        """
        phi = self.frozen_phi
        if isinstance(phi, AssociationNetwork):
            targets = [direct(self._use.direction, f_c, f_d)[1]]
        else:
            targets = [phi(f_c), self.frozen_sigma(f_d)]
        return torch.stack([target.var(dim=0, unbiased=False).mean() for target in targets]).sum()

    @torch.no_grad()
    def update_generator_average(self) -> None:
        """Move the averaged G, running statistics included, towards G by one iteration."""
        if self.generator_ema is not None:
            assert self._generator_ema_decay is not None
            torch._foreach_lerp_(*self._averaged_generator, 1.0 - self._generator_ema_decay)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged D towards D by one iteration."""
        if self.discriminator_ema is not None:
            assert self._ema_decay is not None
            torch._foreach_lerp_(
                list(self.discriminator_ema.parameters()),
                list(self.discriminator.parameters()),
                1.0 - self._ema_decay,
            )


def direct(form: str, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
    """What φ maps, and to what: (f_c, f_d), or the reverse (Fig. 5 b)."""
    return (f_d, f_c) if form == "d-to-r" else (f_c, f_d)


def build_generator(config: Config, size: tuple[int, int] | None = None) -> Generator:
    """Build G and check that the input size fits its poolings.

    Args:
        config: Its form, and the input size.
        size: Another (height, width).

    Raises:
        UserError: Height or width is not a multiple of G's total stride.
    """
    g = config.generator
    generator = Generator(g.widths, g.blocks_per_group, g.skip, g.global_residual)
    check_size(size or (config.data.height, config.data.width), generator.stride)
    return generator


def check_size(size: tuple[int, int], stride: int) -> None:
    """Raise UserError unless (height, width) are multiples of ``stride``."""
    for name, value in zip(("height", "width"), size, strict=True):
        if value <= 0 or value % stride:
            nearest = max(stride, round(value / stride) * stride)
            raise UserError(
                f"--data.{name} {value}: G needs a multiple of {stride}; use {nearest}, or fewer --generator.widths"
            )


def build_discriminator(config: Config) -> Discriminator:
    """Build D for the configured input size."""
    d = config.discriminator
    return Discriminator(d.widths, d.hidden, d.head, (config.data.height, config.data.width))
