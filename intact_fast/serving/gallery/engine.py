"""The database below a gallery: Lance's tables and Arrow's, named where they are missing, and what they refuse."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intact_fast.errors import UserError, cannot_write

# what Lance finds remarkable about its own work is nothing for a user
os.environ.setdefault("LANCE_LOG", "error")
os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
_PLACE_IN_SOURCE = re.compile(r",? /\S+\.rs:\d+.*$", re.DOTALL)


class _Missing:
    """Stands for a library that is not installed, and says so at its first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UserError("a gallery needs Lance; pip install 'intact_fast[search]'")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return _Missing()


lance = _imported("lance")
lance_file = _imported("lance.file")
pa = _imported("pyarrow")
pc = _imported("pyarrow.compute")
pq = _imported("pyarrow.parquet")
csv = _imported("pyarrow.csv")


_PANIC = "PanicException"


@contextmanager
def engine_errors(what: str, remedy: str = "") -> Iterator[None]:
    """Turn an error of the engine into one of the user's, in one line.

    Args:
        what: The option or file that is at fault, as the error begins.
        remedy: What to do, as the error ends.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        # Lance says by any of these what it has against a query, a file or a disk; a panic of Rust is no Exception
        if not isinstance(error, OSError | RuntimeError | ValueError | TypeError) and type(error).__name__ != _PANIC:
            raise
        text = " ".join(_PLACE_IN_SOURCE.sub("", str(error)).split())
        if said := _SYSTEM_ERROR.search(str(error)):
            number = int(said[1])
            raise cannot_write(Path(what.split()[-1]), OSError(number, os.strerror(number))) from error
        raise UserError(f"{what}: {text.removeprefix('Invalid user input: ')}{'; ' * bool(remedy)}{remedy}") from error
