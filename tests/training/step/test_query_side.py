"""What learns to see LR pictures: G in its forms, C_q, or both, with the feature term."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from intact_fast.config.options import Config
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.naive import NaiveStep
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import LearningRates, build_optimisers
from intact_fast.training.step.shared import SharedStep
from training_cases import CPU, SINGLE_PROCESS, batch_of, networks_of, small, task_of

C_Q_ALONE = {"generator.arch": "none", "loss.lambda_g": 0.0, "loss.lambda_dis": 0.0, "critic.query": "joint"}
FORMS: dict[str, dict[str, Any]] = {
    "feature": {},
    "cosine": {"loss.feature": "cosine"},
    "map": {"loss.feature": "map"},
    "no L_id": {"loss.lambda_c": 0.0},
    "light G": {"generator.arch": "light", "loss.lambda_g": 0.0, "loss.lambda_dis": 0.0},
    "light G in branches": {"generator.arch": "light", "generator.light_reparameterised": True},
    "C_q alone": C_Q_ALONE,
    "C_q with G": {"critic.query": "joint"},
    "C_q in turn with a light G": {"critic.query": "alternating", "generator.arch": "light"},
    "C_q and an averaged G": {"critic.query": "joint", "generator.ema_decay": 0.5, "loss.lambda_dis": 0.0},
    "C_q and D learns from L_dis": {"critic.query": "joint", "association.dis_updates_discriminator": True},
}


def changed(config: Config, **changes: Any) -> Config:
    config = small(config)
    for name, value in {
        "loss.lambda_f": 1.0,
        "generator.light_width": 8,
        "generator.light_blocks": 1,
        **changes,
    }.items():
        section, option = name.split(".")
        config = replace(config, **{section: replace(getattr(config, section), **{option: value})})  # type: ignore[arg-type]
    return config


def steps_of(config: Config, networks: Networks, kind: str, **options: Any) -> SharedStep | NaiveStep:
    optimisers = build_optimisers(networks, config.optimiser)
    if kind == "naive":
        return NaiveStep(networks, optimisers, config)
    return SharedStep(networks, optimisers, config, SINGLE_PROCESS, **options)


@pytest.mark.parametrize("form", FORMS)
def test_shared_equals_naive(tiny_config: Config, form: str) -> None:
    config = changed(tiny_config, **FORMS[form])
    found: list[tuple[Networks, list[Record]]] = []
    for kind in ("shared", "naive"):
        networks = networks_of(config)
        step = steps_of(config, networks, kind)
        found.append((networks, [step(batch_of(i), i, detailed=i == 2) for i in range(4)]))
    (shared, ours), (naive, reference) = found
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            atol = 1e-3 if name.startswith("cosine/") else 2e-5
            torch.testing.assert_close(mine[name], theirs[name], rtol=5e-4, atol=atol, msg=lambda m, n=name: n + m)
    expected = naive.state_dict()
    for name, value in shared.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def moved(networks: Networks, step: SharedStep, iterations: range) -> set[str]:
    before = copy.deepcopy(networks.state_dict())
    for i in iterations:
        step(batch_of(i), i, detailed=False)
    after = networks.state_dict()
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def test_c_q_learns_and_c_does_not(tiny_config: Config) -> None:
    config = changed(tiny_config, **C_Q_ALONE)
    networks = networks_of(config)
    assert networks.query_critic is not None
    statistics = {name: value.clone() for name, value in networks.query_critic.named_buffers()}
    classifier = networks.query_critic.classifier.weight.clone()  # type: ignore[union-attr,operator]
    step = steps_of(config, networks, "shared")
    assert isinstance(step, SharedStep)
    assert moved(networks, step, range(3)) == {"query_critic"}
    for name, value in networks.query_critic.named_buffers():
        assert torch.equal(value, statistics[name]), name
    assert torch.equal(networks.query_critic.classifier.weight, classifier)  # type: ignore[arg-type]


def test_who_learns_in_turn(tiny_config: Config) -> None:
    changes = {"critic.query": "alternating", "generator.arch": "light", "loss.lambda_g": 0.0, "loss.lambda_dis": 0.0}
    config = changed(tiny_config, **changes)
    networks = networks_of(config)
    step = steps_of(config, networks, "shared")
    assert isinstance(step, SharedStep)
    assert [moved(networks, step, range(i, i + 1)) for i in range(4)] == [{"generator"}, {"query_critic"}] * 2


def test_an_average_follows_g_and_c_q(tiny_config: Config) -> None:
    config = changed(tiny_config, **{"critic.query": "joint", "generator.ema_decay": 0.5})
    networks = networks_of(config)
    averages = networks.generator_ema, networks.query_critic_ema
    assert networks.serving_generator is averages[0]
    assert networks.serving_query_critic is averages[1]
    step = steps_of(config, networks, "shared")
    sources = networks.generator, networks.query_critic
    for name, source, average in zip(("tail.weight", "conv1.conv.weight"), sources, averages, strict=True):
        assert source is not None
        assert average is not None
        before, moving = (network.get_parameter(name).detach().clone() for network in (source, average))
        step(batch_of(0), 0, False)
        after = source.get_parameter(name)
        assert not torch.equal(before, after)
        torch.testing.assert_close(average.get_parameter(name), (moving + after.detach()) / 2)


def test_the_table_serves_the_feature_term(tiny_config: Config) -> None:
    """Looked up or computed, the target is the same, without φ as well."""
    config = changed(tiny_config, **C_Q_ALONE)
    states = []
    for with_table in (False, True):
        networks = networks_of(config)
        table = FeatureTable(6, 512, CPU) if with_table else None
        step = steps_of(config, networks, "shared", table=table)
        for i in range(3):
            batch = batch_of(0)
            batch.view = 2 * batch.index
            batch.view_on_host = batch.view.numpy()
            step(batch, i, False)
        states.append(networks.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_16_bits_learn(tiny_config: Config) -> None:
    config = changed(tiny_config, **FORMS["C_q with G"])
    networks = networks_of(config)
    step = steps_of(config, networks, "shared", autocast=torch.bfloat16)
    before = copy.deepcopy(networks.state_dict())
    record = step(batch_of(0), 0, True)
    assert all(value.isfinite() for value in record.values())
    assert record["loss/feature"].dtype == torch.float32
    assert any(not torch.equal(v, before[n]) for n, v in networks.state_dict().items() if n.startswith("query_critic."))


def test_compiled_equals_eager(tiny_config: Config) -> None:
    changes = {**FORMS["C_q in turn with a light G"], "loss.lambda_g": 0.0, "loss.lambda_dis": 0.0}
    config = changed(tiny_config, **changes)
    found = []
    for compiled in (False, True):
        networks = networks_of(config, small_critic=True)
        step = steps_of(config, networks, "shared", compiled=compiled)
        records = [step(batch_of(i), i, detailed=False) for i in range(3)]
        found.append((records, networks.state_dict()))
    (eager, expected), (compiled_records, state) = found
    for mine, theirs in zip(compiled_records, eager, strict=True):
        for name, value in mine.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_learning_rates_go_down_along_half_a_cosine(tiny_config: Config) -> None:
    config = changed(tiny_config, **FORMS["C_q with G"])
    for capturable in (False, True):
        optimiser = build_optimisers(networks_of(config), config.optimiser, capturable)["generator"]
        rates = LearningRates(optimiser, "cosine", 100)
        found = []
        for iteration in (0, 50, 99):
            rates.set(iteration)
            found.append([float(group["lr"]) for group in optimiser.param_groups])
        for share, (of_g, of_c_q) in zip((1.0, 0.5, 0.00024672), found, strict=True):
            assert of_g == pytest.approx(share * config.optimiser.generator_learning_rate, rel=1e-3)
            assert of_c_q == pytest.approx(share * 3e-4, rel=1e-3)


def test_a_training_goes_on_bit_for_bit(tiny_config: Config) -> None:
    """With C_q, averages and a schedule: all of it is in the state, and rates follow from the iteration."""
    config = changed(tiny_config, **{**FORMS["C_q and an averaged G"], "optimiser.schedule": "cosine"})
    torch.manual_seed(0)
    unbroken = task_of(config)
    critic = copy.deepcopy(unbroken.networks.critic)
    for i in range(3):
        unbroken.step(batch_of(i), i, False)
    state = copy.deepcopy(unbroken.state())
    unbroken.step(batch_of(3), 3, False)
    resumed = task_of(config, critic)
    resumed.load_state(state)
    resumed.step(batch_of(3), 3, False)
    expected = unbroken.networks.state_dict()
    for name, value in resumed.networks.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_gradients_reach_c_q_as_by_autograd(tiny_config: Config) -> None:
    """The step's own gradient against the loss written out."""
    config = changed(tiny_config, **{**C_Q_ALONE, "loss.lambda_f": 2.0, "loss.lambda_c": 0.5})
    networks = networks_of(config)
    reference = copy.deepcopy(networks.query_critic)
    assert isinstance(reference, nn.Module)
    batch = batch_of(1)
    f_c = reference.embed(batch.x_l)  # type: ignore[operator]
    target = networks.critic.embed(batch.x_h)
    loss = 2 * (f_c - target).square().mean() / target.square().mean()
    loss = loss + 0.5 * nn.functional.cross_entropy(reference.classifier(f_c), batch.label)  # type: ignore[operator]
    loss.backward()
    networks.query_critic.zero_grad()  # type: ignore[union-attr]
    step = steps_of(config, networks, "shared")
    step(batch, 0, False)
    ours = dict(networks.query_critic.named_parameters())  # type: ignore[union-attr]
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-3, atol=1e-6)
