from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.autograd import gradcheck

from intact_fast import losses


def logits(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_discriminator_loss_is_equation_one_negated() -> None:
    real, fake = logits(0.3, -1.2), logits(2.0, -0.4)
    d = torch.sigmoid
    expected = -(d(real).log().mean() + (1 - d(fake)).log().mean())
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(expected.item())
    assert gradcheck(losses.discriminator_loss, (real, fake))


def test_discriminator_loss_does_not_overflow() -> None:
    assert losses.discriminator_loss(torch.tensor([-200.0]), torch.tensor([200.0])).item() == pytest.approx(400.0)


def test_generator_loss_forms() -> None:
    fake = logits(2.0, -0.4, 0.0)
    d = torch.sigmoid(fake)
    saturating = losses.generator_adversarial_loss(fake, "saturating")
    assert saturating.item() == pytest.approx((1 - d).log().mean().item())
    assert losses.generator_adversarial_loss(fake).item() == pytest.approx(-d.log().mean().item())
    for form in ("saturating", "non_saturating"):
        (gradient,) = torch.autograd.grad(losses.generator_adversarial_loss(fake, form), fake)
        assert (gradient < 0).all(), "a more convincing fake must lower G's loss"


def test_identity_loss_is_minus_log_p_y() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]])
    labels = torch.tensor([1, 0])
    p = scores.softmax(dim=1)
    expected = -(p[0, 1].log() + p[1, 0].log()) / 2
    assert losses.identity_loss(scores, labels).item() == pytest.approx(expected.item())
    smooth = 0.9 * expected + 0.1 * -(p.log().mean(dim=1)).mean()
    assert losses.identity_loss(scores, labels, 0.1).item() == pytest.approx(smooth.item())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identity_loss_leaves_pictures_without_identity_out(smoothing: float) -> None:
    scores = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, -1, 2, -1, 1])
    known = labels >= 0
    loss = losses.identity_loss(scores, labels, smoothing)
    expected = losses.identity_loss(scores[known], labels[known], smoothing)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    (reference,) = torch.autograd.grad(expected, scores)
    torch.testing.assert_close(gradient, reference)
    assert (gradient[~known] == 0).all()


def test_identity_loss_of_nobody_is_nothing() -> None:
    scores = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = losses.identity_loss(scores, torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


def test_super_resolution_loss_weights() -> None:
    content, gan, identity = torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)
    assert losses.super_resolution_loss(content, gan, identity).item() == pytest.approx(1 + 1 + 30)


def test_squared_norms_are_means_over_all_elements() -> None:
    a, b = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    expected = ((a - b) ** 2).mean().item()
    for loss in (losses.association_loss, losses.bridge_loss, losses.distillation_loss):
        assert loss(a, b).item() == pytest.approx(expected)
    x_h, fake = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    assert losses.content_loss(x_h, fake).item() == pytest.approx(((x_h - fake) ** 2).mean().item())
    total = losses.association_total_loss(torch.tensor(2.0), torch.tensor(3.0))
    assert total.item() == 5.0


def test_who_gets_a_gradient() -> None:
    predicted = torch.randn(4, 6, requires_grad=True)
    f_d = torch.randn(4, 6, requires_grad=True)
    losses.association_loss(predicted, f_d).backward()
    assert predicted.grad is not None
    assert f_d.grad is None, "f_d is a constant in Eq. 5"
    for loss in (losses.bridge_loss, losses.distillation_loss):
        for gradient in torch.autograd.grad(loss(predicted, f_d), (predicted, f_d)):
            assert gradient.abs().sum() > 0, "both sides move in Eq. 6 and 8"


def test_feature_loss_is_relative_to_the_target() -> None:
    query, target = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    expected = (query - target).square().sum(dim=1).mean() / target.square().sum(dim=1).mean()
    assert losses.feature_loss(query, target).item() == pytest.approx(expected.item())
    assert losses.feature_loss(7 * query, 7 * target).item() == pytest.approx(expected.item())
    assert losses.feature_loss(target, target).item() == 0
    assert losses.feature_loss(0 * target, target).item() == pytest.approx(1)
    angle = torch.cosine_similarity(query, target)
    assert losses.cosine_feature_loss(query, target).item() == pytest.approx(1 - angle.mean().item())


@pytest.mark.parametrize("loss", [losses.feature_loss, losses.cosine_feature_loss])
def test_feature_loss_trains_the_query_side_alone(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    query, target = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss(query, target).backward()
    assert target.grad is None
    assert query.grad is not None
    fixed = target.detach()
    assert gradcheck(lambda x: loss(x, fixed), (query,))
