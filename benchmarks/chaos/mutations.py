"""Files that are wrong on purpose: bytes changed, values of other types, claims of sizes, and code that would run."""

from __future__ import annotations

import copy
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

HOSTILE: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 2**31,
    lambda: 10**30,
    lambda: 1.5,
    lambda: -1e300,
    lambda: "",
    lambda: "x" * 3000,
    lambda: "../../../../../../etc/passwd",
    lambda: "/etc/passwd",
    lambda: "<script>alert(1)</script>",
    lambda: "a\x00b",
    lambda: [],
    lambda: {},
    lambda: {"a": [1, {"b": None}]},
    lambda: [[1, "2"], None],
    lambda: list(range(1000)),
)
"""Makers of values that stand where another is meant."""


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Change, cut, put in, take out or zero some bytes, more often near the beginning and the end."""
    found = bytearray(content)
    span = rng.choice((len(found), min(len(found), 200)))
    at = rng.randrange(span) if rng.random() < 0.7 else len(found) - 1 - rng.randrange(span)
    length = rng.randint(1, 40)
    match rng.randrange(5):
        case 0:
            for _ in range(rng.randint(1, 5)):
                found[min(at + rng.randrange(64), len(found) - 1)] = rng.randrange(256)
        case 1:
            del found[at:]
        case 2:
            found[at:at] = rng.randbytes(length)
        case 3:
            del found[at : at + length]
        case _:
            found[at : at + length] = bytes(len(found[at : at + length]))
    return bytes(found)


def changed(value: Any, rng: random.Random, times: int = 1) -> Any:
    """Give a copy of nested lists and dictionaries with some values replaced, left out or put in."""
    found = copy.deepcopy(value)
    for _ in range(times):
        places = list(_places(found))
        if not places:
            return rng.choice(HOSTILE)()
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("x", "__class__", "", "a.b"))] = rng.choice(HOSTILE)()
            case _:
                holder[key] = rng.choice(HOSTILE)()
    return found


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        pairs: Any = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    else:
        return
    for key, item in pairs:
        yield value, key
        yield from _places(item)


class Touch:
    """Leaves a mark where it is unpickled by running code."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


class SystemTouch(Touch):
    """The same by the shell."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        import os

        return os.system, (f"touch {self.mark}",)


def gigapixel_png() -> bytes:
    """A whole PNG of one bit a pixel; the same rows compress to a thousandth."""
    side = 32_000

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    body = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def picture_bombs() -> dict[str, bytes]:
    """Small files that claim a gigapixel or more, by format."""
    small = Image.new("RGB", (16, 24), "red")

    def encoded(name: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        small.save(buffer, name, **options)
        return buffer.getvalue()

    jpeg, bmp, gif, tiff, ppm = (bytearray(encoded(name)) for name in ("JPEG", "BMP", "GIF", "TIFF", "PPM"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    for tag in (0x100, 0x101):
        at = tiff.index(struct.pack("<HH", tag, 4 if struct.pack("<HH", tag, 4) in tiff else 3))
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 50_000)
    wide = encoded("PNG")
    cut = wide[:16] + struct.pack(">II", 60_000, 60_000) + wide[24:29]
    png = cut + struct.pack(">I", zlib.crc32(cut[12:29])) + wide[33:]
    return {
        "jpg": bytes(jpeg),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "tif": bytes(tiff),
        "ppm": bytes(ppm).replace(b"16 24", b"60000 60000"),
        "png": png,
        "whole.png": gigapixel_png(),
    }


def yaml_bombs(mark: Path) -> dict[str, str]:
    """Configurations that would grow, run or recurse."""
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        laughs += f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    return {
        "billion laughs": laughs,
        "an alias of itself": "a: &a [*a]\n",
        "merged keys": "a: &a {x: 1}\nb: {<<: [*a, *a]}\n",
        "a tag that runs": f"name: !!python/object/apply:os.system ['touch {mark}']\n",
        "a tag of an object": "name: !!python/object/new:pathlib.Path ['x']\n",
        "nested flow": "[" * 5000 + "]" * 5000,
        "nested blocks": "\n".join(" " * i + "a:" for i in range(300)),
        "a number without end": f"seed: {'9' * 6000}\n",
        "sixties": "seed: 1" + ":59" * 20_000 + "\n",
        "two documents": "name: a\n---\nname: b\n",
        "a date": "name: 2024-13-45\n",
        "no text": "\x00\x01",
        "a list": "- 1\n- 2\n",
        "nothing": "",
    }


def json_bombs() -> dict[str, str]:
    """JSON that readers of other programs take."""
    return {
        "nested lists": "[" * 100_000,
        "nested lists, closed": "[" * 990 + "]" * 990,
        "nested dictionaries": '{"a":' * 50_000,
        "NaN": '{"version": NaN}',
        "Infinity": "-Infinity",
        "beyond": '{"version": 1e999}',
        "digits": "9" * 5000,
        "a number": "3",
        "null": "null",
        "cut": '{"version": 1',
        "nothing": "",
    }
