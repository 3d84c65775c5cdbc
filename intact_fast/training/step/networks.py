"""All networks of one training, their frozen views and their averages."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from intact_fast.config.options import Config, QueryCritic
from intact_fast.errors import UserError
from intact_fast.models import (
    AnyGenerator,
    Discriminator,
    Generator,
    LightGenerator,
    NoGenerator,
    OSNet,
    frozen_view,
    select_kernels,
)
from intact_fast.models.layout import channels_last
from intact_fast.models.unregistered import Unregistered
from intact_fast.training.step.association import Association, build_association
from intact_fast.training.step.averages import Average, averaged_copy
from intact_fast.training.step.measures import gradient_norm

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Networks(nn.Module):
    """G, D, C, C_q and the association, in one module so that one state dict holds them.

    Attributes:
        generator: G, or what stands in its place.
        generator_ema: Its moving average; None without ``generator.ema_decay``.
        discriminator: D.
        critic: C, frozen and in eval mode.
        query_critic: C_q, a copy of C that is trained for queries, with C's classifier and running statistics; None
            without ``critic.query``.
        query_critic_ema: Its moving average, as of G.
        association: φ, σ and what surrounds them; None when ``loss.lambda_dis`` is 0.
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
        self.uses_discriminator = config.loss.lambda_g != 0 or config.loss.lambda_dis != 0
        self.generator = channels_last(_with_statistics(build_generator(config), sync_bn), device)
        discriminator = build_discriminator(config, critic.feature_dim)
        self.discriminator = channels_last(_with_statistics(discriminator, sync_bn), device)
        self._condition = config.discriminator.condition
        self.critic = channels_last(critic, device).requires_grad_(False).eval()
        self.query_critic: OSNet | None = None if config.critic.query == "off" else _query_critic(self.critic)
        self.generator_ema: AnyGenerator | NoGenerator | None = None
        self.query_critic_ema: OSNet | None = None
        self.association: Association | None = None
        self.discriminator_ema: Discriminator | None = None
        self._serving_averages: list[Average] = []
        self._discriminator_average: Average | None = None
        if (decay := config.generator.ema_decay) is not None:
            self.generator_ema = self._averaged(self.generator, decay)
            if self.query_critic is not None:
                self.query_critic_ema = self._averaged(self.query_critic, decay)
        if config.loss.lambda_dis != 0:
            dims = critic.feature_dim, self.discriminator.feature_dims
            association = build_association(config.association, config.loss.lambda_dis, *dims)
            self.association = _with_statistics(association, sync_bn).to(device)
            if config.association.target == "ema":
                self.discriminator_ema = copy.deepcopy(self.discriminator).requires_grad_(False)
                self._discriminator_average = Average(
                    list(self.discriminator_ema.parameters()),
                    list(self.discriminator.parameters()),
                    config.association.ema_decay,
                )
        select_kernels(self, config.training.kernels)
        self._sync_bn = sync_bn
        self.make_frozen_views()

    def make_frozen_views(self) -> None:
        """Look at D, φ and σ as they are now; to be called again where their tensors or modules were replaced."""
        self._frozen_discriminator = Unregistered(frozen_view(self.discriminator))
        # D has no running statistics, and a SyncBN synchronises in train mode alone
        self._frozen_discriminator.network.train(self._sync_bn)
        if self.association is not None:
            self.association.make_frozen_views()

    def _averaged(self, network: ModuleT, decay: float) -> ModuleT:
        """Copy a network, and let the copy follow it as a moving average."""
        average, moving = averaged_copy(network, decay)
        self._serving_averages.append(moving)
        return average

    @property
    def serving_generator(self) -> AnyGenerator | None:
        """The G that is validated and evaluated; None where there is none."""
        serving = self.generator if self.generator_ema is None else self.generator_ema
        return None if isinstance(serving, NoGenerator) else serving

    @property
    def serving_query_critic(self) -> OSNet | None:
        """The C_q that is validated and evaluated; None where C sees the queries, too."""
        return self.query_critic if self.query_critic_ema is None else self.query_critic_ema

    @property
    def critic_of_queries(self) -> OSNet:
        """The critic that sees G's pictures: C_q where there is one, else C."""
        return self.critic if self.query_critic is None else self.query_critic

    @property
    def frozen_discriminator(self) -> Discriminator:
        """D as a critic of G; follows D's updates."""
        return self._frozen_discriminator.network

    @property
    def target_discriminator(self) -> Discriminator:
        """The frozen D whose activation is f_d."""
        return self.discriminator_ema if self.discriminator_ema is not None else self.frozen_discriminator

    @property
    def conditions_discriminator(self) -> bool:
        """Whether D judges a picture together with f_c of an HR picture."""
        return self.uses_discriminator and self._condition != "none"

    def condition(self, f_c: Tensor) -> Tensor | None:
        """What D is given with each of a batch's pictures, real or fake.

        Args:
            f_c: N×512 float32, what C sees of the HR pictures.

        Returns:
            N×512: f_c of each one's own HR picture, or of the one before it in the batch; None for a D without it.
        """
        if self._condition == "none":
            return None
        return f_c if self._condition == "own" else f_c.roll(1, 0)

    def update_serving_averages(self) -> None:
        """Move the averaged G, running statistics included, and C_q towards G and C_q by one iteration."""
        for average in self._serving_averages:
            average.move()

    def take_turns(self, query: QueryCritic, iteration: int) -> None:
        """Where C_q and G are trained in turn, drop the gradients of the one whose turn it is not, which then rests."""
        if query == "alternating":
            resting = self.generator if iteration % 2 else self.query_critic
            assert resting is not None
            resting.zero_grad(set_to_none=True)

    def query_side_gradients(self) -> dict[str, Tensor]:
        """Measure the length of the gradients of G and C_q, device scalars by their names in a record."""
        found = {"generator": self.generator, "query_critic": self.query_critic}
        return {
            f"gradient/{name}": gradient_norm(network)
            for name, network in found.items()
            if network is not None and any(p.grad is not None for p in network.parameters())
        }

    def update_discriminator_average(self) -> None:
        """Move the averaged D towards D by one iteration."""
        if self._discriminator_average is not None:
            self._discriminator_average.move()


