from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intact_fast.data import synthetic
from intact_fast.data.pedestrian import GLYPHS, Identity, draw_identity, draw_pedestrian
from intact_fast.data.synthetic import SyntheticSpec, draw_picture, identity_of, write_synthetic
from intact_fast.errors import UserError

SMALL = SyntheticSpec(train_identities=3, test_identities=2, train_pictures_per_camera=2, test_pictures_per_camera=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}


def through_low_resolution(picture: Image.Image, factor: int) -> Image.Image:
    small = picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BILINEAR)


def fine_energy(picture: Image.Image) -> float:
    """Mean power of the luminance above half of the Nyquist frequency in either direction."""
    luminance = np.asarray(picture.convert("L"), np.float64)
    power = np.abs(np.fft.fft2(luminance)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in luminance.shape)
    return power[(rows[:, None] > 0.25) | (columns > 0.25)].mean()


def test_names_counts_and_sizes(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path, SMALL)
    train = {f"train/{pid:04d}_cam{c}_{n:02d}.jpg" for pid in (1, 2, 3) for c in (0, 1) for n in (0, 1)}
    test = {f"test/{pid:04d}_cam{c}_00.jpg" for pid in (4, 5) for c in (0, 1)}
    assert set(contents(folder)) == train | test
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 128))


def test_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_synthetic(tmp_path / name, SMALL) for name in ("a", "b"))
    assert first.name == second.name
    assert contents(first) == contents(second)


def test_a_picture_does_not_depend_on_the_others(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path, SMALL)
    fewer = write_synthetic(tmp_path, replace(SMALL, train_pictures_per_camera=1))
    name = "train/0002_cam1_00.jpg"
    assert contents(folder)[name] == contents(fewer)[name]


def test_a_finished_folder_is_left_as_it_is(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path, SMALL)
    (folder / "train" / "0001_cam0_00.jpg").write_bytes(b"mine")
    assert write_synthetic(tmp_path, SMALL) == folder
    assert (folder / "train" / "0001_cam0_00.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("field", [field.name for field in fields(SyntheticSpec)])
def test_every_field_of_the_spec_changes_the_folder(field: str) -> None:
    changed = replace(SMALL, **{field: getattr(SMALL, field) + 1})
    assert changed.folder_name != SMALL.folder_name


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(spec: SyntheticSpec, pid: int, camera: int, number: int) -> Image.Image:
        if pid == 2:
            raise KeyboardInterrupt
        return draw_picture(spec, pid, camera, number)

    monkeypatch.setattr(synthetic, "draw_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_concurrent_writer_that_finishes_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(spec: SyntheticSpec, pid: int, camera: int, number: int) -> Image.Image:
        (tmp_path / SMALL.folder_name / "train").mkdir(parents=True, exist_ok=True)
        return draw_picture(spec, pid, camera, number)

    monkeypatch.setattr(synthetic, "draw_picture", overtaken)
    folder = write_synthetic(tmp_path, SMALL)
    assert contents(folder) == {}
    assert list(tmp_path.iterdir()) == [folder]


def test_root_that_is_a_file_is_a_user_error(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("")
    with pytest.raises(UserError, match=r"data\.root"):
        write_synthetic(root, SMALL)


@pytest.mark.parametrize("field", ["train_identities", "test_pictures_per_camera", "height", "width"])
def test_empty_specs_are_user_errors(field: str) -> None:
    with pytest.raises(UserError, match=field):
        replace(SMALL, **{field: 0})


def test_identities_differ_and_share_their_coarse_colours() -> None:
    identities = [identity_of(SyntheticSpec(), pid) for pid in range(1, 501)]
    assert len(set(identities)) == 500
    coarse = {(identity.shirt_colour, identity.trouser_colour) for identity in identities}
    assert len(coarse) <= 30


def test_a_person_is_the_same_in_both_cameras_but_not_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Identity, int]] = []

    def recorded(identity: Identity, camera: int, rng: np.random.Generator, height: int, width: int) -> Image.Image:
        seen.append((identity, camera))
        return draw_pedestrian(identity, camera, rng, height, width)

    monkeypatch.setattr(synthetic, "draw_pedestrian", recorded)
    pictures = [draw_picture(SMALL, 1, camera, number).tobytes() for camera in (0, 1) for number in (0, 1)]
    assert len(set(pictures)) == 4
    assert [camera for _, camera in seen] == [0, 0, 1, 1]
    assert len({identity for identity, _ in seen}) == 1


def test_identity_and_picture_streams_are_apart() -> None:
    # A seed sequence treats [s, p] and [s, p, 0, 0] alike: a picture must not replay its identity's draws.
    identity = identity_of(SMALL, 1)
    replayed = [draw_identity(np.random.default_rng([SMALL.seed, 1, 1 + camera, 0])) for camera in synthetic.CAMERAS]
    assert identity not in replayed


@pytest.mark.parametrize(("height", "width"), [(128, 64), (256, 128), (64, 32), (96, 96)])
def test_any_size_can_be_drawn(height: int, width: int) -> None:
    picture = draw_pedestrian(identity_of(SMALL, 1), 0, np.random.default_rng(0), height, width)
    assert picture.mode == "RGB"
    assert picture.size == (width, height)


@pytest.mark.parametrize("logo", [glyph for glyph in GLYPHS if glyph != "ring"])
def test_a_logo_is_seen_in_high_resolution_and_fades_in_low(logo: str) -> None:
    ring = replace(identity_of(SMALL, 1), logo="ring")
    pictures = [draw_pedestrian(identity, 0, np.random.default_rng(7)) for identity in (ring, replace(ring, logo=logo))]

    def contrast(images: list[Image.Image]) -> float:
        first, second = (np.asarray(image, np.float64) for image in images)
        return float(np.abs(first - second).max())

    assert contrast(pictures) > 80
    if logo != "none":
        assert contrast([through_low_resolution(picture, 4) for picture in pictures]) < contrast(pictures)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_low_resolution_destroys_detail(factor: int) -> None:
    pictures = [draw_picture(SyntheticSpec(), pid, 0, 0) for pid in range(1, 21)]
    fine = np.mean([fine_energy(picture) for picture in pictures])
    left = np.mean([fine_energy(through_low_resolution(picture, factor)) for picture in pictures])
    assert left < 0.2 * fine


def test_flip_changes_no_logo() -> None:
    # The critic and the generator train with flips, so that a mirrored sign must stay the same sign.
    identity = replace(identity_of(SMALL, 1), bag="none", shirt_pattern="plain")
    for logo in GLYPHS:
        picture = np.asarray(draw_pedestrian(replace(identity, logo=logo), 0, _StillRng(0), 128, 64), np.float64)
        chest = picture[26:60, 16:48]
        assert np.abs(chest - chest[:, ::-1]).mean() < 2.0, logo


class _StillRng:
    """A generator of middle values: an upright person in the middle, no occluder, no noise."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def random(self) -> float:
        return 0.75

    def integers(self, low: int, high: int) -> int:
        return low

    def normal(self, mean: float, deviation: float, size: int) -> np.ndarray:
        return np.full(size, mean)

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.zeros(shape, dtype)
