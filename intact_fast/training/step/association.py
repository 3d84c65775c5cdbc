"""The association of C and D: φ and σ, what trains them, and the L_dis that they give G (section 3.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from intact_fast.config.options import AssociationConfig
from intact_fast.losses import association_loss, association_total_loss, bridge_loss, distillation_loss
from intact_fast.models import AssociationNetwork, Bridge, DiscriminatorOutput, FeatureScaler, frozen_view
from intact_fast.models.association import fused_association_losses, fused_distillation_loss
from intact_fast.models.discriminator import FeatureName
from intact_fast.models.unregistered import Unregistered


class AssociationHealth(nn.Module):
    """Recent averages of φ's R² and of L_dis on HR pictures: the gate and the floor of L_dis.

    R² is measured on each new batch before φ is updated with it, by φ in eval mode, as L_dis uses it. A single batch
    counts between -1 and 1. So φ's first iterations, whose running statistics mean nothing yet, are soon forgotten.

    φ explains only a part of f_d. The rest is there in HR pictures, too. G takes it out of its own pictures where L_dis
    may fall below what it is on HR ones. The floor prevents that. It is G's: all of L_dis updates D, where it does.

    Args:
        warmup: Iterations before L_dis acts.
        gated: Whether the recent R² multiplies L_dis.
        has_floor: Whether L_dis acts only above its recent average on HR pictures.
        decay: Of both averages, per iteration.
    """

    r2: Tensor
    floor: Tensor

    def __init__(self, warmup: int, gated: bool, has_floor: bool, decay: float) -> None:
        super().__init__()
        self.warmup = warmup
        self.gated = gated
        self.has_floor = has_floor
        self.decay = decay
        self.register_buffer("r2", torch.zeros(()))
        if has_floor:
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
        return self.r2.clamp_min(0.0) if self.gated else torch.ones_like(self.r2)


class AssociationTerms(NamedTuple):
    """What φ and σ are trained on."""

    l_intact: Tensor
    """Eq. 5, scalar."""
    l_e: Tensor | None
    """Eq. 6, scalar; None without the bridge and in a common space."""
    f_e: Tensor
    """N×latent, the encoder's output."""

    @property
    def total(self) -> Tensor:
        """Eq. 7, scalar."""
        return self.l_intact if self.l_e is None else association_total_loss(self.l_intact, self.l_e)


class HRTargets(NamedTuple):
    """f_d of HR pictures, and what the association makes of them."""

    f_d: Tensor
    """N×D, scaled, float32."""
    variance: Tensor
    """L_dis of a φ that knew the means alone, scalar."""
    dis_hr: Tensor
    """L_dis on HR pictures as it is on G's (by φ as it was before its update, or to the mean), scalar."""
    r2: Tensor
    """R² of φ on them, scalar."""


