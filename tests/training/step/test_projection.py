"""A projection discriminator: D judges a picture together with what C sees of its HR form, or of another's."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.config.options import Config
from intact_fast.losses import discriminator_loss
from intact_fast.models import frozen_view
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.naive import NaiveStep
from intact_fast.training.step.networks import Networks
from intact_fast.training.step.optimisers import build_optimisers
from intact_fast.training.step.shared import SharedStep
from training_cases import CPU, SINGLE_PROCESS, batch_of, networks_of, small, task_of

NO_ASSOCIATION = {"loss.lambda_dis": 0.0}
FORMS: dict[str, dict[str, Any]] = {
    "own": {"discriminator.condition": "own"},
    "other": {"discriminator.condition": "other"},
    "without φ": {"discriminator.condition": "own", **NO_ASSOCIATION},
    "averaged D": {"discriminator.condition": "own", "association.target": "ema", "association.ema_decay": 0.9},
    "D learns from L_dis": {"discriminator.condition": "other", "association.dis_updates_discriminator": True},
    "C_q and L_f": {"discriminator.condition": "own", "critic.query": "joint", "loss.lambda_f": 1.0, **NO_ASSOCIATION},
}


def changed(config: Config, changes: dict[str, Any]) -> Config:
    config = small(config)
    for name, value in changes.items():
        section, option = name.split(".")
        config = replace(config, **{section: replace(getattr(config, section), **{option: value})})  # type: ignore[arg-type]
    return config


def shared_step(config: Config, networks: Networks, **options: Any) -> SharedStep:
    return SharedStep(networks, build_optimisers(networks, config.optimiser), config, SINGLE_PROCESS, **options)


def assert_alike(ours: list[Record], theirs: list[Record], mine: Networks, others: Networks) -> None:
    for record, reference in zip(ours, theirs, strict=True):
        assert record.keys() == reference.keys()
        for name in record:
            atol = 1e-3 if name.startswith("cosine/") else 2e-5
            torch.testing.assert_close(record[name], reference[name], rtol=5e-4, atol=atol, msg=lambda m, n=name: n + m)
    expected = others.state_dict()
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("form", FORMS)
def test_shared_equals_naive(tiny_config: Config, form: str) -> None:
    config = changed(tiny_config, FORMS[form])
    networks, reference = (networks_of(config) for _ in range(2))
    shared = shared_step(config, networks)
    naive = NaiveStep(reference, build_optimisers(reference, config.optimiser), config)
    found = [[step(batch_of(i), i, detailed=i == 2) for i in range(4)] for step in (shared, naive)]
    assert_alike(*found, networks, reference)


def test_compiled_equals_eager(tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    compiling = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **options: compiling(module, backend="aot_eager", **options))
    config = changed(tiny_config, FORMS["other"] | NO_ASSOCIATION)
    networks, reference = (networks_of(config, small_critic=True) for _ in range(2))
    steps = shared_step(config, networks, compiled=True), shared_step(config, reference)
    found = [[step(batch_of(i), i, detailed=False) for i in range(2)] for step in steps]
    assert_alike(*found, networks, reference)


def logits(networks: Networks, x: Tensor, condition: Tensor) -> Tensor:
    """The formula, written out."""
    discriminator = networks.discriminator
    assert discriminator.projection is not None
    h = discriminator(x).head
    unit = condition / condition.norm(dim=1, keepdim=True)
    w, b, v = discriminator.fc2.weight[0], discriminator.fc2.bias, discriminator.projection.weight
    return h @ w + b + torch.einsum("nc,hc,nh->n", unit, v, h)


@pytest.mark.parametrize("whose", ["own", "other"])
def test_d_learns_by_its_equation(tiny_config: Config, whose: str) -> None:
    config = changed(tiny_config, {"discriminator.condition": whose, **NO_ASSOCIATION})
    networks = networks_of(config)
    discriminator = networks.discriminator
    assert discriminator.projection is not None
    torch.nn.init.normal_(discriminator.projection.weight, std=0.1)
    batch = batch_of(0)
    with torch.no_grad():
        fake = networks.generator.train()(batch.x_l)
        f_c = networks.critic.embed(batch.x_h)
    condition = f_c if whose == "own" else torch.stack([f_c[i - 1] for i in range(len(f_c))])
    real, false = logits(networks, batch.x_h, condition), logits(networks, fake, condition)
    parameters = dict(discriminator.named_parameters())
    expected = torch.autograd.grad(discriminator_loss(real, false), list(parameters.values()))
    record = shared_step(config, networks)(batch, 0, True)
    for (name, parameter), gradient in zip(parameters.items(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    right = torch.cat([real > 0, false < 0]).float().mean()
    torch.testing.assert_close(record["discriminator/accuracy"], right)


def test_g_is_judged_by_the_conditional_d(tiny_config: Config) -> None:
    """Through the frozen view, which follows V."""
    config = changed(tiny_config, FORMS["without φ"])
    networks = networks_of(config)
    step = shared_step(config, networks)
    step(batch_of(0), 0, False)
    batch = batch_of(1)
    with torch.no_grad():
        f_c = networks.critic.embed(batch.x_h)
        terms = step.generator_objective(batch.x_h, batch.x_l, batch.label, None, step.critic_features(batch.x_h))
        expected = F.softplus(-logits(networks, batch.x_l, f_c)).mean()  # type: ignore[arg-type]
        without = F.softplus(-networks.discriminator(batch.x_l).logits).mean()
    torch.testing.assert_close(terms.adversarial, expected)
    assert not torch.equal(without, expected)


def test_the_table_serves_it(tiny_config: Config) -> None:
    config = changed(tiny_config, FORMS["without φ"])
    states, tables = [], (None, FeatureTable(6, 512, CPU))
    for table in tables:
        networks = networks_of(config)
        step = shared_step(config, networks, table=table)
        for i in range(3):
            view = 2 * torch.arange(6)
            step(replace(batch_of(0), view=view, view_on_host=view.numpy()), i, False)
        states.append(networks.state_dict())
    assert tables[1] is not None
    assert tables[1]._known[::2].all(), "it was filled"
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_d_that_is_not_needed_is_told_nothing(tiny_config: Config) -> None:
    config = changed(tiny_config, {"discriminator.condition": "own", "loss.lambda_g": 0.0, **NO_ASSOCIATION})
    networks = networks_of(config)
    step = shared_step(config, networks)
    record = step(batch_of(0), 0, True)
    assert not step._needs_hr
    assert not any("discriminator" in name for name in record)


def test_a_frozen_view_follows_v(tiny_config: Config) -> None:
    discriminator = networks_of(changed(tiny_config, FORMS["own"])).discriminator
    view = frozen_view(discriminator)
    assert discriminator.projection is not None
    assert view.projection is not None
    assert view.projection.weight.data_ptr() == discriminator.projection.weight.data_ptr()
    assert not view.projection.weight.requires_grad


def test_a_training_goes_on_bit_for_bit(tiny_config: Config) -> None:
    config = changed(tiny_config, FORMS["averaged D"])
    unbroken = task_of(config, networks_of(config).critic)
    for i in range(2):
        unbroken.step(batch_of(i), i, False)
    resumed = task_of(config, networks_of(config).critic)
    # a state holds the optimisers' own tensors
    resumed.load_state(copy.deepcopy(unbroken.state()))
    for task in (unbroken, resumed):
        task.step(batch_of(2), 2, False)
    expected = unbroken.networks.state_dict()
    assert any(name.startswith("discriminator_ema.projection") for name in expected)
    for name, value in resumed.networks.state_dict().items():
        assert torch.equal(value, expected[name]), name
