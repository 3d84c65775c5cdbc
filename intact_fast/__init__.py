"""INTACT: super-resolution trained for cross-resolution person re-identification."""

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.serving.sr_reid import SRReID

__all__ = ["Config", "SRReID", "UserError"]
