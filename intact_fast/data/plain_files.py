"""Picture files that NVIDIA DALI decodes as Pillow does: sound files of the usual forms of JPEG and PNG.

On damaged files DALI's decoders disagree with Pillow, stop the process or never return. So DALI gets no file whose
structure is not whole, and none of a form that it decodes otherwise: CMYK, palettes, 16 bits, other formats under a
name that ends in ``.jpg``.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from PIL import Image

from intact_fast.data.decoding import MOST_PIXELS

_START_OF_FRAME = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive, with Huffman codes; others are lossless, hierarchical or arithmetic."""
_TABLES_AND_COMMENTS = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_UPRIGHT = (b"\x12\x01\x03\x00\x01\x00\x00\x00\x01\x00", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"tEXt", b"sRGB", b"gAMA", b"cHRM")


def is_plain(content: bytes) -> bool:
    """Say whether DALI can be trusted with the content of a file."""
    if content.startswith(_PNG):
        return _is_plain_png(content)
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9") and _is_plain_jpeg(content)


def is_plain_file(path: Path) -> bool:
    """Say whether DALI can be trusted with a file; not with one that cannot be read."""
    try:
        return is_plain(path.read_bytes())
    except OSError:
        return False


def _is_plain_png(content: bytes) -> bool:
    """Whether it has 8 bits of grey or RGB without transparency, and each chunk its right checksum."""
    at, names = len(_PNG), []
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        body = content[at + 4 : at + 8 + length]
        if zlib.crc32(body).to_bytes(4) != content[at + 8 + length : at + 12 + length]:
            return False
        names.append(body[:4])
        if body[:4] not in _PNG_CHUNKS or (body[:4] == b"IHDR" and not _is_plain_header(body)):
            return False
        at += 12 + length
    return at == len(content) and names[:1] == [b"IHDR"] and names.count(b"IHDR") == 1 and names[-1] == b"IEND"


def _is_plain_header(body: bytes) -> bool:
    return body[12:14] in (b"\x08\x00", b"\x08\x02") and _is_of_a_size(body[8:12], body[4:8])


def _is_of_a_size(height: bytes, width: bytes) -> bool:
    """Whether a picture may have so many pixels, for us and for Pillow."""
    pixels = int.from_bytes(height) * int.from_bytes(width)
    return 0 < pixels <= min(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or MOST_PIXELS)


def _is_plain_jpeg(content: bytes) -> bool:
    """Whether markers, tables and frame fit each other, for 8 bits of grey or YCbCr, upright."""
    at, components = 2, b""
    while True:
        if content[at : at + 1] != b"\xff":
            return False
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        body = content[at + 4 : at + 2 + length]
        if marker == 0xD9:
            return bool(components) and at + 2 == len(content)
        if length < 2 or len(body) != length - 2:
            return False
        at += 2 + length
        if marker in _START_OF_FRAME:
            if components or not _is_plain_frame(body):
                return False
            components = body[6::3]
        elif marker == 0xDA:
            if not _is_scan(body, components):
                return False
            found = _MARKER.search(content, at)
            if found is None:
                return False
            at = found.start()
        elif marker not in _TABLES_AND_COMMENTS or not _is_harmless(marker, body):
            return False


def _is_plain_frame(body: bytes) -> bool:
    """Whether a frame has 8 bits, a size, and one component or three."""
    if len(body) not in (9, 15) or body[0] != 8 or not _is_of_a_size(body[1:3], body[3:5]):
        return False
    count = body[5]
    # components by other numbers, such as the letters RGB, are no YCbCr
    return len(body) == 6 + 3 * count and (count == 1 or body[6::3] in (b"\x01\x02\x03", b"\x00\x01\x02"))


def _is_scan(body: bytes, components: bytes) -> bool:
    """Whether a scan is of the frame's components."""
    return len(body) >= 6 and len(body) == 4 + 2 * body[0] and set(body[1 : 1 + 2 * body[0] : 2]) <= set(components)


def _is_harmless(marker: int, body: bytes) -> bool:
    """Whether a segment leaves the picture upright and YCbCr, and is whole where it is a table."""
    if marker == 0xE1:
        if b"Orientation" in body:
            return False
        tags = body.count(b"\x12\x01") + body.count(b"\x01\x12")
        return tags == 0 or (tags == 1 and any(tag in body for tag in _UPRIGHT))
    if marker == 0xEE and body.startswith(b"Adobe"):
        return body[-1:] in (b"\x00", b"\x01")
    if marker == 0xC4:
        return _are_huffman_tables(body)
    if marker == 0xDB:
        return len(body) % 65 == 0 or len(body) % 129 == 0
    return marker != 0xDD or len(body) == 2


def _are_huffman_tables(body: bytes) -> bool:
    at = 0
    while at + 17 <= len(body):
        at += 17 + sum(body[at + 1 : at + 17])
    return at == len(body)
