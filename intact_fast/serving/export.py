"""The retrieval module as one graph of plain operators, for engines other than PyTorch's."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.errors import UserError
from intact_fast.file_names import plain_path
from intact_fast.files import write_atomically
from intact_fast.json_text import to_json
from intact_fast.serving.folding import plain
from intact_fast.serving.inputs import unnormalised
from intact_fast.serving.sr_reid import SRReID

ExportFormat = Literal["onnx", "torch-export"]
ExportSide = Literal["query", "gallery"]
"""`query` holds G and C, or C_q, `gallery` C alone: HR pictures bypass G, and one graph of a fixed size cannot tell."""

Engine = Callable[[Tensor], Tensor]
"""From N×3×H×W RGB from 0 to 1, float32 on the CPU, to features, N×512 float32."""

METADATA_KEY = "intact_fast"
_INPUT, _FEATURES, _PICTURES = "pictures", "features", "super_resolved"
_BATCH = "batch"
_OPSET = 18
_EXAMPLE_BATCH = 2
_LEAST_LENGTH = 1e-12


class ServingGraph(nn.Module):
    """The exported graph: pictures of the networks' size in, features out.

    Args:
        model: Its networks are copied, with their normalisations folded into the layers before.
        side: Which pictures it is for.
        half: Compute in float16 inside; pictures and features stay float32.

    Raises:
        ValueError: The query's side was asked for and there is neither G nor C_q.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: SRReID, side: ExportSide, half: bool = False) -> None:
        super().__init__()
        if side == "query" and not model.has_query_side:
            raise ValueError("the query's graph needs a generator or a C_q, and this SRReID has none")
        critic = model.query_critic if side == "query" and model.query_critic is not None else model.critic
        # a folded model's networks have nothing left to fold
        self.critic = plain(critic)
        self.generator = plain(model.generator) if side == "query" and model.generator else None
        self.normalize = model.normalize
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.is_half = half
        if half:
            # the constants stay float32: pictures are normalised before they are rounded
            for network in filter(None, (self.critic, self.generator)):
                network.half()
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute features.

        Args:
            pictures: N×3×H×W RGB from 0 to 1, resized to the networks' size.

        Returns:
            Features N×512, of length 1 where the module's are; a graph with G also gives the super-resolved pictures,
            N×3×H×W from 0 to 1.
        """
        x = (pictures - self.mean) / self.std
        x = x.half() if self.is_half else x
        if self.generator is not None:
            x = self.generator(x)
        features = self.critic.embed(x)
        if self.is_half:
            x, features = x.float(), features.float()
        if self.normalize:
            # onnxruntime's preparation for quantising knows no shapes of ReduceL2 and Expand, which F.normalize becomes
            length = features.square().sum(dim=1, keepdim=True).sqrt()
            features = features / length.clamp_min(_LEAST_LENGTH)
        return features if self.generator is None else (features, unnormalised(x))


def export_graph(
    model: SRReID, side: ExportSide, export_format: ExportFormat, path: Path, *, half: bool = False
) -> None:
    """Write a graph whose batch size is free; ONNX calls that axis ``batch``.

    The file also says what it expects: input size, filter of the resize, LR height and thresholds, as JSON. They stand
    under ``intact_fast`` in ONNX's metadata, or in an extra file of that name in PyTorch's archive.

    Args:
        model: On any device.
        side: Which pictures the graph is for.
        export_format: ONNX, or PyTorch's own archive (``torch.export.load``).
        path: File to write.
        half: Write float16 weights and operators; input and outputs stay float32.

    Raises:
        UserError: The packages that write ONNX are not installed.
        ValueError: The query's side was asked for and there is neither G nor C_q.
    """
    graph = ServingGraph(model, side, half)
    example = torch.rand(_EXAMPLE_BATCH, 3, *model.size)
    shapes = {_INPUT: {0: torch.export.Dim(_BATCH, min=1)}}
    described = to_json(_description(model, side))
    # PyTorch's exporters warn of their own former names
    with write_atomically(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
        if export_format == "onnx":
            _write_onnx(program, described, temporary)
        else:
            _forget_sources(program)
            buffer = io.BytesIO()
            torch.export.save(program, buffer, extra_files={METADATA_KEY: described})
            temporary.write_bytes(buffer.getvalue())


def _description(model: SRReID, side: ExportSide) -> dict[str, Any]:
    return {
        "side": side,
        "size": list(model.size),
        "interpolation": model.interpolation,
        "lr_height": model.lr_height,
        "normalize": model.normalize,
        "feature_dim": model.feature_dim,
        "thresholds": None if model.thresholds is None else model.thresholds.to_plain(),
    }


def _write_onnx(program: torch.export.ExportedProgram, described: str, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        require(package)
    outputs = [_FEATURES, _PICTURES][: len(program.graph_signature.user_outputs)]
    # it warns of every torchvision operator that is not installed, and none is used
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    written = torch.onnx.export(
        program,
        (),
        # the program knows its shapes; this gives the free axis its name
        dynamic_shapes={_INPUT: {0: _BATCH}},
        input_names=[_INPUT],
        output_names=outputs,
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
        external_data=False,
        optimize=True,
    )
    assert written is not None
    model = written.model
    for graph in (model.graph, *model.functions.values()):
        for node in graph:
            node.metadata_props.clear()
    model.metadata_props[METADATA_KEY] = described
    written.save(path, external_data=False)


def _forget_sources(program: torch.export.ExportedProgram) -> None:
    """Leave out where on this machine each operation was written."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for name in ("stack_trace", "source_fn_stack"):
                    node.meta.pop(name, None)


def load_engine(path: Path, export_format: ExportFormat) -> Engine:
    """Load an exported graph and give what computes its features.

    Raises:
        UserError: onnxruntime is not installed.
    """
    if export_format == "torch-export":
        with plain_path(path) as plain:
            module = torch.export.load(plain).module()

        def run_torch(pictures: Tensor) -> Tensor:
            with torch.no_grad():
                found = module(pictures)
            return found if isinstance(found, Tensor) else found[0]

        return run_torch
    with plain_path(path) as plain:
        session = require("onnxruntime").InferenceSession(str(plain), providers=["CPUExecutionProvider"])

    def run_onnx(pictures: Tensor) -> Tensor:
        (features,) = session.run([_FEATURES], {_INPUT: pictures.contiguous().numpy()})
        return torch.from_numpy(features)

    return run_onnx


def require(package: str) -> Any:
    """Import an optional package.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"--format onnx: {package} is not installed; run pip install 'intact_fast[export]'") from error
