"""The processes that read pictures with Pillow."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.loader_cases import (
    CONFIG,
    assert_identical,
    loader_of,
    take,
)
from intact_fast.data import pillow_loader
from intact_fast.data.degradation import read_image


def test_workers_give_what_this_process_gives(pictures: list[Path]) -> None:
    # torch's thread pool and a process group are running when the workers fork
    torch.randn(256, 256) @ torch.randn(256, 256)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.distributed.all_reduce(torch.ones(3))
        parallel = take(loader_of(pictures, replace(CONFIG, threads=2, pad=3)), 10)
    finally:
        torch.distributed.destroy_process_group()
    for a, b in zip(parallel, take(loader_of(pictures, replace(CONFIG, pad=3)), 10), strict=True):
        assert_identical(a, b)


def test_workers_never_finalise_what_the_trainer_owned(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A DALI pipeline left as garbage made a worker wait for ever for threads that it did not have."""

    class Owned:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    def read(path: Path) -> Image.Image:
        gc.collect()
        return read_image(path)

    monkeypatch.setattr(pillow_loader, "read_image", read)
    gc.collect()
    gc.disable()
    try:
        Owned()
        take(loader_of(pictures, replace(CONFIG, threads=2)), 1)
    finally:
        gc.enable()
    gc.collect()
    assert [path.name for path in tmp_path.iterdir() if path.name.isdecimal()] == [str(os.getpid())]
