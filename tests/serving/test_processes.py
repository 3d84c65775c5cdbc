"""The retrieval module in a data loader, in threads, after fork, and on a second GPU."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from conftest import write_picture
from intact_fast import SRReID
from intact_fast.models import Generator, build_osnet


def make() -> SRReID:
    torch.manual_seed(0)
    critic, generator = build_osnet("osnet_x0_25", 5), Generator(widths=(4, 4, 4, 4))
    with torch.no_grad():
        # statistics of real pictures, so that features differ
        critic.train()(torch.randn(8, 3, 48, 32))
        generator(torch.randn(8, 3, 48, 32))
    return SRReID(critic, generator, (48, 32), lr_height=40)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Pictures of which every second one passes through G."""
    found = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(found):
        write_picture(path, i, (12, 24) if i % 2 else (24, 48))
    return found


class Features(Dataset[Tensor]):
    """Computes in a worker, with a module that came along."""

    def __init__(self, model: SRReID, paths: list[Path]) -> None:
        self.model, self.paths = model, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.model(self.paths[index])[0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_the_workers_of_a_loader(paths: list[Path], start: str) -> None:
    model = make()
    # computed first: a process that has computed before may be copied
    expected = model(paths)
    loader = DataLoader(Features(model, paths), batch_size=4, num_workers=1, multiprocessing_context=start)
    close(torch.cat(list(loader)), expected)


def test_around_a_loader_of_pictures_of_any_size() -> None:
    model = make()
    pictures = [torch.rand(3, 48 - 4 * i, 20) for i in range(5)]
    loader = DataLoader(pictures, batch_size=2, collate_fn=list, num_workers=1)  # type: ignore[arg-type]
    close(torch.cat([model(batch) for batch in loader]), model(pictures))


def test_features_go_on_into_a_training(paths: list[Path]) -> None:
    """They are made without gradients; a clone of them takes part in a graph."""
    head = torch.nn.Linear(512, 3)
    head(make()(paths).clone()).sum().backward()
    assert head.weight.grad is not None


def test_threads_share_a_module(paths: list[Path]) -> None:
    model = make()
    expected = model(paths)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model(paths), range(8)):
            close(found, expected)


def compute_and_send(model: SRReID, paths: list[Path], end: Connection) -> None:
    torch.set_num_threads(1)
    end.send(model(paths).tolist())


def test_after_fork(paths: list[Path]) -> None:
    model = make()
    expected = model(paths)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=compute_and_send, args=(model, paths, theirs))
    process.start()
    assert ours.poll(60), "a child that hangs"
    close(torch.tensor(ours.recv()), expected)
    process.join()
    # and the parent goes on
    close(model(paths), expected)


def second_gpu() -> str:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    return "cuda:1"


@pytest.mark.cuda
@pytest.mark.parametrize(
    "copied", [lambda model: model, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_on_a_second_gpu(paths: list[Path], tmp_path: Path, copied: Any) -> None:
    device = second_gpu()
    model = make()
    model.save_pretrained(tmp_path / "model.safetensors")
    there = copied(SRReID.from_pretrained(tmp_path / "model.safetensors", device=device))
    assert there.device == there(paths).device == there.super_resolve(paths).device == torch.device(device)
    torch.testing.assert_close(there(paths).cpu(), model(paths), rtol=0, atol=5e-3)
    pictures = torch.rand(2, 3, 24, 12)
    # pictures on the first GPU go to the module's
    torch.testing.assert_close(there(pictures.to("cuda:0")), there(pictures), rtol=0, atol=5e-3)


@pytest.mark.cuda
def test_on_a_gpu_in_a_spawned_worker(paths: list[Path]) -> None:
    model = make().to("cuda")
    loader = DataLoader(Features(model, paths), batch_size=4, num_workers=1, multiprocessing_context="spawn")
    found = torch.cat([batch.cpu() for batch in loader])
    torch.testing.assert_close(found, model(paths).cpu(), rtol=0, atol=5e-3)
