"""Exported graphs against the retrieval module, as files and as ``intact-fast export`` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from intact_fast import SRReID
from intact_fast.cli import main
from intact_fast.config.options import Config
from intact_fast.data.splits import obtain_manifest
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.export import ExportFormat, ExportSide, ServingGraph, export_graph, load_engine
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import Process
from intact_fast.training.run import Run

SIZE = (48, 32)
SUFFIX = {"onnx": ".onnx", "torch-export": ".pt2"}


@pytest.fixture(scope="module")
def model() -> SRReID:
    """Networks whose batch statistics are not those they start with."""
    torch.manual_seed(0)
    critic, generator = build_osnet("osnet_x0_25", 5), Generator((4, 4, 4, 4), skip="add")
    with torch.no_grad():
        generator.train()(torch.randn(8, 3, *SIZE))
        critic.train()(torch.randn(8, 3, *SIZE))
    return SRReID(critic, generator, SIZE, lr_height=40)


@pytest.fixture(scope="module")
def model_file(model: SRReID, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def exported(model: SRReID, tmp_path_factory: pytest.TempPathFactory) -> Callable[[ExportFormat, ExportSide], Path]:
    """Write each graph once."""
    folder = tmp_path_factory.mktemp("exported")

    def write(export_format: ExportFormat, side: ExportSide) -> Path:
        path = folder / f"{side}{SUFFIX[export_format]}"
        if not path.exists():
            export_graph(model, side, export_format, path)
        return path

    return write


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["export", *(str(a) for a in arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("export_format", ["onnx", "torch-export"])
@pytest.mark.parametrize(("side", "mode"), [("query", "always"), ("gallery", "never")])
def test_graph_gives_the_modules_features_at_any_batch_size(
    model: SRReID,
    exported: Callable[[ExportFormat, ExportSide], Path],
    export_format: ExportFormat,
    side: ExportSide,
    mode: Any,
) -> None:
    engine = load_engine(exported(export_format, side), export_format)
    for count in (1, 2, 5):
        pictures = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(engine(pictures), model(pictures, mode=mode), atol=1e-5, rtol=0)


def test_onnx_gives_the_super_resolved_pictures_and_describes_itself(
    model: SRReID, exported: Callable[[ExportFormat, ExportSide], Path]
) -> None:
    session = onnxruntime.InferenceSession(exported("onnx", "query"), providers=["CPUExecutionProvider"])
    pictures = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    (enhanced,) = session.run(["super_resolved"], {"pictures": pictures.numpy()})
    torch.testing.assert_close(torch.from_numpy(enhanced), model.super_resolve(pictures), atol=1e-5, rtol=0)
    described = json.loads(session.get_modelmeta().custom_metadata_map["intact_fast"])
    assert described == {
        "side": "query",
        "size": list(SIZE),
        "interpolation": "bilinear",
        "lr_height": 40,
        "normalize": True,
        "feature_dim": 512,
    }


def test_torch_archive_describes_itself(exported: Callable[[ExportFormat, ExportSide], Path]) -> None:
    extra = {"intact_fast": ""}
    torch.export.load(exported("torch-export", "gallery"), extra_files=extra)
    assert json.loads(extra["intact_fast"])["side"] == "gallery"


@pytest.mark.parametrize("export_format", ["onnx", "torch-export"])
def test_files_do_not_say_where_they_were_made(
    exported: Callable[[ExportFormat, ExportSide], Path], export_format: ExportFormat
) -> None:
    content = exported(export_format, "query").read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


def test_exporting_leaves_the_module_as_it_is(model: SRReID) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ServingGraph(model, "query")
    assert model.critic.classifier.out_features == 5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_query_side_needs_a_generator(model: SRReID) -> None:
    with pytest.raises(ValueError, match="needs a generator"):
        ServingGraph(SRReID(model.critic, None, SIZE), "query")


def test_command_reports_parity_on_drawn_pictures(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.pt2"
    status, printed, _ = run(capsys, "--model", model_file, "--out", out, "--json")
    assert status == 0
    figures = json.loads(printed)
    assert figures["format"] == "torch-export"
    assert figures["pictures"] == 32
    assert figures["difference"] < 1e-5
    assert figures["rank1"] == figures["rank1_other"]
    status, _, error = run(capsys, "--model", model_file, "--out", out)
    assert status == 2
    assert "exists already" in error


def test_command_from_a_checkpoint_with_the_runs_own_split(
    tiny_config: Config,
    picture_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = picture_folder()
    config = replace(tiny_config, name="run")
    Run(config, Process(0, 1, torch.device("cpu"), None)).execute()
    capsys.readouterr()
    folder = config.runs / "run"
    checkpoint = CheckpointStore(folder / "checkpoints", 1).latest()
    options = ("--checkpoint", checkpoint, "--manifest", folder / "manifest.jsonl", "--root", root, "--json")
    status, printed, _ = run(capsys, *options, "--out", tmp_path / "model.safetensors")
    assert status == 0
    figures = json.loads(printed)
    assert figures["pictures"] == len(obtain_manifest(config.data).split("query"))
    assert figures["difference"] == 0
    written = SRReID.from_pretrained(tmp_path / "model.safetensors")
    assert written.lr_height == SRReID.from_pretrained(folder / "model.safetensors").lr_height


def test_command_says_when_features_differ(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, export_format: ExportFormat) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda pictures: torch.ones(len(pictures), 512)

    monkeypatch.setattr("intact_fast.commands.export.load_engine", broken)
    status, printed, _ = run(capsys, "--model", model_file, "--out", tmp_path / "x.pt2", "--side", "gallery")
    assert status == 1
    assert "Rank-1 0.00" in printed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--out", "x.onnx"], "--model, --checkpoint: give one of them"),
        (["--out", "x.bin", "--model", "m"], "name it .onnx, .pt2 or .safetensors"),
        (["--out", "x.onnx", "--model", "nowhere"], "nowhere: no such file"),
        (["--out", "x.onnx", "--checkpoint", "nowhere"], "--checkpoint nowhere: no such file"),
        (["--out", "x.onnx", "--model", "m", "--manifest", "nowhere"], "manifest nowhere: no such file"),
    ],
)
def test_command_errors(capsys: pytest.CaptureFixture[str], options: list[str], expected: str) -> None:
    status, _, error = run(capsys, *options)
    assert status == 2
    assert expected in error


def test_missing_package_names_the_extra(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, _, error = run(capsys, "--model", model_file, "--out", tmp_path / "x.onnx")
    assert status == 2
    assert "onnxruntime is not installed; run pip install 'intact_fast[export]'" in error
    assert not (tmp_path / "x.onnx").exists()


def test_model_without_generator_exports_the_gallery_side_alone(
    model: SRReID, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "critic.safetensors"
    SRReID(model.critic, None, SIZE).save_pretrained(path)
    status, _, error = run(capsys, "--model", path, "--out", tmp_path / "x.pt2")
    assert status == 2
    assert "add --side gallery" in error
