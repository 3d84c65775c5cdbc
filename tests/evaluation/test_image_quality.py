from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.evaluation.image_quality import psnr_ssim, to_uint8


def pictures(n=3, height=24, width=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


def normalised(levels):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (levels.float() / 255 - mean) / std


def ssim_by_definition(x, y):
    """Wang et al. (2004) for one channel, window by window."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = (np.pad(a.astype(np.float64), 5, mode="reflect") for a in (x, y))
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(values)


def test_psnr_and_ssim_follow_their_definitions():
    target = pictures()
    noise = torch.tensor([2, 10, 40]).view(3, 1, 1, 1) * torch.randn(
        target.shape, generator=torch.Generator().manual_seed(1)
    )
    estimate = (target + noise).clamp(0, 255).to(torch.uint8)
    psnr, ssim = psnr_ssim(estimate, target)
    assert psnr.shape == ssim.shape == (3,)
    for n in range(3):
        x, y = estimate[n].numpy(), target[n].numpy()
        error = ((x.astype(float) - y) ** 2).mean()
        assert psnr[n].item() == pytest.approx(10 * math.log10(255**2 / error), abs=1e-5)
        expected = np.mean([ssim_by_definition(x[c], y[c]) for c in range(3)])
        assert ssim[n].item() == pytest.approx(expected, abs=1e-6)


def test_every_picture_is_scored_on_its_own():
    estimate, target = pictures(seed=1), pictures(seed=2)
    together = psnr_ssim(estimate, target)
    for n in range(3):
        alone = psnr_ssim(estimate[n : n + 1], target[n : n + 1])
        for one, many in zip(alone, together, strict=True):
            assert one.shape == (1,)
            torch.testing.assert_close(one[0], many[n])


def test_identical_pictures_have_infinite_psnr():
    target = pictures()
    estimate = target.clone()
    estimate[1] = 255 - estimate[1]
    psnr, ssim = psnr_ssim(estimate, target)
    assert psnr.isinf().tolist() == [True, False, True]
    assert psnr[0] > 0
    assert ssim[0] == pytest.approx(1, abs=1e-6)
    assert ssim[1] < 0


def test_levels_do_not_wrap_around():
    black = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    white = torch.full_like(black, 255)
    psnr, ssim = psnr_ssim(black, white)
    assert psnr.item() == pytest.approx(0, abs=1e-5)
    assert ssim.item() == pytest.approx(0, abs=1e-3)


def test_scores_do_not_suffer_under_autocast():
    estimate, target = pictures(seed=1), pictures(seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = psnr_ssim(estimate, target)
    torch.testing.assert_close(inside, psnr_ssim(estimate, target), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("estimate", "target", "message"),
    [
        (pictures().float(), pictures(), "estimate must be uint8"),
        (pictures(), pictures() / 255, "target must be uint8"),
        (pictures(n=1), pictures(n=2), "one shape"),
        (pictures(height=10), pictures(height=10), "H, W ≥ 11"),
        (pictures()[0], pictures()[0], "N×3×H×W"),
        (pictures()[:0], pictures()[:0], "N ≥ 1"),
    ],
)
def test_unfit_pictures_are_refused(estimate, target, message):
    with pytest.raises(ValueError, match=message):
        psnr_ssim(estimate, target)


def test_to_uint8_undoes_the_normalisation_of_every_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    restored = to_uint8(normalised(levels))
    assert restored.dtype == torch.uint8
    assert torch.equal(restored, levels)


def test_to_uint8_rounds_and_clamps():
    levels = torch.tensor([-30.0, 0.4, 0.6, 254.6, 255.4, 400.0, float("inf"), float("-inf")])
    restored = to_uint8(normalised(levels.view(1, 1, 1, 8).expand(1, 3, 1, 8)))
    assert (restored == torch.tensor([0, 0, 1, 255, 255, 255, 255, 0])).all()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.full((1, 3, 2, 2), float("nan")), "normalised holds NaN"),
        (torch.zeros(3, 2, 2), "normalised must be"),
        (torch.zeros(1, 1, 2, 2), "normalised must be"),
        (pictures(), "normalised must be"),
    ],
)
def test_to_uint8_refuses(picture, message):
    with pytest.raises(ValueError, match=message):
        to_uint8(picture)
