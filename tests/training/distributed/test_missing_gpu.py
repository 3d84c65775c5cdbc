"""A GPU that is there and is not used: the reason is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.training.distributed import missing_gpu
from intact_fast.training.distributed.missing_gpu import why_no_gpu
from intact_fast.training.distributed.process import Process, choose_device
from intact_fast.training.run import Run


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a GPU, and a torch that could use one."""
    for name, place in (("_DEVICES", "dev"), ("_DRIVER", "proc"), ("_PCI", "pci")):
        monkeypatch.setattr(missing_gpu, name, tmp_path / place)
    (tmp_path / "dev").mkdir()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def plug(machine: Path, vendor: str = "0x10de", kind: str = "0x030200") -> None:
    card = machine / "pci" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text(f"{vendor}\n")
    (card / "class").write_text(f"{kind}\n")


def test_a_machine_without_one_is_silent(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plug(machine, vendor="0x8086")
    (machine / "dev" / "nvidiactl").touch()
    assert why_no_gpu() is None
    assert why_no_gpu("cpu") is None
    assert choose_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err == ""


def test_one_that_is_used_is_silent(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "dev" / "nvidia0").touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert why_no_gpu() is None


@pytest.mark.parametrize("sign", ["device", "driver", "nvidia-smi", "card"])
def test_every_sign_of_one(machine: Path, monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    if sign == "device":
        (machine / "dev" / "nvidia3").touch()
    elif sign == "driver":
        (machine / "proc").mkdir()
    elif sign == "nvidia-smi":
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    else:
        plug(machine)
    reason = why_no_gpu()
    assert reason is not None
    assert reason.startswith(
        f"a GPU is there and is not used: torch {torch.__version__} is built without CUDA; install"
    )


def test_a_card_without_driver_or_outside_the_container(machine: Path) -> None:
    plug(machine)
    assert "NVIDIA's driver is not there; install it, or give the GPU to the container" in str(why_no_gpu())


@pytest.mark.parametrize("value", ["", " ", "-1"])
def test_a_hidden_one(machine: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    (machine / "dev" / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert f"CUDA_VISIBLE_DEVICES={value!r} hides it; unset the variable" in str(why_no_gpu())


@pytest.mark.parametrize(
    "said",
    [
        "The NVIDIA driver on your system is too old (found version 11040). Please update it",
        "No CUDA GPUs are available",
    ],
)
def test_what_the_driver_says(machine: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def refuse() -> None:
        raise RuntimeError(said)

    (machine / "dev" / "nvidia0").touch()
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert f"not used: {said.split('. ')[0]} (CUDA_VISIBLE_DEVICES='7'); see that nvidia-smi works" in str(why_no_gpu())


def test_a_device_that_may_not_be_opened(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "dev" / "nvidia0").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "this user may not open" in str(why_no_gpu())


def test_commands_warn_once(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plug(machine)
    assert choose_device("auto") == torch.device("cpu")
    assert capsys.readouterr().err.startswith("warning: a GPU is there and is not used: NVIDIA's driver")
    with pytest.raises(UserError, match=r"--device cuda: a GPU is there and is not used: NVIDIA's driver is not there"):
        choose_device("cuda")


def test_a_run_says_that_it_was_asked_for(
    machine: Path, tiny_config: Config, picture_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    picture_folder()
    plug(machine)
    run = Run(replace(tiny_config, device="cpu"), Process(0, 1, torch.device("cpu"), None))
    run.train_critic()
    assert "A GPU is there and is not used: --device cpu." in capsys.readouterr().out
