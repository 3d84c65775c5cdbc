"""The console script as a program among others."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import intact_fast
from intact_fast import cli


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_ends_silently_when_its_reader_has_gone(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "intact_fast.cli", "experiments", "--list"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(arguments: Sequence[str], program: str) -> int:
        raise BrokenPipeError(*arguments)

    monkeypatch.setattr("intact_fast.train.main", command)
    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr("sys.stdout", output)
        with pytest.raises(BrokenPipeError, match="a worker's"):
            cli.main(["train", "a worker's"])


def test_help_waits_for_no_library() -> None:
    """PyTorch and what draws take seconds to import."""
    program = (
        "import sys, intact_fast.cli as cli\n"
        "assert cli.main(['--help']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'tyro', 'onnx'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


def test_a_mistyped_command_waits_for_no_library() -> None:
    program = (
        "import sys, intact_fast.cli as cli\n"
        "assert cli.main(['trian']) == cli.main(['--debug']) == cli.main(['enhance']) == 2\n"
        "assert cli.main(['--version']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'tyro', 'onnx'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did you mean train?" in done.stderr


def test_every_command_is_there() -> None:
    for name in cli.COMMANDS:
        module = "intact_fast.train" if name == "train" else f"intact_fast.commands.{name}"
        assert callable(importlib.import_module(module).main)


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fly"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: unknown command 'fly'")
    assert error.count("\n") == 1
    assert cli.main(["--help"]) == 0
    assert "evaluate" in capsys.readouterr().out


def test_misspelt_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "(did you mean train?)" in capsys.readouterr().err
    assert cli.main(["--debug", "train"]) == 2
    assert "error: --debug: an option follows a command" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"intact-fast {intact_fast.__version__}\n"
    for arguments in (["help"], ["-h"], [], ["help", "--help"]):
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out.startswith("usage: intact-fast COMMAND")
    with pytest.raises(SystemExit) as ended:
        cli.main(["help", "prepare"])
    assert ended.value.code == 0
    assert "usage: intact-fast prepare" in capsys.readouterr().out


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "train"])
def test_command_alone_prints_its_usage(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # search has defaults, which are not here
    monkeypatch.chdir(tmp_path)
    assert cli.main([command]) == 2
    error, usage = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert usage.startswith(f"usage: intact-fast {command} ")


def test_part_of_what_a_command_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["enhance", "pictures", "--model", "x"]) == 2
    error, usage = capsys.readouterr().err.splitlines()
    assert error == "error: TARGET: missing; intact-fast enhance --help describes all options"
    assert usage == "usage: intact-fast enhance SOURCE TARGET --model FILE [options]"


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("enhance", "search"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert "--model" in capsys.readouterr().out
