"""Engines for the networks on a CPU: which there are, which one is the fastest, and how a network becomes one."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from intact_fast.errors import UserError
from intact_fast.models.osnet import OSNet
from intact_fast.serving.folding import plain

EngineName = Literal["auto", "torch", "onnxruntime", "openvino"]
"""What computes G and C: PyTorch, or an engine that is made of them. `auto` takes the fastest that is installed."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Type that the networks compute in; `auto` is bf16 where the hardware computes it, else fp32."""

Inference = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Runs a network: N×3×H×W → its output, both float32."""

REMEDY = "pip install 'intact_fast[engines]'"
_PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("auto", "fp32"),
    "openvino": ("auto", "fp32", "bf16"),
}
_FASTEST: dict[Precision, tuple[EngineName, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "bf16": ("openvino",),
}
"""Engines that `auto` takes in place of PyTorch, which they are ahead of with single crops; the best one first."""
_PACKAGES = {"onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
_CPU = torch.device("cpu")
_OPSET = 17
_INPUT, _OUTPUT = "pictures", "output"


def is_installed(engine: EngineName) -> bool:
    """Say whether an engine can be made here."""
    return not _missing(engine)


@cache
def _missing(engine: EngineName) -> list[str]:
    return [package for package in _PACKAGES.get(engine, ()) if importlib.util.find_spec(package) is None]


def check_engine(engine: EngineName, precision: Precision, compiles: bool, device: torch.device = _CPU) -> None:
    """See that an engine is there, and that it can do what is asked of it.

    Args:
        engine: Its name.
        precision: Type to compute in.
        compiles: Whether PyTorch is to compile the networks.
        device: Where the networks are.

    Raises:
        UserError: Its package is not installed.
        ValueError: It does not compute in that type or on that device, or PyTorch is to compile what it does not run.
    """
    if engine not in _PACKAGES:
        return
    if device.type != "cpu":
        raise ValueError(f"engine {engine}: it computes on a CPU, not on {device}; use device cpu, or engine auto")
    if precision not in _PRECISIONS[engine]:
        possible = " or ".join(_PRECISIONS[engine])
        raise ValueError(f"engine {engine}: it does not compute {precision}; use precision {possible}, or engine torch")
    if compiles:
        raise ValueError(f"engine {engine}: PyTorch compiles its own networks alone; leave compile out, or use torch")
    if missing := _missing(engine):
        raise UserError(f"engine {engine}: {missing[0]} is not installed; run {REMEDY}, or use engine torch")


def fastest(precision: Precision) -> EngineName:
    """Give the fastest engine on a CPU that is installed, for any batch size.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """
    return next((engine for engine in _FASTEST.get(precision, ()) if is_installed(engine)), "torch")


def faster_elsewhere(precision: Precision) -> EngineName | None:
    """Give an engine that would be faster than PyTorch, where none is installed that is; None where there is none."""
    engines = _FASTEST.get(precision, ())
    return engines[0] if engines and fastest(precision) == "torch" else None


def make_inference(
    engine: EngineName, network: nn.Module, method: str, size: tuple[int, int], precision: Precision, threads: int
) -> Inference:
    """Make an engine of a network.

    Args:
        engine: ``onnxruntime`` or ``openvino``.
        network: G, C or both, on any device; is copied.
        method: Which of its methods is computed.
        size: (height, width) of its pictures.
        precision: ``fp32`` or ``bf16``.
        threads: How many it computes with.

    Returns:
        A function that several threads may call at a time, with any number of pictures.
    """
    graph = to_onnx(network, method, size)
    if engine == "onnxruntime":
        return _in_onnxruntime(graph, threads)
    return _in_openvino(graph, precision, threads)


class InARow(nn.Module):
    """G and the network behind it as one, whose engine wakes its threads once for a picture.

    Args:
        generator: G.
        critic: C or C_q.
    """

    def __init__(self, generator: nn.Module, critic: OSNet) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute f_c of super-resolved pictures: N×3×H×W → N×512."""
        return self.critic.embed(self.generator(pictures))


class _Method(nn.Module):
    """A network whose forward pass is one of its methods."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network = network
        self.method = method

    def forward(self, pictures: Tensor) -> Tensor:
        return getattr(self.network, self.method)(pictures)


def to_onnx(network: nn.Module, method: str, size: tuple[int, int]) -> bytes:
    """Write a network as ONNX for a free number of pictures, in memory.

    PyTorch's former exporter takes a fifth of the time of the one that writes files, and a user waits for it.

    Args:
        network: G, C or both, on any device; is copied.
        method: Which of its methods is computed.
        size: (height, width) of its pictures.
    """
    buffer = io.BytesIO()
    # a caller's inference mode would make the copies tensors that cannot be traced
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # it warns of its own age, of comparisons of sizes that are fixed here, and that instance normalisation
        # takes each picture's own statistics
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", "ONNX export mode is set to TrainingMode.EVAL")
        torch.onnx.export(
            _Method(plain(network), method).eval(),
            (torch.zeros(1, 3, *size),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=_OPSET,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes={_INPUT: {0: "batch"}, _OUTPUT: {0: "batch"}},
        )
    return buffer.getvalue()


def _in_onnxruntime(graph: bytes, threads: int) -> Inference:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads of one engine would else wait for work on the cores that another one computes on
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run([_OUTPUT], {_INPUT: pictures})[0]


@cache
def _openvino_core(pid: int) -> Any:
    """OpenVINO itself, once for a process, and for its whole life.

    It moves the stack that signals are handled on (`faulthandler` has one) into memory of its own. Where it ends, that
    memory goes, and the next signal with a handler of Python's would end the process.
    """
    return import_openvino().Core()


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would fork this process and tell OpenVINO's maker of it.

    A program that has imported OpenVINO itself keeps what it has.
    """
    telemetry = "openvino_telemetry"
    if telemetry in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[telemetry]


def _in_openvino(graph: bytes, precision: Precision, threads: int) -> Inference:
    core = _openvino_core(os.getpid())
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
    }
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    idle: list[Any] = []

    def run(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        # one request computes for one thread at a time
        request = idle.pop() if idle else compiled.create_infer_request()
        output = request.infer({_INPUT: pictures})[_OUTPUT]
        idle.append(request)
        return output

    return run


def process_and_threads() -> tuple[int, int]:
    """Name what an engine is bound to: this process, as threads do not survive a fork, and PyTorch's threads."""
    return os.getpid(), torch.get_num_threads()
