"""INTACT: super-resolution trained for cross-resolution person re-identification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intact_fast.config.options import Config
from intact_fast.errors import UserError

if TYPE_CHECKING:
    from intact_fast.serving.sr_reid import SRReID

    __version__: str

__all__ = ["Config", "SRReID", "UserError"]


def __getattr__(name: str) -> Any:
    """Import `SRReID`, and PyTorch with it, when it is asked for, and look up the version."""
    if name == "SRReID":
        from intact_fast.serving.sr_reid import SRReID

        return SRReID
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("intact_fast")
        except PackageNotFoundError:
            return "of a checkout that is not installed"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
