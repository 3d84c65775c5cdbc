"""Pictures inside an HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable

from PIL import Image, features

_ROWS, _QUALITY = 384, 88
_SMALL_ROWS, _SMALL_QUALITY = 160, 72


class EmbeddedPictures:
    """Pictures as ``data:`` addresses, each of them once.

    Attributes:
        addresses: In the order in which they were added.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._places: dict[Hashable, int] = {}
        # a Pillow built from source can lack it
        self._format = "WEBP" if features.check("webp") else "JPEG"

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def add(self, key: Hashable, image: Image.Image, small: bool = False) -> int:
        """Embed a picture, unless one of this key is there already.

        Args:
            key: What the picture shows.
            image: RGB.
            small: Whether a lower picture will do, as of the many in ranked lists.

        Returns:
            Its place in `addresses`.
        """
        if key not in self._places:
            rows, quality = (_SMALL_ROWS, _SMALL_QUALITY) if small else (_ROWS, _QUALITY)
            if image.height > rows:
                image = image.resize((round(image.width * rows / image.height) or 1, rows), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            image.save(buffer, self._format, quality=quality)
            encoded = base64.b64encode(buffer.getvalue()).decode()
            self._places[key] = len(self.addresses)
            self.addresses.append(f"data:image/{self._format.lower()};base64,{encoded}")
        return self._places[key]

    def place(self, key: Hashable) -> int:
        """Find a picture that was added."""
        return self._places[key]
