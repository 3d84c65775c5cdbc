"""The shared step against the naive one, and who is trained by what."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from intact_fast.config.options import Config, LossConfig
from intact_fast.data.batches import NO_IDENTITY
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.naive import NaiveStep
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import Optimisers, build_optimisers
from intact_fast.training.step.shared import SharedStep
from training_cases import SINGLE_PROCESS, association_of, batch_of, gradient_descent, networks_of, small

VARIANTS: dict[str, dict[str, object]] = {
    "literal": {},
    "standardised": {"feature": "pool", "scale": "standardised", "dis_gate": "r2", "gate_decay": 0.5},
    "average": {"feature": "conv5", "target": "ema", "ema_decay": 0.9, "updates_per_iteration": 2},
    "warm-up": {"dis_warmup": 2, "output_gamma": 0.0},
    "both": {"dis_updates_discriminator": True},
    "d-to-r": {"direction": "d-to-r", "scale": "standardised"},
    "common space": {"direction": "common-space", "dis_updates_discriminator": True},
    "no bridge": {"bridge": False},
    "feature matching": {"predictor": "mean", "scale": "standardised", "feature": "pool"},
    "feature matching, raw": {"predictor": "mean"},
    "feature matching, both": {"predictor": "mean", "dis_updates_discriminator": True},
    "floor": {"dis_floor": "hr", "gate_decay": 0.5},
    "feature matching, floor": {"predictor": "mean", "dis_floor": "hr", "gate_decay": 0.5},
    "gradient f_d": {"dis_gradient": "f_d"},
    "gradient f_c": {"dis_gradient": "f_c"},
}


def optimisers_of(networks: Networks, config: Config) -> Optimisers:
    """Adam, but where φ predicts f_c: elements of f_c that are 0 for every picture have vanishing gradients."""
    if config.association.direction == "d-to-r":
        return gradient_descent(networks)
    return build_optimisers(networks, config.optimiser)


@pytest.mark.parametrize("variant", VARIANTS)
def test_shared_equals_naive(tiny_config: Config, variant: str) -> None:
    config = small(tiny_config, **VARIANTS[variant])
    results = []
    for kind in ("shared", "naive"):
        networks = networks_of(config)
        optimisers = optimisers_of(networks, config)
        step = (
            SharedStep(networks, optimisers, config, SINGLE_PROCESS)
            if kind == "shared"
            else NaiveStep(networks, optimisers, config)
        )
        records = [step(batch_of(i), i, detailed=i == 2) for i in range(4)]
        results.append((networks, records))
    (shared, shared_records), (naive, naive_records) = results
    for ours, reference in zip(shared_records, naive_records, strict=True):
        assert ours.keys() == reference.keys()
        for name in ours:
            # a cosine is a small difference of products: rounding shows at its own scale, which is 1
            atol = 1e-3 if name.startswith("cosine/") else 2e-5
            torch.testing.assert_close(ours[name], reference[name], rtol=2e-4, atol=atol, msg=lambda m, n=name: n + m)
    expected = naive.state_dict()
    for name, value in shared.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
    x = batch_of(50)
    with torch.no_grad():
        torch.testing.assert_close(shared.generator.eval()(x.x_l), naive.generator.eval()(x.x_l), rtol=1e-3, atol=1e-4)
        f_c = shared.critic.embed(x.x_h)
        ours, reference = association_of(shared), association_of(naive)
        f_d = ours.f_d(shared.discriminator(x.x_h))
        torch.testing.assert_close(ours.l_dis(f_c, f_d), reference.l_dis(f_c, f_d), rtol=1e-3, atol=1e-4)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(before: dict[str, torch.Tensor], module: nn.Module) -> None:
    after = module.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert not changed, f"changed: {changed}"


def test_the_critic_is_never_touched(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(config)
    before = snapshot(networks.critic)
    step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)
    for i in range(3):
        step(batch_of(i), i, detailed=True)
    assert_same(before, networks.critic)
    assert all(p.grad is None for p in networks.critic.parameters())


def test_each_update_moves_only_its_own_networks(tiny_config: Config) -> None:
    config = small(tiny_config)
    networks = networks_of(config)
    step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)
    batch = batch_of(0)
    assert networks.association is not None
    parts = {"G": networks.generator, "D": networks.discriminator, "φ": networks.association}
    fake = networks.generator.train()(batch.x_l)

    def moved(run: object) -> set[str]:
        before = {name: snapshot(part) for name, part in parts.items()}
        for part in parts.values():
            part.zero_grad()
        run()  # type: ignore[operator]
        with_gradient = {name for name, part in parts.items() if any(p.grad is not None for p in part.parameters())}
        changed = {
            name
            for name, part in parts.items()
            if any(not torch.equal(before[name][key], value) for key, value in part.state_dict().items())
        }
        assert with_gradient == changed
        return changed

    hr = step.critic_features(batch.x_h)
    assert moved(lambda: step._update_discriminator(batch.x_h, fake.detach(), None, 0, True)) == {"D"}
    assert moved(lambda: step._update_association(association_of(networks), batch, hr.f_c, True)) == {"φ"}
    assert moved(lambda: step._update_generator(batch, fake, hr, 0, True)) == {"G"}


def test_a_planted_violation_is_caught(tiny_config: Config) -> None:
    """The checks above must notice a critic that is trained by mistake."""
    config = small(tiny_config)
    networks = networks_of(config)
    before = snapshot(networks.critic)
    networks.critic.requires_grad_(True)
    optimisers = build_optimisers(networks, config.optimiser)
    optimisers["generator"].add_param_group({"params": list(networks.critic.parameters())})
    step = SharedStep(networks, optimisers, config, SINGLE_PROCESS)
    step(batch_of(0), 0, detailed=False)
    with pytest.raises(AssertionError, match="changed"):
        assert_same(before, networks.critic)


def test_detailed_records_do_not_change_the_updates(tiny_config: Config) -> None:
    config = small(tiny_config)
    states = []
    for detailed in (False, True):
        networks = networks_of(config)
        step = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)
        for i in range(2):
            record = step(batch_of(i), i, detailed)
        states.append(snapshot(networks))
    assert_same(states[0], networks)
    assert {
        "gradient/fake_mse",
        "gradient/fake_gan",
        "gradient/fake_id",
        "gradient/fake_dis",
    } <= record.keys()


def test_lambda_dis_zero_leaves_the_association_out(tiny_config: Config) -> None:
    config = replace(small(tiny_config), loss=LossConfig(lambda_dis=0.0))
    networks = networks_of(config)
    optimisers = build_optimisers(networks, config.optimiser)
    record = SharedStep(networks, optimisers, config, SINGLE_PROCESS)(batch_of(0), 0, detailed=True)
    assert networks.association is None
    assert "association" not in optimisers
    assert not any("association" in name or "dis_" in name for name in record)
    naive = NaiveStep(networks_of(config), build_optimisers(networks_of(config), config.optimiser), config)
    assert naive(batch_of(0), 0, detailed=True).keys() == record.keys()


def test_without_gan_and_association_d_is_left_alone(tiny_config: Config) -> None:
    config = replace(small(tiny_config), loss=LossConfig(lambda_g=0.0, lambda_dis=0.0))
    networks = networks_of(config)
    before = snapshot(networks.discriminator)
    record = SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)(
        batch_of(0), 0, True
    )
    assert_same(before, networks.discriminator)
    assert not any("gan" in name or "discriminator" in name for name in record)
    reference = networks_of(config)
    naive = NaiveStep(reference, build_optimisers(reference, config.optimiser), config)
    for name, value in naive(batch_of(0), 0, detailed=True).items():
        torch.testing.assert_close(record[name], value, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["shared", "naive"])
def test_pictures_without_identity_train_all_but_l_id(tiny_config: Config, kind: str) -> None:
    """Where nobody in a batch has one, the training is that without L_id."""
    states = []
    for lambda_c in (0.3, 0.0):
        config = small(tiny_config)
        config = replace(config, loss=replace(config.loss, lambda_c=lambda_c, lambda_f=1.0))
        networks = networks_of(config)
        optimisers = build_optimisers(networks, config.optimiser)
        step = (
            SharedStep(networks, optimisers, config, SINGLE_PROCESS)
            if kind == "shared"
            else NaiveStep(networks, optimisers, config)
        )
        for i in range(2):
            batch = batch_of(i)
            record = step(replace(batch, label=torch.full_like(batch.label, NO_IDENTITY)), i, detailed=i == 1)
            assert record["loss/id"] == 0
            assert all(value.isfinite() for value in record.values())
        states.append(networks.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_average_of_d_moves_slowly(tiny_config: Config) -> None:
    config = small(tiny_config, target="ema", ema_decay=0.75)
    networks = networks_of(config)
    first = copy.deepcopy(networks.discriminator)
    SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS)(batch_of(0), 0, False)
    assert networks.discriminator_ema is not None
    trios = zip(
        first.parameters(),
        networks.discriminator.parameters(),
        networks.discriminator_ema.parameters(),
        strict=True,
    )
    for old, new, average in trios:
        torch.testing.assert_close(average, 0.75 * old + 0.25 * new)


def train_with(config: Config, kernels: str, iterations: int) -> tuple[Networks, list[Record]]:
    config = replace(config, training=replace(config.training, kernels=kernels))  # type: ignore[arg-type]
    networks = networks_of(config)
    step = SharedStep(networks, gradient_descent(networks), config, SINGLE_PROCESS)
    return networks, [step(batch_of(i), i, detailed=False) for i in range(iterations)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_operators_give_the_same_training(tiny_config: Config, variant: str) -> None:
    config = small(tiny_config, **VARIANTS[variant])
    # more iterations would compare how two roundings grow, which depends on the processor
    (plain, plain_records), (fused, fused_records) = (
        train_with(config, kernels, iterations=3) for kernels in ("torch", "triton")
    )
    for ours, reference in zip(fused_records, plain_records, strict=True):
        assert ours.keys() == reference.keys()
        for name in ours:
            torch.testing.assert_close(
                ours[name], reference[name], rtol=5e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
    expected = plain.state_dict()
    for name, value in fused.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture
def graphs_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile as far as the graphs of forward and backward; generating code for them takes minutes on a CPU."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def compiled_step(networks: Networks, config: Config) -> SharedStep:
    return SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS, compiled=True)


def assert_same_training(config: Config, networks: Networks, step: SharedStep, reference: Networks) -> None:
    """The given step against an eager one, through the warm-up of L_dis and one detailed iteration."""
    plain = SharedStep(reference, build_optimisers(reference, config.optimiser), config, SINGLE_PROCESS)
    for i in range(5):
        ours, expected = (each(batch_of(i), i, detailed=i == 3) for each in (step, plain))
        for name in expected:
            torch.testing.assert_close(
                ours[name], expected[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
    expected_state = reference.state_dict()
    for name, value in networks.state_dict().items():
        torch.testing.assert_close(value, expected_state[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.usefixtures("graphs_without_code")
@pytest.mark.parametrize("kernels", ["torch", "triton"])
def test_compiled_roles_equal_eager_and_never_compile_again(tiny_config: Config, kernels: str) -> None:
    """That OSNet is one graph as well, its own test says."""
    config = small(tiny_config, target="ema", dis_warmup=2)
    config = replace(config, training=replace(config.training, kernels=kernels))  # type: ignore[arg-type]
    networks, reference = (networks_of(config, small_critic=True) for _ in range(2))
    step = compiled_step(networks, config)
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    assert_same_training(config, networks, step, reference)
    # G forward, D, f_c, targets, φ and σ, G's loss
    assert counters["unique_graphs"] - before == 6
    networks.generator.eval()(batch_of(0).x_l)
    step(batch_of(9), 9, detailed=False)
    assert counters["unique_graphs"] - before == 6


@pytest.mark.usefixtures("graphs_without_code")
def test_a_planted_stale_graph_is_caught(tiny_config: Config) -> None:
    """A compiled G loss that kept D's weights of its first iteration must not pass for equal."""
    config = small(tiny_config)
    networks, reference = (networks_of(config, small_critic=True) for _ in range(2))
    step = compiled_step(networks, config)
    networks._frozen_discriminator.network = copy.deepcopy(networks.frozen_discriminator)
    with pytest.raises(AssertionError):
        assert_same_training(config, networks, step, reference)


def test_fused_operators_are_really_used(tiny_config: Config) -> None:
    """In the forward passes of all networks and back."""
    with torch.profiler.profile() as profile:
        train_with(small(tiny_config), "triton", iterations=1)
    used = {event.key for event in profile.key_averages() if event.key.startswith("intact_fast::")}
    assert used == {
        f"intact_fast::{name}{part}"
        for name in ("pixel_shuffle_act", "batch_norm_act", "depthwise_norm_act", "linear_bn_act", "linear_bn_mse")
        for part in ("", "_backward")
    }
