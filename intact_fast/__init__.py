"""INTACT: super-resolution trained for cross-resolution person re-identification."""

from intact_fast.config import Config
from intact_fast.errors import UserError
from intact_fast.models.sr_reid import SRReID

__all__ = ["Config", "SRReID", "UserError"]
