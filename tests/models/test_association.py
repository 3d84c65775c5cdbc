from __future__ import annotations

import pytest
import torch
from torch import nn

from intact_fast.models import AssociationNetwork, Bridge, FeatureScaler


def dims(module: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]


def test_layer_table() -> None:
    phi, sigma = AssociationNetwork(), Bridge()
    assert dims(phi.encoder) == [(512, 512), (512, 256), (256, 200)]
    assert dims(phi.decoder) == [(200, 256), (256, 512), (512, 1024)]
    assert dims(sigma) == [(1024, 512), (512, 256), (256, 200)]
    for stack in (phi.encoder, phi.decoder, sigma.layers):
        kinds = [type(layer).__name__ for layer in stack]
        assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]


def test_parameter_counts() -> None:
    fc = 512 * 512 + 512 * 256 + 256 * 200 + 200 * 256 + 256 * 512 + 512 * 1024
    affine = 2 * (512 + 256) + 2 * (256 + 512 + 1024)
    assert sum(p.numel() for p in AssociationNetwork().parameters()) == fc + affine == 1_156_096
    assert sum(p.numel() for p in Bridge().parameters()) == 1024 * 512 + 512 * 256 + 256 * 200 + 2 * (512 + 256)


def test_latents_have_no_affine_pair_so_they_cannot_shrink() -> None:
    phi, sigma = AssociationNetwork(), Bridge()
    assert not phi.encoder[-1].affine
    assert not sigma.layers[-1].affine
    f_d, f_e = phi(torch.randn(64, 512))
    assert f_d.shape == (64, 1024)
    assert f_e.shape == (64, 200)
    assert f_e.std(dim=0).mean().item() == pytest.approx(1.0, abs=0.02)


def test_output_gamma_zero_starts_at_a_constant() -> None:
    phi = AssociationNetwork(out_dim=8, output_gamma=0.0)
    assert torch.equal(phi(torch.randn(4, 512)).f_d, torch.zeros(4, 8))


def test_scaler_standardises_by_running_statistics() -> None:
    torch.manual_seed(0)
    scaler = FeatureScaler(3, standardise=True)
    f_d = torch.randn(4096, 3) * torch.tensor([0.1, 1.0, 9.0]) + 5.0
    scaler.observe(f_d)
    assert scaler(f_d).mean(dim=0) == pytest.approx([0.0] * 3, abs=1e-4)
    assert scaler(f_d).std(dim=0) == pytest.approx([1.0] * 3, abs=1e-2)
    scaler.observe(f_d + 1.0)
    assert torch.allclose(scaler.mean, f_d.mean(dim=0) + 0.1, atol=1e-4)


def test_raw_scaler_is_the_identity() -> None:
    scaler = FeatureScaler(3, standardise=False)
    f_d = torch.randn(8, 3) + 4.0
    scaler.observe(f_d)
    assert torch.equal(scaler(f_d), f_d)


def test_predictions_that_spread_less_at_first_explain_a_noisy_target_sooner() -> None:
    """γ fixes the spread. At 1, a correlation below a half gives an R² below 0."""
    torch.manual_seed(0)
    f_c = torch.randn(4352, 16)
    f_d = 0.45 * f_c @ torch.randn(16, 8) / 4 + 0.9 * torch.randn(4352, 8)
    seen, new = slice(0, 4096), slice(4096, None)

    def r2(output_gamma: float) -> float:
        torch.manual_seed(1)
        phi = AssociationNetwork(16, 8, (32, 16), 12, output_gamma)
        optimiser = torch.optim.Adam(phi.parameters(), lr=1e-3)
        for source, target in zip(f_c[seen].split(32), f_d[seen].split(32), strict=True):
            optimiser.zero_grad()
            (phi(source).f_d - target).square().mean().backward()
            optimiser.step()
        with torch.no_grad():
            error = phi.eval()(f_c[new]).f_d - f_d[new]
        return 1 - float(error.square().mean() / f_d[new].var(dim=0).mean())

    assert r2(1.0) < 0 < r2(0.3)
