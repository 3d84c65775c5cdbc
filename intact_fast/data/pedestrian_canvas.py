"""A canvas on which pedestrians are drawn: shapes, patterned cloth and the glyphs of logos and bags.

Lengths are native pixels, as in `intact_fast.data.pedestrian`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 3
REFERENCE_HEIGHT = 128

INK: Colour = (24, 22, 26)
PAPER: Colour = (240, 238, 230)


class Canvas:
    """A supersampled picture with the person's coordinates: x from its axis, y from its top."""

    def __init__(self, height: int, width: int) -> None:
        self.image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING))
        self.draw = ImageDraw.Draw(self.image)
        self.height = float(REFERENCE_HEIGHT)
        self.width = REFERENCE_HEIGHT * width / height
        self._unit = self.image.height / REFERENCE_HEIGHT
        self.place(1.0, 0.0, 0.0)

    def place(self, zoom: float, right: float, down: float) -> None:
        """Scale and move everything that is drawn from now on."""
        self.scale = self._unit * zoom
        self._left = self._unit * right + self.image.width / 2
        self._top = self._unit * down + (1.0 - zoom) * self.image.height / 2

    def pixels(self, points: Sequence[Point]) -> list[Point]:
        """Turn points of the person into pixels of the supersampled picture."""
        return [(self._left + self.scale * x, self._top + self.scale * y) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon(self.pixels(points), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.draw.rectangle(self.pixels([(left, top), (right, bottom)]), fill=colour)

    def ellipse(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an ellipse that touches four sides."""
        self.draw.ellipse(self.pixels([(left, top), (right, bottom)]), fill=colour)

    def limb(self, start: Point, end: Point, thickness: float, colour: Colour) -> None:
        """Draw a straight line with round ends."""
        self.draw.line(self.pixels([start, end]), fill=colour, width=round(thickness * self.scale))
        for x, y in (start, end):
            half = thickness / 2
            self.ellipse(x - half, y - half, x + half, y + half, colour)

    def cloth(
        self,
        points: Sequence[Point],
        pattern: str,
        pitch: float,
        colours: tuple[Colour, Colour],
        origin: Point,
    ) -> None:
        """Fill a polygon with a pattern that is anchored at `origin`."""
        pixels = self.pixels(points)
        left, top = (math.floor(min(values)) for values in zip(*pixels, strict=True))
        right, bottom = (math.ceil(max(values)) + 1 for values in zip(*pixels, strict=True))
        ((x, y),) = self.pixels([origin])
        layer = _pattern((right - left, bottom - top), pattern, pitch * self.scale, colours, (x - left, y - top))
        mask = Image.new("1", layer.size)
        ImageDraw.Draw(mask).polygon([(px - left, py - top) for px, py in pixels], fill=1)
        self.image.paste(layer, (left, top), mask)


def mean_colour(colours: tuple[Colour, Colour]) -> Colour:
    """Mix two colours half and half, rounded down."""
    red, green, blue = ((a + b) // 2 for a, b in zip(*colours, strict=True))
    return red, green, blue


def _pattern(
    size: tuple[int, int], pattern: str, pitch: float, colours: tuple[Colour, Colour], origin: Point
) -> Image.Image:
    """Draw a piece of cloth of `size` pixels. Every kind of pattern has about the mean of the two colours."""
    if pattern == "plain":
        return Image.new("RGB", size, mean_colour(colours))
    x = (np.arange(size[0]) + 0.5 - origin[0]) / pitch
    y = (np.arange(size[1]) + 0.5 - origin[1])[:, None] / pitch
    if pattern == "hoops":
        ink = np.broadcast_to(y % 1.0 < 0.5, size[::-1])
    elif pattern == "pinstripes":
        ink = np.broadcast_to((x + 0.25) % 1.0 < 0.5, size[::-1])
    elif pattern == "checks":
        ink = ((x + 0.25) % 1.0 < 0.5) ^ (y % 1.0 < 0.5)
    else:
        assert pattern == "chevrons", pattern
        ink = (y + np.abs(x)) % 1.0 < 0.5
    palette = np.array(colours[::-1], np.uint8)
    return Image.fromarray(palette[ink.astype(np.uint8)])


def draw_glyph(
    canvas: Canvas, name: str, centre: Point, radius: float, ink: Colour = INK, paper: Colour = PAPER
) -> None:
    """Draw one symmetric sign (a flip leaves it as it is) of ink on paper, 2 `radius` wide."""

    def at(*points: Point) -> list[Point]:
        return [(centre[0] + radius * x, centre[1] + radius * y) for x, y in points]

    def box(left: float, top: float, right: float, bottom: float, colour: Colour = ink) -> None:
        canvas.polygon(at((left, top), (right, top), (right, bottom), (left, bottom)), colour)

    def disc(x: float, y: float, size: float, colour: Colour = ink) -> None:
        (left, top), (right, bottom) = at((x - size, y - size), (x + size, y + size))
        canvas.ellipse(left, top, right, bottom, colour)

    if name == "ring":
        disc(0, 0, 1)
        disc(0, 0, 0.55, paper)
    elif name == "plus":
        box(-0.25, -1, 0.25, 1)
        box(-1, -0.25, 1, 0.25)
    elif name == "cross":
        canvas.polygon(at((-1, -1), (-0.5, -1), (1, 1), (0.5, 1)), ink)
        canvas.polygon(at((1, -1), (0.5, -1), (-1, 1), (-0.5, 1)), ink)
    elif name == "triangle":
        canvas.polygon(at((0, -1), (1, 1), (-1, 1)), ink)
    elif name == "wedge":
        canvas.polygon(at((-1, -1), (1, -1), (0, 1)), ink)
    elif name == "frame":
        box(-1, -1, 1, 1)
        box(-0.6, -0.6, 0.6, 0.6, paper)
    elif name == "letter_h":
        box(-1, -1, -0.55, 1)
        box(0.55, -1, 1, 1)
        box(-1, -0.2, 1, 0.2)
    elif name == "rows":
        for top in (-1, -0.2, 0.6):
            box(-1, top, 1, top + 0.4)
    elif name == "columns":
        for left in (-1, -0.2, 0.6):
            box(left, -1, left + 0.4, 1)
    else:
        assert name == "smile", name
        box(-0.7, -0.9, -0.3, -0.3)
        box(0.3, -0.9, 0.7, -0.3)
        canvas.polygon(at((-1, 0.1), (1, 0.1), (0.5, 0.9), (-0.5, 0.9)), ink)
