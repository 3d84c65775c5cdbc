"""Options of a gallery's columns, and what names the model of its features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from intact_fast.commands.model_options import ServingOptions, model_files
from intact_fast.errors import UserError
from intact_fast.serving.gallery.columns import ColumnSource, read_pattern, read_table
from intact_fast.serving.gallery.store import Identity
from intact_fast.serving.sr_reid import Mode, SRReID


@dataclass(frozen=True)
class ColumnOptions(ServingOptions):
    """Options of a command that keeps features with columns."""

    mode: Mode = "auto"
    """Which pictures pass through G: natively small ones, all, or none."""
    columns_pattern: str | None = None
    """Regular expression whose named groups camera, time, track and person are read off a picture's name; it is
    searched in the path below the gallery where it holds a slash."""
    columns: Path | None = None
    """CSV or Parquet file with a column path, relative to the gallery, and some of camera, time, track and person."""
    drop_vanished: bool = False
    """Drop what is known of vanished pictures even if most have vanished, as from a disk that is not mounted."""

    def source(self) -> ColumnSource | None:
        """Read where columns come from; None where nothing is given.

        Raises:
            UserError: Both options are given, or one is wrong.
        """
        if self.columns_pattern is not None and self.columns is not None:
            raise UserError("--columns-pattern and --columns: both say what a picture's columns are; give one")
        if self.columns is not None:
            return read_table(self.columns)
        return None if self.columns_pattern is None else read_pattern(self.columns_pattern)

    def identity(self, model: SRReID) -> Identity:
        """Name everything that the features of a picture depend on besides the picture."""
        settings = f"mode={model.mode} lr_height={model.lr_height} precision={model.computes_in}"
        return Identity.of_files(model_files(self.model, self.critic), settings)
