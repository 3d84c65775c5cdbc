"""Picture files of eight formats, whole and damaged in seeded ways, all named ``.jpg``."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000")
SIZE = (8, 12)
"""(width, height) of every picture."""


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def exif_with(*entries: bytes) -> bytes:
    """An EXIF segment with the orientation 6 and other entries of 12 bytes."""
    rows = (struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), *entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(rows) + bytes(4)


BROKEN_EXIF = {
    "a resolution that is no number": exif_with(struct.pack("<HHI4s", 0x011A, 7, 4, b"abcd")),
    "a text where a number belongs": exif_with(struct.pack("<HHI4s", 0x0100, 2, 4, b"abc\0")),
}
"""EXIF segments that Pillow cannot write again, as it does when it turns a picture."""


def whole_files(seed: int = 0) -> dict[str, list[bytes]]:
    """Files by format, some of forms that DALI reads otherwise than Pillow: CMYK, palettes, 16 bits, several frames."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    grey_16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    files = {name: [encoded(image, name)] for name in FORMATS}
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        files[name].append(encoded(image, name, exif=exif))
    files["JPEG"] += [
        encoded(image, "JPEG", progressive=True),
        encoded(image, "JPEG", subsampling=0),
        encoded(image, "JPEG", keep_rgb=True),
        encoded(image.convert("L"), "JPEG"),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "JPEG") + b"\0 after the end",
    ]
    files["PNG"] += [
        encoded(image.convert("P"), "PNG", transparency=bytes(range(256))),
        encoded(image.convert("RGBA"), "PNG"),
        encoded(image.convert("1"), "PNG"),
        encoded(grey_16, "PNG"),
        encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]),
    ]
    files["GIF"].append(encoded(image, "GIF", save_all=True, append_images=[image.rotate(180)]))
    files["TIFF"].append(encoded(grey_16, "TIFF"))
    return files


def damaged_files(count: int, seed: int) -> Iterator[bytes]:
    """Damage whole files, the formats in turn: bytes changed, cut off, put in, taken out, set to zero."""
    rng = np.random.default_rng(seed)
    files = whole_files(seed)
    for number in range(count):
        of_format = files[FORMATS[number % len(FORMATS)]]
        yield _damaged(bytearray(of_format[rng.integers(len(of_format))]), rng)


def _damaged(content: bytearray, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(content))), int(rng.integers(1, 33))
    match rng.integers(6):
        case 0:
            for place in rng.integers(len(content), size=rng.integers(1, 5)):
                content[place] = rng.integers(256)
        case 1:
            del content[at:]
        case 2:
            content[at:at] = rng.bytes(length)
        case 3:
            del content[at : at + length]
        case 4:
            content[at : at + length] = bytes(len(content[at : at + length]))
        case _:
            for place in rng.integers(min(len(content), 64), size=rng.integers(1, 4)):
                content[place] = rng.integers(256)
    return bytes(content)
