"""Users' pictures (files, Pillow pictures, arrays and tensors), brought to one form for the retrieval module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from intact_fast.config.options import Interpolation
from intact_fast.data.decoding import upright
from intact_fast.data.degradation import read_image, to_rgb
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD

Picture = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
"""A file; a Pillow picture; an array H×W, H×W×1, H×W×3 or H×W×4; a tensor C×H×W with 1, 3 or 4 channels.
Arrays and tensors are 8 bits, uint16 (arrays) or floating point from 0 to 1. A fourth channel (opacity) is left out."""

Pictures = Picture | Sequence[Picture]
"""One picture, a sequence of pictures of any sizes, or a batch: an array N×H×W×C or a tensor N×C×H×W."""

TensorRange = Literal["unit", "imagenet"]
"""What floating-point tensors hold: RGB from 0 to 1, or RGB normalised with ImageNet's channel statistics."""

ChannelOrder = Literal["rgb", "bgr"]
"""Order of the channels of arrays and tensors; OpenCV's is BGR. Files and Pillow pictures know their own."""

_MODES: dict[str, Literal["bilinear", "bicubic"]] = {"bilinear": "bilinear", "bicubic": "bicubic"}


def as_sequence(pictures: Pictures) -> Sequence[Picture] | Tensor:
    """Split what `Pictures` allows into single pictures; a batch tensor stays one, as its slices share their size."""
    if isinstance(pictures, str | os.PathLike | Image.Image):
        return [pictures]
    if isinstance(pictures, np.ndarray):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, Tensor):
        if pictures.ndim not in (3, 4):
            raise ValueError(f"a tensor of pictures is C×H×W or N×C×H×W, this one is {tuple(pictures.shape)}")
        return pictures if pictures.ndim == 4 else pictures[None]
    return pictures


def host_image(picture: Picture, order: ChannelOrder = "rgb") -> Image.Image:
    """Bring a file, a Pillow picture or an array to 8-bit RGB, turned upright.

    Args:
        picture: The picture.
        order: Of an array's channels.

    Raises:
        UserError: A file is missing or unreadable.
        ValueError: An array is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture))
    if isinstance(picture, Image.Image):
        turned = upright(picture, "a PIL image")
        return turned if turned.mode == "RGB" else to_rgb(turned)
    if isinstance(picture, np.ndarray):
        return Image.fromarray(_rgb_array(picture, order))
    raise ValueError(f"a picture is a path, a PIL image, an array or a tensor, this is a {type(picture).__name__}")


def _rgb_array(array: NDArray[Any], order: ChannelOrder) -> NDArray[np.uint8]:
    """H×W×3 uint8 of a picture array."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"an array is H×W, H×W×1, H×W×3 or H×W×4, this one is {array.shape}")
    array = array[:, :, :3]
    if order == "bgr":
        array = array[:, :, ::-1]
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ValueError("a floating-point array holds values from 0 to 1; this one has others, or NaN")
        array = np.rint(255 * array).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"an array is uint8, uint16 or floating point, this one is {array.dtype}")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def prepare_tensor(
    pictures: Tensor,
    size: tuple[int, int],
    interpolation: Interpolation,
    holds: TensorRange,
    order: ChannelOrder = "rgb",
) -> Tensor:
    """Resize a batch of pictures on their device and normalise it.

    8-bit pictures are rounded to 8 bits after each of the two passes, as Pillow does. The result differs from
    Pillow's by at most a level or two at single pixels.

    Args:
        pictures: N×C×H×W uint8 or floating point, 1, 3 or 4 channels.
        size: (height, width).
        interpolation: Filter; ``area`` and ``lanczos`` exist on the host only.
        holds: What floating-point tensors hold.
        order: Of the channels.

    Returns:
        N×3×height×width float32.

    Raises:
        ValueError: Another shape, type, range or filter.
    """
    if pictures.shape[1] not in (1, 3, 4) or 0 in pictures.shape[2:]:
        raise ValueError(f"a tensor of pictures has 1, 3 or 4 channels, this one is {tuple(pictures.shape)}")
    if interpolation not in _MODES:
        raise ValueError(
            f"interpolation {interpolation}: PyTorch has no such filter; give PIL images, arrays or paths instead of "
            "tensors"
        )
    eight_bits = pictures.dtype == torch.uint8
    if not eight_bits and not pictures.is_floating_point():
        raise ValueError(f"a tensor of pictures is uint8 or floating point, this one is {pictures.dtype}")
    x = pictures[:, :3].float()
    if order == "bgr":
        x = x.flip(1)
    normalised = not eight_bits and holds == "imagenet"
    if not eight_bits:
        _check_values(x, normalised)
    # recent Pillows begin with the height where it shrinks; 8-bit rounding makes the order matter
    between = (size[0], x.shape[3]) if size[0] < x.shape[2] else (x.shape[2], size[1])
    for target in (between, size):
        if tuple(x.shape[2:]) != target:
            x = F.interpolate(x, target, mode=_MODES[interpolation], antialias=True)
            if eight_bits:
                x = x.round_().clamp_(0, 255)
    x = x.expand(-1, 3, -1, -1)
    if normalised:
        return x.contiguous(memory_format=torch.channels_last)
    if eight_bits:
        x = x / 255
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((x.clamp(0, 1) - mean) / std).contiguous(memory_format=torch.channels_last)


def _check_values(x: Tensor, normalised: bool) -> None:
    if x.numel() == 0:
        return
    least, most = torch.stack([x.amin(), x.amax()]).tolist()
    # a NaN anywhere makes both NaN
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ValueError("the tensor of pictures holds NaN or infinite values")
    if not normalised and (least < -1e-3 or most > 1 + 1e-3):
        raise ValueError(
            f"a floating-point tensor holds values from 0 to 1, this one from {least:.3g} to {most:.3g}; for pictures "
            'normalised as torchreid does, use SRReID(..., tensors="imagenet")'
        )


def unnormalised(prepared: Tensor) -> Tensor:
    """Undo the normalisation: N×3×H×W from 0 to 1."""
    mean, std = (torch.tensor(v, device=prepared.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (prepared * std + mean).clamp(0, 1)
