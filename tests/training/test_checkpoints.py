from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint, write_atomically
from intact_fast.training.checkpoints import CheckpointStore, set_aside


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


def test_a_folder_that_vanishes_is_made_anew(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save({"iteration": 1}, 1)
    shutil.rmtree(store.folder)
    assert store.latest() is None
    assert store.save({"iteration": 2}, 2) == store.latest()


def test_a_file_where_the_folder_was_is_told_in_one_line(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save({"iteration": 1}, 1)
    shutil.rmtree(store.folder)
    store.folder.write_text("mine")
    with pytest.raises(UserError, match=r"^.*iteration_00000002\.pt: cannot be written .* name another place$"):
        store.save({"iteration": 2}, 2)
    assert store.folder.read_text() == "mine"


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


def state(iteration: int, **others: Any) -> dict[str, Any]:
    """A checkpoint whose parts have the types of a training's."""
    place = {"task": "INTACT", "iteration": iteration, "position": (0, 1), "best": None}
    values = torch.rand(5000, generator=torch.Generator().manual_seed(iteration))
    group = {"world_size": 1, "ranks": [{}], "manifest_hash": "x", "config": "x"}
    return {**place, "state": {"values": values}, **group, **others}


def store_of(folder: Path) -> CheckpointStore:
    store = CheckpointStore(folder, keep=2)
    for iteration in (5, 10):
        store.save(state(iteration), iteration)
    return store


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        flip_a_bit,
        lambda path: path.write_text("<html>quota exceeded</html>"),
        lambda path: torch.save(torch.zeros(3), path),
        lambda path: torch.save({"arch": "osnet_x0_25", "state_dict": {}}, path),
        lambda path: torch.save({"iteration": 10, "score": 0.5, "state": {}}, path),
        lambda path: torch.save(state(10, task="critic"), path),
        lambda path: torch.save(state(10, position=(0, "1")), path),
        lambda path: torch.save(state(10, world_size=2), path),
        lambda path: torch.save(state(10, ranks=3), path),
    ],
    ids=["empty", "cut", "zeros", "bit", "text", "tensor", "critic", "best", "task", "position", "processes", "ranks"],
)
def test_the_one_before_an_unreadable_checkpoint_is_read(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = store_of(tmp_path)
    damage(tmp_path / "iteration_00000010.pt")
    latest = store.read_latest("INTACT")
    assert latest is not None
    assert (latest.path.name, latest.checkpoint["iteration"]) == ("iteration_00000005.pt", 5)
    assert [path.name for path in latest.unreadable] == ["iteration_00000010.pt"]


def test_what_was_set_aside_counts_as_no_checkpoint(tmp_path: Path) -> None:
    """With the highest number it would outlive each later checkpoint."""
    store = store_of(tmp_path)
    (tmp_path / "iteration_00000010.pt").write_bytes(b"")
    set_aside(tmp_path / "iteration_00000010.pt")
    for iteration in (6, 7):
        store.save(state(iteration), iteration)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "iteration_00000006.pt",
        "iteration_00000007.pt",
        "iteration_00000010.pt.unreadable",
    ]


def test_no_readable_checkpoint_is_said(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"iteration_00000010\.pt: not a readable checkpoint.*remove it"):
        store.read_latest("INTACT")
    assert CheckpointStore(tmp_path / "none", 1).read_latest("INTACT") is None


def test_a_checkpoint_that_may_not_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path)

    def refuse(path: Path, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(UserError, match=r"iteration_00000010\.pt: Permission denied; give this user the right to it"):
        store.read_latest("INTACT")


def test_a_full_disk_leaves_the_last_checkpoint(tiny_disk: Path) -> None:
    store = CheckpointStore(tiny_disk, keep=2)
    store.save(state(1), 1)
    with pytest.raises(UserError, match=r"iteration_00000002\.pt: cannot be written \(No space left.*make room"):
        store.save(state(2, large=torch.rand(50_000)), 2)
    assert [path.name for path in tiny_disk.iterdir()] == ["iteration_00000001.pt"]
    latest = store.read_latest("INTACT")
    assert latest is not None
    assert torch.equal(latest.checkpoint["state"]["values"], state(1)["state"]["values"])
