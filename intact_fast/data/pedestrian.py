"""Drawing of stylised pedestrians whose identities differ in fine details.

Every length below is in *native pixels*: pixels of a 128×64 (height × width) picture.

Coarse colours come from a few pairs that many identities share, and each pattern covers about half of its
cloth. So the average colour of a garment says little. Stripe pitch, pattern and logo tell two identities
apart, and down-sampling by 2 to 4 removes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFilter

from intact_fast.data.pedestrian_canvas import INK, PAPER, Canvas, Colour, draw_glyph, mean_colour

T = TypeVar("T")

SHIRT_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((42, 58, 128), (120, 140, 206)),
    ((130, 42, 48), (216, 124, 120)),
    ((42, 102, 62), (122, 186, 132)),
    ((52, 52, 54), (136, 134, 130)),
    ((140, 112, 34), (226, 200, 114)),
    ((104, 48, 116), (186, 130, 196)),
)
TROUSER_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((36, 44, 90), (104, 116, 164)),
    ((26, 26, 28), (92, 90, 88)),
    ((98, 66, 40), (168, 130, 92)),
    ((144, 142, 136), (224, 222, 214)),
    ((50, 78, 44), (118, 148, 108)),
)
ACCENT_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((150, 30, 34), (240, 200, 190)),
    ((34, 60, 140), (190, 204, 240)),
    ((40, 40, 42), (200, 198, 192)),
)
SKIN_COLOURS: tuple[Colour, ...] = ((230, 190, 160), (136, 92, 66))
HAIR_COLOURS: tuple[Colour, ...] = ((30, 24, 22), (150, 106, 56))

SHIRT_PATTERNS = ("plain", "hoops", "pinstripes", "checks", "chevrons")
TROUSER_PATTERNS = ("plain", "plain", "hoops", "pinstripes", "checks")
PITCHES = (4.0, 6.0, 9.0)
GLYPHS = (
    "none",
    "ring",
    "plus",
    "cross",
    "triangle",
    "wedge",
    "frame",
    "letter_h",
    "rows",
    "columns",
    "smile",
)
HATS = ("none", "beanie", "cap")
BAGS = ("none", "left", "right")
SHOES = ("dark", "light", "striped")


@dataclass(frozen=True)
class Identity:
    """Traits that stay the same in every picture of one person.

    Colours are indices into this module's palettes; patterns and glyphs are names from its catalogues;
    pitches are native pixels per period.
    """

    shirt_colour: int
    shirt_pattern: str
    shirt_pitch: float
    logo: str
    sleeves: str
    cuff_bands: int
    trouser_colour: int
    trouser_pattern: str
    trouser_pitch: float
    shoes: str
    hat: str
    hat_colour: int
    bag: str
    bag_colour: int
    bag_glyph: str
    skin: int
    hair: int


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw one identity at random.

    Args:
        rng: Source of randomness; a fixed number of values is taken from it.

    Returns:
        The identity, independent of any camera.
    """

    def one_of(options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    return Identity(
        shirt_colour=int(rng.integers(len(SHIRT_COLOURS))),
        shirt_pattern=one_of(SHIRT_PATTERNS),
        shirt_pitch=one_of(PITCHES),
        logo=one_of(GLYPHS),
        sleeves=one_of(("short", "long")),
        cuff_bands=int(rng.integers(3)),
        trouser_colour=int(rng.integers(len(TROUSER_COLOURS))),
        trouser_pattern=one_of(TROUSER_PATTERNS),
        trouser_pitch=one_of(PITCHES),
        shoes=one_of(SHOES),
        hat=one_of(HATS),
        hat_colour=int(rng.integers(len(ACCENT_COLOURS))),
        bag=one_of(BAGS),
        bag_colour=int(rng.integers(len(ACCENT_COLOURS))),
        bag_glyph=one_of(GLYPHS[1:]),
        skin=int(rng.integers(len(SKIN_COLOURS))),
        hair=int(rng.integers(len(HAIR_COLOURS))),
    )


def draw_pedestrian(
    identity: Identity, camera: int, rng: np.random.Generator, height: int = 128, width: int = 64
) -> Image.Image:
    """Draw one picture of a person as one camera sees it.

    Position, size, pose, background, occluder, light, blur and noise come from `rng`; `camera` adds its own
    colour cast and contrast.

    Args:
        identity: Who is drawn.
        camera: 0 or 1.
        rng: Source of the nuisances.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels. The person keeps the proportions of a 128×64 picture.

    Returns:
        An RGB picture of size (`width`, `height`).
    """
    canvas = Canvas(height, width)
    _draw_background(canvas, rng)
    canvas.place(zoom=rng.uniform(0.93, 1.03), right=rng.uniform(-3.0, 3.0), down=rng.uniform(-2.0, 2.0))
    _draw_person(canvas, identity, rng)
    _draw_occluder(canvas, rng)
    picture = canvas.image.resize((width, height), Image.Resampling.BOX)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    return _photograph(picture, camera, rng)


def _draw_background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a wall, a ground and a few blocks, another scene in every picture."""
    half = canvas.width / 2
    horizon = rng.uniform(55.0, 100.0)
    wall = _grey(rng, 110, 170)
    canvas.box(-half, 0.0, half, horizon, wall)
    canvas.box(-half, horizon, half, canvas.height, _grey(rng, 100, 160))
    for _ in range(int(rng.integers(2, 6))):
        left, wide = rng.uniform(-half - 10.0, half), rng.uniform(6.0, 26.0)
        top = rng.uniform(0.0, horizon - 10.0)
        canvas.box(left, top, left + wide, min(horizon, top + rng.uniform(10.0, 60.0)), _grey(rng, 90, 180))
    for _ in range(int(rng.integers(0, 3))):
        y = rng.uniform(horizon, canvas.height)
        canvas.box(-half, y, half, y + rng.uniform(1.0, 4.0), _grey(rng, 90, 180))


def _grey(rng: np.random.Generator, low: int, high: int) -> Colour:
    """Draw a dull colour of random brightness."""
    shade = rng.uniform(low, high)
    red, green, blue = np.clip(shade + rng.normal(0.0, 8.0, 3), 0, 255)
    return int(red), int(green), int(blue)


def _draw_person(canvas: Canvas, identity: Identity, rng: np.random.Generator) -> None:
    stride = rng.uniform(0.0, 6.0) * (1 if rng.random() < 0.5 else -1)
    lift = rng.uniform(0.0, 3.0)
    _draw_leg(canvas, identity, -1, stride, max(0.0, stride) / 6 * lift)
    _draw_leg(canvas, identity, 1, stride, max(0.0, -stride) / 6 * lift)
    _draw_torso(canvas, identity)
    for side in (-1, 1):
        _draw_arm(canvas, identity, side, rng)
    _draw_head(canvas, identity, nod=rng.uniform(-1.0, 1.0))


def _draw_leg(canvas: Canvas, identity: Identity, side: int, stride: float, lift: float) -> None:
    colours = TROUSER_COLOURS[identity.trouser_colour]
    spread = 1.0 + abs(stride)
    foot = side * (5.5 + spread * 0.8)
    hip = side * 6.0
    ankle = 114.0 - lift
    leg = [(hip - 6.0, 64.0), (hip + 6.0, 64.0), (foot + 4.6, ankle), (foot - 4.6, ankle)]
    _draw_shoe(canvas, identity.shoes, foot, side, ankle)
    canvas.cloth(leg, identity.trouser_pattern, identity.trouser_pitch, colours, (hip, 66.0))


def _draw_shoe(canvas: Canvas, style: str, foot: float, side: int, ankle: float) -> None:
    left, right = sorted((foot - side * 4.5, foot + side * 7.0))
    canvas.box(left, ankle - 1.0, right, ankle + 6.0, INK if style == "dark" else PAPER)
    if style == "striped":
        for x in np.arange(left + 2.0, right, 4.0):
            canvas.box(x, ankle - 1.0, x + 2.0, ankle + 6.0, INK)
    else:
        canvas.box(left, ankle + 4.0, right, ankle + 6.0, PAPER if style == "dark" else INK)


def _draw_torso(canvas: Canvas, identity: Identity) -> None:
    colours = SHIRT_COLOURS[identity.shirt_colour]
    torso = [(-14.0, 28.0), (-9.0, 24.0), (9.0, 24.0), (14.0, 28.0), (12.5, 68.0), (-12.5, 68.0)]
    canvas.cloth(torso, identity.shirt_pattern, identity.shirt_pitch, colours, (0.0, 24.0))
    if identity.logo != "none":
        canvas.box(-9.5, 31.0, 9.5, 50.0, PAPER)
        draw_glyph(canvas, identity.logo, (0.0, 40.5), 7.5)


def _draw_arm(canvas: Canvas, identity: Identity, side: int, rng: np.random.Generator) -> None:
    angle = rng.uniform(0.05, 0.3)
    bend = angle - rng.uniform(0.0, 0.5)
    shoulder = (side * 13.5, 30.5)
    elbow = (shoulder[0] + side * 18.0 * math.sin(angle), shoulder[1] + 18.0 * math.cos(angle))
    hand = (elbow[0] + side * 17.0 * math.sin(bend), elbow[1] + 17.0 * math.cos(bend))
    dark, light = SHIRT_COLOURS[identity.shirt_colour]
    sleeve, skin = mean_colour((dark, light)), SKIN_COLOURS[identity.skin]
    canvas.limb(elbow, hand, 5.0, skin)
    canvas.limb(shoulder, elbow, 6.5, sleeve)
    start, end = shoulder, elbow
    if identity.sleeves == "long":
        end = (elbow[0] + 0.8 * (hand[0] - elbow[0]), elbow[1] + 0.8 * (hand[1] - elbow[1]))
        canvas.limb(elbow, end, 6.0, sleeve)
        start = elbow
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    for band in range(identity.cuff_bands):
        centre = length - 1.0 - 4.5 * band
        x, y = start[0] + centre * along[0], start[1] + centre * along[1]
        across = (-along[1] * 3.2, along[0] * 3.2)
        canvas.draw.line(
            canvas.pixels([(x - across[0], y - across[1]), (x + across[0], y + across[1])]),
            fill=light,
            width=round(2.2 * canvas.scale),
        )
    if (identity.bag == "left" and side < 0) or (identity.bag == "right" and side > 0):
        x, y = hand
        dark, light = ACCENT_COLOURS[identity.bag_colour]
        canvas.box(x - 7.5, y + 1.0, x + 7.5, y + 17.0, light)
        draw_glyph(canvas, identity.bag_glyph, (x, y + 9.0), 5.5, dark, light)


def _draw_head(canvas: Canvas, identity: Identity, nod: float) -> None:
    skin, hair = SKIN_COLOURS[identity.skin], HAIR_COLOURS[identity.hair]
    canvas.box(-3.0, 19.0, 3.0, 26.0, skin)
    canvas.ellipse(nod - 6.5, 6.0, nod + 6.5, 23.0, hair)
    canvas.ellipse(nod - 5.0, 9.5, nod + 5.0, 22.5, skin)
    if identity.hat == "none":
        return
    dark, light = ACCENT_COLOURS[identity.hat_colour]
    canvas.ellipse(nod - 7.0, 4.0, nod + 7.0, 17.0, dark)
    canvas.ellipse(nod - 5.0, 12.5, nod + 5.0, 22.5, skin)
    if identity.hat == "cap":
        canvas.box(nod - 8.0, 10.5, nod + 8.0, 12.5, light)
    else:
        for y in (7.0, 11.0):
            canvas.box(nod - 6.0, y, nod + 6.0, y + 2.0, light)


def _draw_occluder(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw, in one picture of five, a post at the side or a kerb before the feet."""
    chance = rng.random()
    half = canvas.width / 2
    if chance < 0.1:
        left = rng.choice((-1, 1)) * rng.uniform(12.0, half)
        canvas.box(left - 3.0, -10.0, left + 3.0, canvas.height + 10.0, _grey(rng, 50, 200))
    elif chance < 0.2:
        canvas.box(-half - 10.0, rng.uniform(104.0, 124.0), half + 10.0, 140.0, _grey(rng, 50, 200))


def _photograph(picture: Image.Image, camera: int, rng: np.random.Generator) -> Image.Image:
    """Apply the camera's contrast and cast, the light of the moment and sensor noise."""
    cast = (1.04, 1.0, 0.95) if camera == 0 else (0.94, 1.0, 1.05)
    contrast = 1.0 if camera == 0 else 0.86
    gain = np.asarray(cast) * contrast * rng.uniform(0.92, 1.08) * rng.normal(1.0, 0.02, 3)
    offset = (0.0 if camera == 0 else 12.0) + rng.uniform(-8.0, 8.0)
    pixels = np.asarray(picture, np.float32) * gain.astype(np.float32) + np.float32(offset)
    pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1.0, 4.0))
    return Image.fromarray(np.clip(pixels, 0.0, 255.0).astype(np.uint8))
