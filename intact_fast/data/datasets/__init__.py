"""One reader per data set; each turns a folder into a :class:`Catalogue`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from intact_fast.config.options import DataConfig, DatasetName
from intact_fast.data.catalogue import Catalogue
from intact_fast.data.datasets.caviar import read_caviar
from intact_fast.data.datasets.cuhk03 import read_cuhk03
from intact_fast.data.datasets.cuhk03_np import read_cuhk03_np
from intact_fast.data.datasets.dukemtmc import read_dukemtmc
from intact_fast.data.datasets.folder import read_folder
from intact_fast.data.datasets.market1501 import read_market1501
from intact_fast.data.datasets.msmt17 import read_msmt17
from intact_fast.data.datasets.synthetic import read_synthetic
from intact_fast.data.datasets.viper import read_viper
from intact_fast.data.progress import Progress

Reader = Callable[[DataConfig, Progress], Catalogue]


def _of_root(read: Callable[[Path], Catalogue]) -> Reader:
    """Adapt a reader that has no options and is too quick for progress."""
    return lambda config, progress: read(config.root)


def _read_cuhk03(config: DataConfig, progress: Progress) -> Catalogue:
    return read_cuhk03(config.root, config.cuhk03_boxes, config.cuhk03_protocol, config.split_seed, progress)


def _read_cuhk03_np(config: DataConfig, progress: Progress) -> Catalogue:
    return read_cuhk03_np(config.root, config.cuhk03_boxes)


def _read_folder(config: DataConfig, progress: Progress) -> Catalogue:
    return read_folder(config.root, config.name_pattern)


READERS: dict[DatasetName, Reader] = {
    "synthetic": _of_root(read_synthetic),
    "viper": _of_root(read_viper),
    "market1501": _of_root(read_market1501),
    "dukemtmc": _of_root(read_dukemtmc),
    "cuhk03": _read_cuhk03,
    "cuhk03-np": _read_cuhk03_np,
    "msmt17": _of_root(read_msmt17),
    "caviar": _of_root(read_caviar),
    "folder": _read_folder,
}

__all__ = [
    "READERS",
    "read_caviar",
    "read_cuhk03",
    "read_cuhk03_np",
    "read_dukemtmc",
    "read_folder",
    "read_market1501",
    "read_msmt17",
    "read_synthetic",
    "read_viper",
]