def _with_statistics(network: ModuleT, synchronised: bool) -> ModuleT:
    """Let batch statistics be those of all processes, where that is asked for."""
    if not synchronised:
        return network
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def _query_critic(critic: OSNet) -> OSNet:
    """Copy C to be trained for queries.

    Its running statistics stay: those of a few pictures of one resolution are worse. Its classifier stays, so that
    L_id asks for features where C has them.
    """
    query_critic = copy.deepcopy(critic).requires_grad_(True).eval()
    query_critic.classifier.requires_grad_(False)
    return query_critic


def build_generator(config: Config, size: tuple[int, int] | None = None) -> AnyGenerator | NoGenerator:
    """Build G and check that the input size fits it.

    Args:
        config: Its form, and the input size.
        size: Another (height, width).

    Raises:
        UserError: Height or width is not a multiple of G's total stride.
    """
    g = config.generator
    generator: AnyGenerator | NoGenerator
    if g.arch == "none":
        generator, remedy = NoGenerator(), ""
    elif g.arch == "light":
        generator = LightGenerator(g.light_width, g.light_blocks, g.light_factor, g.light_reparameterised)
        remedy = "another --generator.light-factor"
    else:
        generator = Generator(g.widths, g.blocks_per_group, g.skip, g.global_residual)
        remedy = "fewer --generator.widths"
    check_size(size or (config.data.height, config.data.width), generator.stride, remedy)
    return generator


def check_size(size: tuple[int, int], stride: int, remedy: str) -> None:
    """Raise UserError unless (height, width) are multiples of ``stride``."""
    for name, value in zip(("height", "width"), size, strict=True):
        if value <= 0 or value % stride:
            nearest = max(stride, round(value / stride) * stride)
            raise UserError(f"--data.{name} {value}: G needs a multiple of {stride}; use {nearest}, or {remedy}")


def build_discriminator(config: Config, f_c_dim: int) -> Discriminator:
    """Build D for the configured input size, and for f_c where it judges pictures together with that."""
    d = config.discriminator
    condition_dim = None if d.condition == "none" else f_c_dim
    return Discriminator(d.widths, d.hidden, d.head, (config.data.height, config.data.width), condition_dim)
