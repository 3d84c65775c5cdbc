from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from intact_fast.data import blind
from intact_fast.data.blind import Corruption, corrupt, draw_corruption, draw_factor
from intact_fast.data.degradation import compress, downsample, resize, small_size

PLAIN = Corruption(1.0, "area")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(2).integers(0, 256, (33, 17, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 128), Image.Resampling.BICUBIC)


def grey(level: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    return Image.new("RGB", size, (level,) * 3)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


def test_without_anything_else_it_is_the_down_sampling(picture: Image.Image) -> None:
    for r, name in ((2.0, "bilinear"), (2.7, "bicubic"), (3.9, "lanczos"), (1.0, "area")):
        assert corrupt(picture, Corruption(r, name)) == downsample(picture, r, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("r", [2, 3, 4, 6, 8])
def test_sizes_of_integral_rates_are_the_floor(r: int) -> None:
    for height in range(1, 700):
        assert small_size(height, 3 * height, r) == (max(1, height // r), max(1, 3 * height // r))


def test_a_corruption_alone_decides_the_picture(picture: Image.Image) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = draw_corruption(rng, draw_factor(rng, (2, 3, 4)))
        small = corrupt(picture, drawn)
        assert small.size == (int(64 / drawn.factor), int(128 / drawn.factor))
        assert small == corrupt(picture.copy(), Corruption(**asdict(drawn)))


def test_a_gaussian_blur_has_its_deviation_along_each_axis() -> None:
    point = np.zeros((65, 65, 3), dtype=np.uint8)
    point[32, 32] = 255
    # the brightness of one pixel would be rounded away
    point[30:35, 30:35] = 255
    blurred = values(corrupt(Image.fromarray(point), replace(PLAIN, blur_x=3.0, blur_y=1.5)))[:, :, 0]
    for axis, deviation in ((0, 3.0), (1, 1.5)):
        profile = blurred.sum(axis=axis) / blurred.sum()
        variance = (profile * (np.arange(65) - 32) ** 2).sum()
        # five pixels have a variance of 2
        assert variance == pytest.approx(deviation**2 + 2, rel=0.1)


def test_lengths_are_those_of_the_small_picture(picture: Image.Image) -> None:
    assert corrupt(picture, Corruption(4.0, "area", blur_x=0.5, blur_y=0.5)) == corrupt(
        corrupt(picture, replace(PLAIN, blur_x=2.0, blur_y=2.0)), Corruption(4.0, "area")
    )


@pytest.mark.parametrize(("angle", "along", "across"), [(0.0, 1, 0), (90.0, 0, 1), (180.0, 1, 0)])
def test_a_movement_blurs_along_its_direction(picture: Image.Image, angle: float, along: int, across: int) -> None:
    moved = values(corrupt(picture, replace(PLAIN, motion=9.0, angle=angle)))
    variation = [np.abs(np.diff(moved, axis=axis)).mean() for axis in (along, across)]
    before = [np.abs(np.diff(values(picture), axis=axis)).mean() for axis in (along, across)]
    assert variation[0] / before[0] < 0.6 < variation[1] / before[1]


@pytest.mark.parametrize("length", [0.2, 1.0, 3.7, 16.0])
def test_a_line_spreads_over_its_length(length: float) -> None:
    kernel = blind._line(length, 0.0).astype(np.float64)
    assert kernel.sum() == pytest.approx(1)
    columns = np.arange(len(kernel)) - len(kernel) // 2
    assert (kernel.sum(axis=0) * columns).sum() == pytest.approx(0, abs=1e-6)
    # a uniform line has a twelfth of its squared length; interpolating adds up to a quarter
    assert 0 <= (kernel.sum(axis=0) * columns**2).sum() - length**2 / 12 < 0.6 + 0.05 * length**2


def test_plain_pictures_stay_what_they_are() -> None:
    everything = Corruption(2.5, "lanczos", 0.6, 0.2, 2.0, 37.0)
    for level in (0, 90, 255):
        assert set(values(corrupt(grey(level), everything)).ravel()) == {level}


@pytest.mark.parametrize(("kind", "level", "expected"), [("gaussian", 100, 8.0), ("poisson", 64, 4.0)])
def test_noise_has_its_level(kind: blind.Noise, level: int, expected: float) -> None:
    """Poisson noise has it at white, and half of it at a quarter of white."""
    noise = replace(PLAIN, noise=kind, noise_level=8.0, noise_seed=3)
    noisy = values(corrupt(grey(level), noise))
    assert noisy.mean() == pytest.approx(level, abs=0.3)
    assert noisy.std() == pytest.approx(expected, rel=0.05)
    assert corrupt(grey(level), noise) != corrupt(grey(level), replace(noise, noise_seed=4))


def test_noise_is_what_it_was() -> None:
    """A manifest's queries depend on these numbers, which no numpy may change."""
    found = [
        values(corrupt(grey(128, (2, 1)), replace(PLAIN, noise=kind, noise_level=8.0, noise_seed=5))).ravel().tolist()
        for kind in ("gaussian", "poisson")
    ]
    assert found == [[132, 132, 113, 129, 127, 124], [134, 128, 116, 126, 131, 127]]


def test_a_tone_curve_and_a_compression() -> None:
    assert values(corrupt(grey(64), replace(PLAIN, gamma=0.5)))[0, 0, 0] == round(255 * (64 / 255) ** 0.5)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    assert corrupt(noise, replace(PLAIN, jpeg=50)) == compress(noise, 50)


def test_what_is_drawn_lies_in_the_ranges() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_corruption(rng, 2.5) for _ in range(2000)]
    for name, share, (low, high) in (
        ("blur_x", blind.BLURRED, blind.BLUR),
        ("blur_y", blind.BLURRED, blind.BLUR),
        ("motion", blind.MOVED, blind.MOTION),
        ("noise_level", blind.NOISY, blind.NOISE),
    ):
        found = np.array([getattr(corruption, name) for corruption in drawn])
        assert (found > 0).mean() == pytest.approx(share, abs=0.04)
        assert low <= found[found > 0].min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < found.max() <= high
    quality = [corruption.jpeg for corruption in drawn if corruption.jpeg is not None]
    assert (min(quality), max(quality)) == blind.JPEG
    assert len(quality) / 2000 == pytest.approx(blind.COMPRESSED, abs=0.04)
    toned = [corruption.gamma for corruption in drawn if corruption.gamma != 1]
    assert blind.GAMMA[0] <= min(toned) < max(toned) <= blind.GAMMA[1]
    assert np.mean([gamma < 1 for gamma in toned]) == pytest.approx(0.5, abs=0.05)
    assert {corruption.filter for corruption in drawn} == set(blind.FILTERS)
    assert {corruption.noise for corruption in drawn} == {"none", "gaussian", "poisson"}
    blurred = [corruption for corruption in drawn if corruption.blur_x]
    assert np.mean([c.blur_x == c.blur_y for c in blurred]) == pytest.approx(blind.ISOTROPIC, abs=0.05)


def test_the_smallest_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert corrupt(grey(9, (1, 1)), draw_corruption(rng, 4.0)).size == (1, 1)


def test_other_pictures_keep_their_draws_where_one_has_another_rate() -> None:
    one, other = (np.random.default_rng(4) for _ in range(2))
    draw_corruption(one, 2.0)
    draw_corruption(other, 3.5)
    assert draw_corruption(one, 2.0) == draw_corruption(other, 2.0)


def test_resizing_takes_the_filter_that_was_drawn(picture: Image.Image) -> None:
    assert corrupt(picture, Corruption(3.3, "bicubic")) == resize(picture, small_size(128, 64, 3.3), "bicubic")
