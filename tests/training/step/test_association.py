"""Each association against its equations, its gate and floor, and where the gradient of L_dis goes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from intact_fast.config.options import AssociationConfig, Config
from intact_fast.training.step.association import Association, build_association, build_health
from intact_fast.training.step.objectives import AssociationTargets, Autocast
from training_cases import association_of, batch_of, networks_of, small

F_C, F_D = 12, 9


def build(**changes: object) -> Association:
    config = AssociationConfig(hidden=(8, 6), latent=4, **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    association = build_association(config, 0.5, F_C, {"head": F_D, "pool": 5, "conv5": 3})
    association.make_frozen_views()
    # running statistics that are none of a batch's own
    for _ in range(2):
        association.train()(torch.randn(16, F_C), torch.randn(16, F_D))
    return association


def features(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, F_C, generator=generator), torch.randn(6, F_D, generator=generator)


def mse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


def test_the_paper_predicts_f_d_from_f_c() -> None:
    association, (f_c, f_d) = build(), features()
    phi, sigma = copy.deepcopy(association.phi), copy.deepcopy(association.sigma)
    losses = association.train()(f_c, f_d)
    predicted, f_e = phi.train()(f_c)
    torch.testing.assert_close(losses.l_intact, mse(predicted, f_d))
    torch.testing.assert_close(losses.l_e, mse(sigma.train()(f_d), f_e))
    torch.testing.assert_close(losses.total, losses.l_intact + losses.l_e)
    torch.testing.assert_close(association.l_dis(f_c, f_d), mse(association.phi.eval()(f_c).f_d, f_d))
    torch.testing.assert_close(association.variance(f_c, f_d), f_d.var(dim=0, unbiased=False).mean())


def test_d_to_r_predicts_f_c_from_f_d() -> None:
    association, (f_c, f_d) = build(direction="d-to-r"), features()
    phi, sigma = copy.deepcopy(association.phi), copy.deepcopy(association.sigma)
    losses = association.train()(f_c, f_d)
    predicted, f_e = phi.train()(f_d)
    torch.testing.assert_close(losses.l_intact, mse(predicted, f_c))
    torch.testing.assert_close(losses.l_e, mse(sigma.train()(f_c), f_e))
    torch.testing.assert_close(association.l_dis(f_c, f_d), mse(association.phi.eval()(f_d).f_d, f_c))
    torch.testing.assert_close(association.variance(f_c, f_d), f_c.var(dim=0, unbiased=False).mean())


def test_a_common_space_compares_two_codes() -> None:
    association, (f_c, f_d) = build(direction="common-space"), features()
    of_f_c, of_f_d = copy.deepcopy(association.phi), copy.deepcopy(association.sigma)
    losses = association.train()(f_c, f_d)
    torch.testing.assert_close(losses.l_intact, mse(of_f_c.train()(f_c), of_f_d.train()(f_d)))
    assert losses.l_e is None
    assert losses.total is losses.l_intact
    codes = association.phi.eval()(f_c), association.sigma.eval()(f_d)
    torch.testing.assert_close(association.l_dis(f_c, f_d), mse(*codes))
    variance = sum(code.var(dim=0, unbiased=False).mean() for code in codes)
    torch.testing.assert_close(association.variance(f_c, f_d), variance)
    assert not association.predicts


def test_without_a_bridge_there_is_no_l_e() -> None:
    association = build(bridge=False)
    losses = association.train()(*features())
    assert association.sigma is None
    assert losses.l_e is None
    assert losses.total is losses.l_intact


def test_l_dis_follows_the_training_of_phi() -> None:
    association, (f_c, f_d) = build(), features()
    before = association.l_dis(f_c, f_d).item()
    optimiser = torch.optim.Adam(association.parameters(), lr=1e-2, fused=True)
    for _ in range(100):
        optimiser.zero_grad()
        association.train()(f_c, f_d).total.backward()
        optimiser.step()
    assert association.l_dis(f_c, f_d).item() < 0.5 * before


def test_weight_is_lambda_dis_times_the_gate() -> None:
    association = build(dis_warmup=3, dis_gate="r2", gate_decay=0.5)
    association.health.observe(torch.tensor(0.8), torch.tensor(1.0))
    assert association.weight(2).item() == 0.0
    assert association.weight(3).item() == pytest.approx(0.5 * 0.4)


def test_feature_matching_pulls_f_d_to_its_mean(tiny_config: Config) -> None:
    config = small(tiny_config, predictor="mean", scale="standardised", feature="pool")
    networks = networks_of(config)
    assert networks.association is not None
    for i in range(3):
        networks.association.scaler.observe(networks.discriminator(batch_of(i).x_h).feature("pool"))
    f_c, f_d = torch.randn(6, 512), torch.randn(6, 8)
    # standardised, the mean of HR pictures is 0
    association = association_of(networks)
    torch.testing.assert_close(association.l_dis_for_generator(f_c, f_d), f_d.square().mean())
    torch.testing.assert_close(association.l_dis_for_discriminator(f_c, f_d), f_d.square().mean())


def test_l_dis_of_hr_pictures_is_what_it_is_of_sr_ones(tiny_config: Config) -> None:
    """In the control, too: to the mean, where φ's would say nothing beside it."""
    for predictor in ("phi", "mean"):
        networks = networks_of(small(tiny_config, predictor=predictor, scale="standardised", feature="pool"))
        batch = batch_of(0)
        f_c = networks.critic.embed(batch.x_h).detach()
        association = association_of(networks)
        targets = AssociationTargets(networks, association, Autocast(torch.device("cpu"), None))(batch.x_h, f_c)
        expected = association.l_dis_for_generator(f_c, targets.f_d)
        torch.testing.assert_close(targets.dis_hr, expected)


