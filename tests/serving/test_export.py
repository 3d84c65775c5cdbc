"""Exported graphs against the retrieval module."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from intact_fast import SRReID
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.engines import import_openvino
from intact_fast.serving.export import ExportFormat, ExportSide, ServingGraph, export_graph, load_engine
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds

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
    thresholds = Thresholds("made", {"sr": ViewThresholds(20, 1000, 5, (Threshold(0.01, 0.75, 0.01, 0.9),))})
    return SRReID(critic, generator, SIZE, lr_height=40, thresholds=thresholds)


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


def test_onnx_names_its_axes(exported: Callable[[ExportFormat, ExportSide], Path]) -> None:
    session = onnxruntime.InferenceSession(exported("onnx", "query"), providers=["CPUExecutionProvider"])
    shapes = {one.name: one.shape for one in (*session.get_inputs(), *session.get_outputs())}
    picture = ["batch", 3, *SIZE]
    assert shapes == {"pictures": picture, "features": ["batch", 512], "super_resolved": picture}


@pytest.mark.parametrize(("export_format", "normalize"), [("onnx", True), ("torch-export", False)])
def test_a_half_graph_computes_in_float16(
    model: SRReID, tmp_path: Path, export_format: ExportFormat, normalize: bool
) -> None:
    path = tmp_path / f"half{SUFFIX[export_format]}"
    half = copy.copy(model)
    half.normalize = normalize
    export_graph(half, "query", export_format, path, half=True)
    pictures = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    found, expected = load_engine(path, export_format)(pictures), half(pictures, mode="always")
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 2e-3 * expected.abs().max()
    # what stays float32 are constants: a number, or one of each channel of a picture
    if export_format == "onnx":
        weights = onnx.load(path).graph.initializer
        assert {one.data_type for one in weights if math.prod(one.dims) > 3} == {onnx.TensorProto.FLOAT16}
    else:
        state = torch.export.load(path).state_dict.values()
        assert {one.dtype for one in state if one.numel() > 3} == {torch.float16}


class Calibration(CalibrationDataReader):
    """Some pictures, one batch after another."""

    def __init__(self) -> None:
        self.batches = iter(torch.rand(4, 2, 3, *SIZE, generator=torch.Generator().manual_seed(0)))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pictures": batch.numpy()}


def test_onnxruntime_quantises_a_graph(
    model: SRReID, exported: Callable[[ExportFormat, ExportSide], Path], tmp_path: Path
) -> None:
    source = exported("onnx", "gallery")
    quant_pre_process(source, tmp_path / "prepared.onnx")
    quantize_static(tmp_path / "prepared.onnx", tmp_path / "int8.onnx", Calibration())
    weights = onnx.load(tmp_path / "int8.onnx").graph.initializer
    assert onnx.TensorProto.FLOAT not in {one.data_type for one in weights if math.prod(one.dims) > 3}
    pictures = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    found, expected = load_engine(tmp_path / "int8.onnx", "onnx")(pictures), model(pictures, mode="never")
    assert (found * expected).sum(dim=1).min() > 0.99


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("half", [False, True])
def test_openvino_runs_a_graph(model: SRReID, tmp_path: Path, half: bool) -> None:
    path = tmp_path / "query.onnx"
    export_graph(model, "query", "onnx", path, half=half)
    compiled = import_openvino().Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        pictures = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))
        found = torch.from_numpy(compiled(pictures.numpy())["features"])
        torch.testing.assert_close(found, model(pictures, mode="always"), atol=1e-3 if half else 1e-5, rtol=0)


@pytest.mark.filterwarnings("error")
def test_instance_normalisation_is_exported_with_a_free_batch_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SRReID(build_osnet("osnet_ain_x0_25", 3), None, SIZE).eval()
    export_graph(model, "gallery", "onnx", tmp_path / "x.onnx")
    engine = load_engine(tmp_path / "x.onnx", "onnx")
    for count in (1, 3):
        pictures = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(engine(pictures), model(pictures, mode="never"), atol=1e-5, rtol=0)


def test_onnx_gives_the_super_resolved_pictures_and_describes_itself(
    model: SRReID, exported: Callable[[ExportFormat, ExportSide], Path]
) -> None:
    session = onnxruntime.InferenceSession(exported("onnx", "query"), providers=["CPUExecutionProvider"])
    pictures = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    (enhanced,) = session.run(["super_resolved"], {"pictures": pictures.numpy()})
    torch.testing.assert_close(torch.from_numpy(enhanced), model.super_resolve(pictures), atol=1e-5, rtol=0)
    assert model.thresholds is not None
    described = json.loads(session.get_modelmeta().custom_metadata_map["intact_fast"])
    assert described == {
        "side": "query",
        "size": list(SIZE),
        "interpolation": "bilinear",
        "lr_height": 40,
        "normalize": True,
        "feature_dim": 512,
        "thresholds": model.thresholds.to_plain(),
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