Sides = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes f_c and f_d and gives them as L_dis trains G: a side that does not is detached."""

_SIDES: Mapping[str, Sides] = {
    "both": lambda f_c, f_d: (f_c, f_d),
    "f_d": lambda f_c, f_d: (f_c.detach(), f_d),
    "f_c": lambda f_c, f_d: (f_c, f_d.detach()),
}


class AssociationParts(NamedTuple):
    """What every association has besides φ and σ."""

    scaler: FeatureScaler
    """The scale of f_d."""
    health: AssociationHealth
    """Gate and floor."""
    feature: FeatureName
    """Which activation of D is f_d."""
    sides: Sides
    """Through which sides L_dis trains G."""
    lambda_dis: float
    """Weight of L_dis."""
    updates: int
    """Updates of φ and σ in each iteration."""
    updates_discriminator: bool
    """Whether L_dis also trains D."""


class Association(nn.Module, ABC):
    """φ and σ, and the use that is made of them; a subclass says what is associated with what.

    L_dis is given by frozen views of φ and σ, which follow their updates and normalise by running statistics.

    Attributes:
        phi: φ, or in a common space the encoder of f_c.
        sigma: σ, or in a common space the encoder of f_d; None without the bridge.
        scaler: The scale of f_d.
        health: Gate and floor.
        feature: Which activation of D is f_d.
        updates: Updates of φ and σ in each iteration.
        updates_discriminator: Whether L_dis also trains D.

    Args:
        phi: φ.
        sigma: σ.
        parts: The rest.
    """

    predicts: ClassVar[bool] = True
    """Whether φ predicts one feature from the other."""

    phi: nn.Module
    sigma: Bridge | None

    def __init__(self, phi: nn.Module, sigma: Bridge | None, parts: AssociationParts) -> None:
        super().__init__()
        self.phi = phi
        self.sigma = sigma
        (
            self.scaler,
            self.health,
            self.feature,
            self._sides,
            self._lambda_dis,
            self.updates,
            self.updates_discriminator,
        ) = parts

    @abstractmethod
    def make_frozen_views(self) -> None:
        """Look at φ and σ as they are now; to be called when they are on their final device."""

    @abstractmethod
    def forward(self, f_c: Tensor, f_d: Tensor) -> AssociationTerms:
        """Give what φ and σ are trained on, for f_c (N×512) and the scaled f_d (N×D), both constants."""

    @abstractmethod
    def l_dis(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis (Eq. 8) of f_c (N×512) and the scaled f_d (N×D) by the frozen φ: scalar."""

    @abstractmethod
    def variance(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """What L_dis would be if φ knew the means alone: variance of its target, scalar."""

    @abstractmethod
    def pair(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
        """What φ maps, and to what, where it `predicts`."""

    @abstractmethod
    def predict(self, source: Tensor) -> Tensor:
        """Map the first of `pair` by the frozen φ."""

    def weight(self, iteration: int) -> Tensor:
        """Weight of L_dis at an iteration: λ_dis as far as warm-up and gate let it act."""
        return self._lambda_dis * self.health.weight(iteration)

    def f_d(self, output: DiscriminatorOutput) -> Tensor:
        """Pick f_d from a pass through D and scale it: N×D, float32."""
        return self.scaler(output.feature(self.feature).float())

    def l_dis_for_generator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis as it trains G: through one side or both."""
        return self.l_dis(*self._sides(f_c, f_d))

    def l_dis_for_discriminator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """L_dis as it trains D, where it does: f_c has no gradient."""
        return self.l_dis(f_c, f_d)

    @torch.no_grad()
    def observe_hr(self, f_c: Tensor, output: DiscriminatorOutput) -> HRTargets:
        """Take in HR pictures: update f_d's scale, measure φ, and give what φ and σ are trained against.

        Args:
            f_c: N×512 float32.
            output: What the updated D, or its average, gives for the same pictures.
        """
        self.scaler.observe(output.feature(self.feature).float())
        f_d = self.f_d(output)
        variance = self.variance(f_c, f_d)
        by_phi = self.l_dis(f_c, f_d)
        r2 = 1.0 - by_phi / variance
        dis_hr, level = self._levels_on_hr(f_d, by_phi, variance)
        self.health.observe(r2, level)
        return HRTargets(f_d, variance, dis_hr, r2)

    def record(self, hr: HRTargets, losses: AssociationTerms) -> dict[str, Tensor]:
        """What an iteration records of φ and σ: their losses, and how well they do."""
        found = {
            "loss/intact": losses.l_intact.detach(),
            "loss/dis_hr": hr.dis_hr,
            "association/r2": hr.r2,
            **self.health.recorded(),
            "association/r2_fit": 1.0 - losses.l_intact.detach() / hr.variance,
            "association/std_f_e": losses.f_e.detach().std(dim=0).mean(),
        }
        return found if losses.l_e is None else {**found, "loss/e": losses.l_e.detach()}

    def _levels_on_hr(self, f_d: Tensor, by_phi: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """G's L_dis on HR pictures, as recorded and as the floor takes it: there R² counts as -1 at least."""
        return by_phi, torch.minimum(by_phi, 2.0 * variance)


class _Prediction(Association):
    """An association in which φ predicts one feature from the other."""

    phi: AssociationNetwork

    def make_frozen_views(self) -> None:
        """Look at φ as it is now."""
        self._frozen_phi = Unregistered(frozen_view(self.phi))

    def forward(self, f_c: Tensor, f_d: Tensor) -> AssociationTerms:
        """Give L_intact of φ's prediction and L_e of σ's."""
        source, target = self.pair(f_c, f_d)
        if self.sigma is not None and self.phi.fuses(source) and self.sigma.layers.fuses(target):
            return AssociationTerms(*fused_association_losses(self.phi, self.sigma, source, target))
        predicted, f_e = self.phi(source)
        l_e = None if self.sigma is None else bridge_loss(self.sigma(target), f_e)
        return AssociationTerms(association_loss(predicted, target), l_e, f_e)

    def l_dis(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """Distance of φ's prediction and its target."""
        source, target = self.pair(f_c, f_d)
        phi = self._frozen_phi.network
        if phi.fuses(source):
            return fused_distillation_loss(phi, source, target)
        return distillation_loss(phi(source).f_d, target)

    def variance(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """Variance of φ's target."""
        return _variance(self.pair(f_c, f_d)[1])

    def predict(self, source: Tensor) -> Tensor:
        """Map N×S to N×T."""
        return self._frozen_phi.network(source).f_d


class RToD(_Prediction):
    """The paper's association: φ predicts f_d from f_c, σ maps f_d to f_e."""

    def pair(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
        """Give f_c and f_d."""
        return f_c, f_d


class DToR(_Prediction):
    """The other direction (Fig. 5 b): φ predicts f_c from f_d, σ maps f_c to f_e."""

    def pair(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
        """Give f_d and f_c."""
        return f_d, f_c


class CommonSpace(Association):
    """Two encoders that map f_c and f_d into one space (Fig. 5 a); L_dis is the distance there."""

    predicts = False

    phi: Bridge
    sigma: Bridge

    def make_frozen_views(self) -> None:
        """Look at both encoders as they are now."""
        self._frozen = Unregistered((frozen_view(self.phi), frozen_view(self.sigma)))

    def forward(self, f_c: Tensor, f_d: Tensor) -> AssociationTerms:
        """Give the distance of both codes; there is no bridge."""
        f_e = self.phi(f_c)
        return AssociationTerms(distillation_loss(self.sigma(f_d), f_e), None, f_e)

    def l_dis(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """Distance of both codes."""
        of_f_c, of_f_d = self._codes(f_c, f_d)
        return distillation_loss(of_f_c, of_f_d)

    def variance(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """The sum of both codes' variances, so that codes without relation explain nothing."""
        return torch.stack([_variance(code) for code in self._codes(f_c, f_d)]).sum()

    def pair(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
        """Not to be called: nothing is predicted."""
        raise NotImplementedError("a common space predicts nothing")

    def predict(self, source: Tensor) -> Tensor:
        """Not to be called: nothing is predicted."""
        raise NotImplementedError("a common space predicts nothing")

    def _codes(self, f_c: Tensor, f_d: Tensor) -> tuple[Tensor, Tensor]:
        phi, sigma = self._frozen.network
        return phi(f_c), sigma(f_d)


class MeanControl(RToD):
    """The control: L_dis compares f_d with its running mean on HR pictures instead of φ(f_c).

    φ and σ are trained as ever, so that the weight of L_dis is the same.
    """

    def l_dis_for_generator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """Distance of f_d and its mean."""
        return self._distance_to_mean(f_d)

    def l_dis_for_discriminator(self, f_c: Tensor, f_d: Tensor) -> Tensor:
        """Distance of f_d and its mean."""
        return self._distance_to_mean(f_d)

    def _levels_on_hr(self, f_d: Tensor, by_phi: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        level = self._distance_to_mean(f_d)
        return level, level

    def _distance_to_mean(self, f_d: Tensor) -> Tensor:
        return distillation_loss(self.scaler(self.scaler.mean).expand_as(f_d), f_d)


def _variance(target: Tensor) -> Tensor:
    return target.var(dim=0, unbiased=False).mean()


def build_association(
    config: AssociationConfig, lambda_dis: float, f_c_dim: int, f_d_dims: Mapping[FeatureName, int]
) -> Association:
    """Build the association that a configuration asks for: the one place that chooses its class.

    Args:
        config: Structure and use.
        lambda_dis: Weight of L_dis.
        f_c_dim: Dimension of f_c.
        f_d_dims: Dimension of every activation of D that may be f_d.
    """
    f_d_dim = f_d_dims[config.feature]
    scaler = FeatureScaler(f_d_dim, standardise=config.scale == "standardised")
    parts = AssociationParts(
        scaler,
        build_health(config),
        config.feature,
        _SIDES[config.dis_gradient],
        lambda_dis,
        config.updates_per_iteration,
        config.dis_updates_discriminator,
    )

    def encoder(dim: int) -> Bridge:
        return Bridge(dim, config.hidden, config.latent)

    if config.direction == "common-space":
        return CommonSpace(encoder(f_c_dim), encoder(f_d_dim), parts)
    source, target = (f_c_dim, f_d_dim) if config.direction == "r-to-d" else (f_d_dim, f_c_dim)
    phi = AssociationNetwork(source, target, config.hidden, config.latent, config.output_gamma)
    sigma = encoder(target) if config.bridge else None
    if config.predictor == "mean":
        return MeanControl(phi, sigma, parts)
    return RToD(phi, sigma, parts) if config.direction == "r-to-d" else DToR(phi, sigma, parts)


def build_health(config: AssociationConfig) -> AssociationHealth:
    """Build the gate and the floor of L_dis."""
    return AssociationHealth(config.dis_warmup, config.dis_gate == "r2", config.dis_floor == "hr", config.gate_decay)