@pytest.mark.parametrize(("side", "constant"), [("f_d", "f_c"), ("f_c", "f_d")])
def test_l_dis_can_train_g_through_one_side(tiny_config: Config, side: str, constant: str) -> None:
    association = association_of(networks_of(small(tiny_config, dis_gradient=side)))
    sides = {"f_c": torch.randn(6, 512, requires_grad=True), "f_d": torch.randn(6, 10, requires_grad=True)}
    loss = association.l_dis_for_generator(sides["f_c"], sides["f_d"])
    torch.testing.assert_close(loss, association.l_dis(sides["f_c"], sides["f_d"]))
    loss.backward()
    assert sides[constant].grad is None
    assert sides[side].grad is not None


def test_weight_of_l_dis() -> None:
    health = build_health(AssociationConfig(dis_warmup=10, dis_gate="r2", gate_decay=0.5))
    health.observe(torch.tensor(-50.0), torch.tensor(1.0))
    assert health.r2.item() == -0.5, "one bad batch counts as -1 at most"
    assert health.weight(10).item() == 0.0, "a useless association has no say"
    health.observe(torch.tensor(0.9), torch.tensor(1.0))
    assert health.weight(10).item() == pytest.approx(0.2)
    assert health.weight(9).item() == 0.0, "warm-up"
    assert build_health(AssociationConfig()).weight(0).item() == 1.0


def test_floor_of_l_dis() -> None:
    health = build_health(AssociationConfig(dis_floor="hr", gate_decay=0.5))
    for dis_hr in (0.8, 0.4):
        health.observe(torch.tensor(0.0), torch.tensor(dis_hr))
    assert health.floor.item() == pytest.approx(0.6), "the first batch counts in full"
    dis = torch.tensor([0.5, 0.9], requires_grad=True)
    acting = health.acting(dis)
    torch.testing.assert_close(acting, torch.tensor([0.0, 0.3]))
    (gradient,) = torch.autograd.grad(acting.sum(), dis)
    assert gradient.tolist() == [0.0, 1.0], "no farther down than HR pictures are"
    plain = build_health(AssociationConfig())
    plain.observe(torch.tensor(0.0), torch.tensor(0.8))
    assert plain.acting(dis) is dis
    assert plain.state_dict().keys() == {"r2"}, "checkpoints without a floor stay as they are"


def test_gradients_of_l_dis_reach_g_alone(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(config)
    batch = batch_of(0)
    fake = networks.generator.train()(batch.x_l)
    output = networks.frozen_discriminator(fake)
    association = association_of(networks)
    predicted = association.predict(networks.critic.embed(fake))
    (predicted - association.f_d(output)).square().mean().backward()
    assert all(p.grad is not None for p in networks.generator.parameters())
    assert networks.association is not None
    for part in (networks.critic, networks.discriminator, networks.association):
        assert all(p.grad is None for p in part.parameters())


def test_l_dis_gradient_matches_finite_differences(tiny_config: Config) -> None:
    """End to end through C, φ and D in double precision."""
    networks = networks_of(small(tiny_config, feature="head"))
    critic, phi, d = (
        copy.deepcopy(m).double()
        for m in (networks.critic, association_of(networks).phi.eval(), networks.discriminator)
    )

    def l_dis(x: torch.Tensor) -> torch.Tensor:
        return (phi(critic.embed(x)).f_d - d(x).head).square().mean()

    x = batch_of(1, size=3).x_h.double().requires_grad_()
    (gradient,) = torch.autograd.grad(l_dis(x), x)
    direction = torch.randn_like(x)
    eps = 1e-6
    with torch.no_grad():
        numeric = (l_dis(x + eps * direction) - l_dis(x - eps * direction)) / (2 * eps)
    assert (gradient * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-4)
