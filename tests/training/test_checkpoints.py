from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint, write_atomically
from intact_fast.training.checkpoints import CheckpointStore


def test_keeps_the_last_ones_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    assert store.latest() is None
    store.save_best({"iteration": 5})
    for iteration in (5, 10, 100):
        store.save({"iteration": iteration}, iteration)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.pt",
        "iteration_00000010.pt",
        "iteration_00000100.pt",
    ]
    latest = store.latest()
    assert latest is not None
    assert read_checkpoint(latest, "--x")["iteration"] == 100


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_text("old")

    def interrupted_write() -> None:
        with write_atomically(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted_write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_who_may_read_a_file_is_for_the_umask_to_say(tmp_path: Path) -> None:
    """safetensors makes files that their owner alone can read."""
    (tmp_path / "plain").touch()
    with write_atomically(tmp_path / "state.safetensors") as temporary:
        save_file({"a": torch.zeros(3)}, temporary)
    assert (tmp_path / "state.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_reads_nothing_but_dictionaries(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match=r"--x .*tensor\.pt: holds a Tensor, not a checkpoint"):
        read_checkpoint(tmp_path / "tensor.pt", "--x")
