"""One reader per data set; each turns a folder into a :class:`Catalogue`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from intact_fast.data.catalogue import Catalogue
from intact_fast.data.datasets.folder import read_folder
from intact_fast.data.datasets.market1501 import read_market1501
from intact_fast.data.datasets.synthetic import read_synthetic
from intact_fast.data.datasets.viper import read_viper

READERS: dict[str, Callable[[Path], Catalogue]] = {
    "synthetic": read_synthetic,
    "viper": read_viper,
    "market1501": read_market1501,
    "folder": read_folder,
}

__all__ = ["READERS", "read_folder", "read_market1501", "read_synthetic", "read_viper"]
