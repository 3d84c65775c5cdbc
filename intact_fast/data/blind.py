"""Corruptions of LR pictures that nobody announces: blur, filter, noise, gamma and JPEG beside the rate.

The order is that of a camera: optics and motion blur the scene, a sensor of few pixels samples it and adds noise, then
its tone curve and its compression follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from intact_fast.config.options import Interpolation
from intact_fast.data.degradation import compress, resize, small_size
from intact_fast.plain_values import shown

Noise = Literal["none", "gaussian", "poisson"]
Range = tuple[float, float]

# The ranges. They are milder than those of BSRGAN (Zhang et al. 2021) and Real-ESRGAN (Wang et al. 2021), which are
# made for pictures of 128 rows and more: a person of 64×32 or 32×16 pixels would not survive them. Lengths are in
# pixels of the small picture, so that neither the rate nor the size of a crop changes what they mean.
#
# share of pictures, range          reason
BLURRED, BLUR = 0.7, (0.15, 0.6)  # optics: at a rate of 4 it is 0.6 to 2.4 pixels of the crop, BSRGAN has 0.1 to 2.8
ISOTROPIC = 0.5  # of the blurred ones; the others have two deviations
MOVED, MOTION = 0.3, (0.5, 2.0)  # somebody walks 1.4 m/s for 1/25 s: 1 pixel where he has 32 rows, 2 where he has 64
NOISY, NOISE = 0.8, (1.0, 10.0)  # levels of 255; 25, as BSRGAN has, hides clothes
TONED, GAMMA = 0.5, (0.75, 1.33)  # exposure of another camera; uniform in the logarithm
COMPRESSED, JPEG = 0.8, (40, 95)  # qualities; below 40, blocks of 8×8 pixels are all that is left of 32×16
FILTERS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "area", "lanczos")
_DIGITS = 4


@dataclass(frozen=True)
class Corruption:
    """Everything that makes an LR picture of one native crop; plain numbers, so that a manifest can hold it.

    Attributes:
        factor: Rate, at least 1.
        filter: Filter of the down-sampling.
        blur_x: Standard deviation of a Gaussian blur along rows, in pixels of the small picture; 0 for none.
        blur_y: The same along columns.
        motion: Length of a straight movement, in pixels of the small picture; 0 for none.
        angle: Its direction in degrees from the x axis, downwards.
        noise: Kind of the noise.
        noise_level: Its standard deviation in levels of 255, of Poisson noise at white.
        noise_seed: Of its random numbers.
        gamma: Exponent of the tone curve; 1 for none.
        jpeg: Quality of the compression; None for none.
    """

    factor: float
    filter: Interpolation
    blur_x: float = 0.0
    blur_y: float = 0.0
    motion: float = 0.0
    angle: float = 0.0
    noise: Noise = "none"
    noise_level: float = 0.0
    noise_seed: int = 0
    gamma: float = 1.0
    jpeg: int | None = None


_LARGEST = {"factor": 10_000.0, "blur_x": 100.0, "blur_y": 100.0, "motion": 100.0, "angle": 360.0, "gamma": 100.0}
"""Beyond what anybody draws; the work and the memory of a corruption grow with its lengths."""
_LEAST_NOISE, _LARGEST_NOISE = 0.01, 255.0
_LARGEST_LENGTH = 500.0
"""Of a blur or movement, in pixels of the native crop."""


def check_corruption(corruption: Corruption) -> None:
    """See that a corruption that others wrote can be made.

    Raises:
        ValueError: A number is out of its range.
    """
    for name, most in (*_LARGEST.items(), ("noise_level", _LARGEST_NOISE)):
        least = {"factor": 1.0, "gamma": 1 / most}.get(name, 0.0)
        if not least <= getattr(corruption, name) <= most:
            raise ValueError(f"{name} is {shown(getattr(corruption, name))}; it should be {least:g} to {most:g}")
    longest = corruption.factor * max(corruption.blur_x, corruption.blur_y, corruption.motion)
    if longest > _LARGEST_LENGTH:
        raise ValueError(f"factor times blur or motion is {longest:g}; it should be {_LARGEST_LENGTH:g} at most")
    if corruption.noise != "none" and corruption.noise_level < _LEAST_NOISE:
        raise ValueError(f"noise_level is {corruption.noise_level:g}; it should be {_LEAST_NOISE:g} or more")
    if not 0 <= corruption.noise_seed < 2**64:
        raise ValueError(f"noise_seed is {shown(corruption.noise_seed)}; it should be 0 or more, below 2^64")
    if corruption.jpeg is not None and not 1 <= corruption.jpeg <= 100:
        raise ValueError(f"jpeg is {shown(corruption.jpeg)}; it should be 1 to 100")


def draw_corruption(rng: np.random.Generator, factor: float) -> Corruption:
    """Draw the corruption of one picture from the ranges above.

    Args:
        rng: Any generator; each call takes as many numbers from it.
        factor: Rate.
    """
    blurred, isotropic, moved, noisy, poisson, toned, compressed = rng.random(7)
    blur_x, blur_y, motion, level = (_between(rng, bounds) for bounds in (BLUR, BLUR, MOTION, NOISE))
    angle, log_gamma = (_between(rng, bounds) for bounds in ((0.0, 180.0), (math.log(GAMMA[0]), math.log(GAMMA[1]))))
    chosen, quality, seed = (int(rng.integers(n)) for n in (len(FILTERS), JPEG[1] + 1 - JPEG[0], 2**31))
    is_blurred, is_moved, is_noisy = blurred < BLURRED, moved < MOVED, noisy < NOISY
    kind: Noise = "poisson" if poisson < 0.5 else "gaussian"
    return Corruption(
        factor=factor,
        filter=FILTERS[chosen],
        blur_x=blur_x if is_blurred else 0.0,
        blur_y=(blur_x if isotropic < ISOTROPIC else blur_y) if is_blurred else 0.0,
        motion=motion if is_moved else 0.0,
        angle=angle if is_moved else 0.0,
        noise=kind if is_noisy else "none",
        noise_level=level if is_noisy else 0.0,
        noise_seed=seed if is_noisy else 0,
        gamma=round(math.exp(log_gamma), _DIGITS) if toned < TONED else 1.0,
        jpeg=JPEG[0] + quality if compressed < COMPRESSED else None,
    )


def draw_factor(rng: np.random.Generator, factors: tuple[int, ...]) -> float:
    """Draw a rate between the least and the greatest of ``factors``."""
    return _between(rng, (min(factors), max(factors)))


def _between(rng: np.random.Generator, bounds: Range) -> float:
    return round(float(rng.uniform(*bounds)), _DIGITS)


def corrupt(image: Image.Image, corruption: Corruption) -> Image.Image:
    """Make the small LR picture of a native crop.

    Args:
        image: Native RGB crop, H×W.
        corruption: What happens to it; it alone decides the result.

    Returns:
        RGB picture of max(1, ⌊H/factor⌋)×max(1, ⌊W/factor⌋).
    """
    scale = corruption.factor
    if corruption.blur_x or corruption.blur_y:
        image = image.filter(ImageFilter.GaussianBlur((scale * corruption.blur_x, scale * corruption.blur_y)))
    if corruption.motion:
        image = _moved(image, scale * corruption.motion, corruption.angle)
    image = resize(image, small_size(image.height, image.width, scale), corruption.filter)
    if corruption.noise != "none":
        image = _noisy(image, corruption)
    if corruption.gamma != 1:
        levels = 255 * (np.arange(256) / 255) ** corruption.gamma
        image = image.point(np.rint(levels).astype(int).tolist() * 3)
    return image if corruption.jpeg is None else compress(image, corruption.jpeg)


def _moved(image: Image.Image, length: float, angle: float) -> Image.Image:
    """Average a picture over a straight movement of ``length`` pixels; its edges are repeated outwards."""
    kernel = _line(length, angle)
    reach = len(kernel) // 2
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    framed = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
    blurred = np.zeros(pixels.shape, dtype=np.float32)
    for y, x in np.argwhere(kernel > 0):
        blurred += kernel[y, x] * framed[y : y + height, x : x + width]
    return Image.fromarray(np.rint(blurred).clip(0, 255).astype(np.uint8))


def _line(length: float, angle: float) -> NDArray[np.float32]:
    """Spread points of a line about the middle of an odd square over the pixels around them; the sum is 1."""
    reach = math.ceil(length / 2) + 1
    along = np.linspace(-length / 2, length / 2, 4 * math.ceil(length) + 1)
    direction = math.radians(angle)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    y, x = reach + along * math.sin(direction), reach + along * math.cos(direction)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            np.add.at(kernel, (top + down, left + right), share)
    return (kernel / kernel.sum()).astype(np.float32)


def _noisy(image: Image.Image, corruption: Corruption) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    # numpy changes no number that a RandomState gives; those of a Generator it may
    state = np.random.RandomState(np.random.PCG64(corruption.noise_seed))
    level = corruption.noise_level
    if corruption.noise == "gaussian":
        noisy = pixels + level * state.standard_normal(pixels.shape)
    else:
        # what a sensor counts has its mean as its variance; at white the deviation is the level
        white = (255 / level) ** 2
        noisy = state.poisson(pixels / 255 * white) / white * 255
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))
