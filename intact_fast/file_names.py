"""Names of files that are no Unicode, or that the locale cannot write."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def portable_name(name: str) -> str:
    """Give a name as files of ours hold it: its bytes as UTF-8, whatever the locale.

    Bytes that are no UTF-8 become lone surrogates. The result is the name itself wherever the locale is UTF-8.

    Args:
        name: As the operating system gave it to Python.
    """
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    # typed in a file, and of no file that the locale can name
    except UnicodeEncodeError:
        return name


def native_name(name: str) -> str:
    """Give the name by which this locale opens what `portable_name` named."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def on_one_line(text: str) -> str:
    """Write line ends and other control characters, which a file's name may hold, as their escapes."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)


def leads_out(path: str, follow: bool = False) -> bool:
    """Say whether a relative path may lead out of its folder: by its first characters, or by ``..``.

    Args:
        path: With forward slashes.
        follow: Count ``a/../b``, too: where ``a`` is a link, it leads elsewhere.
    """
    if os.path.isabs(path) or "\0" in path:
        return True
    parts = path.split("/") if follow else os.path.normpath(path).split(os.sep)
    return os.pardir in parts


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    """Give a path that a library outside Python can open: safetensors and ONNX Runtime take names in UTF-8 alone.

    Args:
        path: An existing file.

    Yields:
        The path itself, or a link to it of a plain name, which goes with the context.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            # PyTorch goes by the ending
            link = Path(folder) / ("file" + (path.suffix if path.suffix.isascii() else ""))
            link.symlink_to(path.resolve())
            yield link
    else:
        yield path
