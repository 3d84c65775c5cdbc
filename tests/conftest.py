from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intact_fast.config.options import (
    AssociationConfig,
    Config,
    CriticConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    GeneratorConfig,
    TrainingConfig,
)
from intact_fast.training.distributed.process import Process

# tiny networks gain nothing from a second thread and lose much to a busy neighbour
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let one process at a time test on the GPU: some tests ask for most of its memory."""
    if not (torch.cuda.is_available() and item.get_closest_marker("cuda")):
        return (yield)
    with (Path(tempfile.gettempdir()) / f"intact_fast-cuda-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return (yield)


def pytest_collection_finish() -> None:
    # every table that is run collects garbage; what was imported is none
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def write_picture(path: Path, seed: int, size: tuple[int, int] = (24, 48)) -> None:
    """Write a smooth random picture of (width, height)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 3, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)


def write_picture_folder(root: Path, identities: int = 12, pictures: int = 2) -> Path:
    """Make a `folder` data set: two cameras, `pictures` of every identity in each."""
    for pid in range(identities):
        for camera in (1, 2):
            for number in range(pictures):
                name = f"{pid:04d}_cam{camera}_{number}.jpg"
                write_picture(root / name, seed=100 * pid + 10 * camera + number)
    return root


def make_tiny_config(folder: Path) -> Config:
    """The smallest training that still does everything, of the data set `pictures` in a folder."""
    config = Config(
        preset="cpu",
        runs=folder / "runs",
        device="cpu",
        generator=GeneratorConfig(widths=(4, 4, 6, 6), skip="add", global_residual=True),
        discriminator=DiscriminatorConfig(widths=(4, 4, 6, 8), hidden=10),
        association=AssociationConfig(hidden=(12, 10), latent=8),
        critic=CriticConfig(arch="osnet_x0_25", iterations=2, batch_size=4, pad=2),
        training=TrainingConfig(
            iterations=4, batch_size=4, precision="fp32", log_every=2, checkpoint_every=2, validate_every=0
        ),
        evaluation=EvaluationConfig(batch_size=8),
    )
    data = replace(
        config.data,
        dataset="folder",
        root=folder / "pictures",
        height=48,
        width=32,
        backend="pillow",
        threads=0,
        val_fraction=0.4,
    )
    return replace(config, data=data)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """`write_picture_folder` where `tiny_config` looks for it."""
    return partial(write_picture_folder, tmp_path / "pictures")


@pytest.fixture
def tiny_config(tmp_path: Path) -> Config:
    return make_tiny_config(tmp_path)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run that is over; its folder and its pictures are for reading."""
    # here alone: the tests of a GPU need none of what a whole run does
    from intact_fast.training.run import Run

    folder = tmp_path_factory.mktemp("tiny_run")
    write_picture_folder(folder / "pictures")
    config = make_tiny_config(folder)
    config = replace(config, training=replace(config.training, iterations=2, log_every=1))
    Run(config, Process(0, 1, torch.device("cpu"), None)).execute()
    return config


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Give the rights of root away for a while; the folder is root's, and all may read it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, whose rights it gives away")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


_OCCUPY = """
import sys
from pathlib import Path
from intact_fast.files import exclusive_folder
with exclusive_folder(Path(sys.argv[1]), "--name x"):
    print("in", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_in(folder: Path) -> Iterator[None]:
    """Let another process have a folder to itself, and be killed in the end."""
    command = [sys.executable, "-c", _OCCUPY, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        yield
        other.kill()
