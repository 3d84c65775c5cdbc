"""PSNR and SSIM of super-resolved pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD

_WINDOW = 11


def to_uint8(normalised: Tensor) -> Tensor:
    """Turns network pictures back into the 8-bit pictures one would save.

    Undoes the ImageNet normalisation, rounds to the nearest level and clamps to 0–255.

    Args:
        normalised: N×3×H×W floating point, normalised RGB.

    Returns:
        N×3×H×W uint8 RGB on the same device.

    Raises:
        ValueError: Another shape or dtype, or NaN.
    """
    if normalised.ndim != 4 or normalised.shape[1] != 3 or not normalised.is_floating_point():
        raise ValueError(
            f"normalised must be N×3×H×W floating point, not {normalised.dtype} of shape {tuple(normalised.shape)}"
        )
    if normalised.isnan().any():
        raise ValueError("normalised holds NaN")
    pictures = normalised.detach().float()
    mean = torch.tensor(IMAGENET_MEAN, device=pictures.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pictures.device).view(1, 3, 1, 1)
    return ((pictures * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def psnr_ssim(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR and SSIM of each picture, over its three RGB channels, for levels 0–255.

    SSIM is that of Wang et al. (2004): an 11×11 Gaussian window of σ = 1.5, here on reflection-padded
    pictures, averaged over pixels and channels.

    A picture equal to its target has an infinite PSNR, which is returned as such. One of them makes a plain
    mean infinite, so that a table must say how many it left out.

    Args:
        estimate: N×3×H×W uint8 RGB, H and W at least 11.
        target: The same shape, dtype and device.

    Returns:
        (PSNR in dB, SSIM): two N float32 tensors on the same device.

    Raises:
        ValueError: Another dtype, unequal or unfit shapes, or no picture.
    """
    for name, pictures in (("estimate", estimate), ("target", target)):
        if pictures.dtype != torch.uint8:
            raise ValueError(f"{name} must be uint8, not {pictures.dtype}")
    if estimate.shape != target.shape:
        raise ValueError(
            f"estimate and target must have one shape, not {tuple(estimate.shape)} and {tuple(target.shape)}"
        )
    is_batch = estimate.ndim == 4 and estimate.shape[1] == 3 and len(estimate) > 0
    if not is_batch or min(estimate.shape[2:]) < _WINDOW:
        raise ValueError(
            f"estimate must be N×3×H×W with N ≥ 1 and H, W ≥ {_WINDOW}, not of shape {tuple(estimate.shape)}"
        )
    # a process that measures no picture, such as most, need not wait two seconds for it
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    # SSIM subtracts near-equal squares of up to 255², which half precision and TF32 lose. A GPU may use
    # TF32 for float32 convolutions, never for float64; a CPU takes some 30 times longer in float64.
    dtype = torch.float64 if estimate.is_cuda else torch.float32
    with torch.autocast(estimate.device.type, enabled=False):
        estimate, target = estimate.to(dtype), target.to(dtype)
        psnr = peak_signal_noise_ratio(estimate, target, data_range=255.0, reduction="none", dim=(1, 2, 3))
        ssim = structural_similarity_index_measure(estimate, target, data_range=255.0, reduction="none")
    # only where they are asked for do its parts come as well
    assert isinstance(ssim, Tensor)
    return psnr.float(), ssim.float()
