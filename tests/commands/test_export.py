"""``intact-fast export``: files, what it says of them, and mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands.command_cases import run
from intact_fast import SRReID
from intact_fast.config.options import Config
from intact_fast.data.splits import obtain_manifest
from intact_fast.serving.export import ExportFormat
from intact_fast.training.checkpoints import CheckpointStore


def test_command_reports_parity_on_drawn_pictures(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.pt2"
    status, printed, _ = run(capsys, "export", "--model", model_file, "--out", out, "--json")
    assert status == 0
    figures = json.loads(printed)
    assert figures["format"] == "torch-export"
    assert figures["pictures"] == 32
    assert figures["difference"] < 1e-5
    assert figures["rank1"] == figures["rank1_other"]
    status, _, error = run(capsys, "export", "--model", model_file, "--out", out)
    assert status == 2
    assert "exists already" in error


def test_command_from_a_checkpoint_with_the_runs_own_split(
    tiny_run: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_run.runs / tiny_run.name
    checkpoint = CheckpointStore(folder / "checkpoints", 1).latest()
    options = ("--checkpoint", checkpoint, "--manifest", folder / "manifest.jsonl", "--root", tiny_run.data.root)
    status, printed, _ = run(capsys, "export", *options, "--json", "--out", tmp_path / "model.safetensors")
    assert status == 0
    figures = json.loads(printed)
    assert figures["pictures"] == len(obtain_manifest(tiny_run.data).split("query"))
    assert figures["difference"] == 0
    written = SRReID.from_pretrained(tmp_path / "model.safetensors")
    assert written.lr_height == SRReID.from_pretrained(folder / "model.safetensors").lr_height


def test_command_says_when_features_differ(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, export_format: ExportFormat) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda pictures: torch.ones(len(pictures), 512)

    # tracing takes seconds, and nothing looks at the graph
    monkeypatch.setattr("intact_fast.commands.export.export_graph", lambda *graph, half: graph[-1].touch())
    monkeypatch.setattr("intact_fast.commands.export.load_engine", broken)
    status, printed, _ = run(capsys, "export", "--model", model_file, "--out", tmp_path / "x.pt2", "--side", "gallery")
    assert status == 1
    assert "Rank-1 0.00" in printed


def test_command_writes_a_half_graph(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "half.pt2"
    options = ("--model", model_file, "--out", out, "--side", "gallery", "--half", "--json")
    status, printed, _ = run(capsys, "export", *options)
    assert status == 0
    assert 1e-6 < json.loads(printed)["difference"] < 1e-2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--out", "x.onnx"], "--model, --checkpoint: give one of them"),
        (["--out", "x.bin", "--model", "m"], "name it .onnx, .pt2 or .safetensors"),
        (["--out", "x.onnx", "--model", "nowhere"], "nowhere: no such file"),
        (["--out", "x.onnx", "--checkpoint", "nowhere"], "--checkpoint nowhere: no such file"),
        (["--out", "x.onnx", "--model", "m", "--manifest", "nowhere"], "manifest nowhere: no such file"),
        (["--out", "x.safetensors", "--model", "m", "--half"], "--half: x.safetensors is no graph"),
    ],
)
def test_command_errors(capsys: pytest.CaptureFixture[str], options: list[str], expected: str) -> None:
    status, _, error = run(capsys, "export", *options)
    assert status == 2
    assert expected in error


def test_missing_package_names_the_extra(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, _, error = run(capsys, "export", "--model", model_file, "--out", tmp_path / "x.onnx")
    assert status == 2
    assert "onnxruntime is not installed; run pip install 'intact_fast[export]'" in error
    assert not (tmp_path / "x.onnx").exists()


def test_model_without_generator_exports_the_gallery_side_alone(
    model: SRReID, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "critic.safetensors"
    SRReID(model.critic, None, (48, 32)).save_pretrained(path)
    status, _, error = run(capsys, "export", "--model", path, "--out", tmp_path / "x.pt2")
    assert status == 2
    assert "add --side gallery" in error
