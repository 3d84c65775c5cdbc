"""What the README shows: its Python is run, and its commands around a finished model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from conftest import write_picture
from intact_fast import SRReID
from intact_fast.cli import main
from intact_fast.models import Generator, build_osnet

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SERVING = README.split("### Use it in your system")[1].split("\n### ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 5)
    model = SRReID(critic, Generator((4, 4, 4, 4)), (48, 32))
    model.save_pretrained(tmp_path / "runs" / "viper" / "model.safetensors")
    model.save_pretrained(tmp_path / "best.safetensors")
    torch.save(critic.state_dict(), tmp_path / "osnet.pth")
    for number, name in enumerate(("a.jpg", "b.png", "crops/c.jpg", "gallery/d.jpg", "gallery/e.jpg")):
        write_picture(tmp_path / name, seed=number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples_run(user_files: Path) -> None:
    names: dict[str, object] = {}
    for code in blocks(README, "python"):
        exec(compile(code, "README.md", "exec"), names)
    assert names["features"].shape == (2, 512)  # type: ignore[attr-defined]
    assert names["pictures"].shape == (1, 3, 48, 32)  # type: ignore[attr-defined]


def test_serving_commands_run(user_files: Path) -> None:
    commands = [
        line.split("#")[0]
        for block in blocks(SERVING, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("intact-fast") and "--checkpoint" not in line
    ]
    assert len(commands) == 4
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    for written in ("enhanced/c.jpg", "matches.png", "gallery.safetensors", "query.onnx", "gallery.pt2"):
        assert (user_files / written).is_file()


def test_no_example_escapes_the_tests() -> None:
    assert set(re.findall(r"```(\w+)\n", README)) <= {"sh", "python"}
