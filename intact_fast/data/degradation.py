"""Reading, degrading and resizing one picture with Pillow: the reference of training and evaluation."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from intact_fast.config.options import Interpolation
from intact_fast.data.decoding import read_upright, unreadable
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_SIXTEEN_BITS = 65535


def read_image(path: Path) -> Image.Image:
    """Decode a whole picture file to 8-bit RGB, turned upright by its EXIF orientation.

    Args:
        path: Any format that Pillow reads.

    Raises:
        UserError: The file is missing, damaged or no picture.
        OSError: The machine lacks something, such as open files.
    """
    image = read_upright(path)
    try:
        return to_rgb(image)
    except ValueError as error:
        raise unreadable(path, error) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring a picture of any mode to 8-bit RGB; opacity is left out.

    Raises:
        ValueError: Its pixels are floating-point or 32-bit numbers without a known range, or of a mode without a way
            to RGB.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):
        # 16 bits of grey, which Pillow itself would clip
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > _SIXTEEN_BITS:
            raise ValueError("32-bit or negative pixels")
        # no level lies so near the middle of two that single precision would round it otherwise
        image = Image.fromarray(np.rint(np.divide(grey, 257, dtype=np.float32)).astype(np.uint8))
    if image.mode in ("P", "PA") and "transparency" in image.info:
        # Pillow advises this way itself, by a warning
        image = image.convert("RGBA")
    return image.convert("RGB")


def resize(image: Image.Image, size: tuple[int, int], interpolation: Interpolation) -> Image.Image:
    """Resize with Pillow's antialiased filters, over the full picture and without a reducing gap.

    ``area`` averages boxes where neither side grows and is bilinear otherwise, because boxes would only
    repeat pixels there.

    Args:
        image: RGB picture.
        size: (height, width) in pixels.
        interpolation: Filter.

    Returns:
        RGB picture of that size, rounded to 8 bits.
    """
    height, width = size
    if interpolation == "area":
        grows = width > image.width or height > image.height
        resampling = Image.Resampling.BILINEAR if grows else Image.Resampling.BOX
    else:
        resampling = _RESAMPLING[interpolation]
    return image.resize((width, height), resampling)


def small_size(height: int, width: int, r: float) -> tuple[int, int]:
    """Give max(1, ⌊H/r⌋) and max(1, ⌊W/r⌋), divided in single precision: DALI's division, for the same sizes."""
    rows, columns = np.array((height, width), dtype=np.float32) / np.float32(r)
    return max(1, int(rows)), max(1, int(columns))


def downsample(
    image: Image.Image, r: float, interpolation: Interpolation, jpeg_quality: int | None = None
) -> Image.Image:
    """Make the small LR picture of a native crop (section 4.1: down-sampling by a rate r).

    Args:
        image: Native RGB crop, H×W.
        r: Rate, at least 1.
        interpolation: Filter.
        jpeg_quality: Compress the result at this quality (1–100, 4:2:0); None leaves it as it is.

    Returns:
        RGB picture of max(1, ⌊H/r⌋)×max(1, ⌊W/r⌋).
    """
    small = resize(image, small_size(image.height, image.width, r), interpolation)
    return small if jpeg_quality is None else compress(small, jpeg_quality)


def compress(image: Image.Image, quality: int) -> Image.Image:
    """Compress an RGB picture as JPEG (1–100, 4:2:0) and decode it again."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as compressed:
        return compressed.convert("RGB")


def normalise(pictures: Tensor) -> Tensor:
    """Scale 8-bit RGB to [0, 1] and normalise it with ImageNet's channel statistics.

    Args:
        pictures: …×H×W×3 uint8.

    Returns:
        …×3×H×W float32 on the same device, a view with the channels innermost in memory.
    """
    mean, std = _statistics(pictures.shape[-2], pictures.device)
    rows = pictures.flatten(-2).to(torch.float32).div_(255).sub_(mean).div_(std)
    return rows.view(pictures.shape).movedim(-1, -3)


@cache
def _statistics(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give mean and deviation for each element of a picture's row of 3·width.

    There is one for each element, because broadcasting over three innermost values is half again as slow. They are
    kept, because bringing them to a GPU waits for all that it has to do.
    """
    mean, std = (torch.tensor(v, dtype=torch.float32).repeat(width).to(device) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def pixels(image: Image.Image) -> Tensor:
    """Copy an RGB picture into an H×W×3 uint8 tensor, as `normalise` takes it."""
    return torch.from_numpy(np.array(image))
