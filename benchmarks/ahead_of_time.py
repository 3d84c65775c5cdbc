"""The compilation of every Triton kernel in every tile configuration, without a GPU.

The launchers run on tensors of the ``meta`` device and note what they would launch. Each distinct launch is compiled
as Triton's own launcher would specialise it: sizes of 1, and pointers and sizes divisible by 16. The binaries tell
the registers and the memory that they need.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
import triton
import triton.backends.nvidia
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from intact_fast.kernels import (
    LinearBN,
    batch_norm_launch,
    depthwise_kernels,
    linear_bn_kernels,
    pixel_shuffle_kernels,
)
from intact_fast.kernels.launch import Launch, recording
from intact_fast.kernels.linear_bn_layer import Kept, Wanted

CAPABILITIES = (80, 90, 100)
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.int64: "i64"}

CHANNELS = (64, 3, 8, 16, 32, 128, 70)
"""One for each tile of the picture kernels at least, and sizes that do not fill one."""
BATCHES = (32, 16, 64, 128, 256)
"""One for each tile of the layers of φ and σ."""


@dataclass(frozen=True)
class Resources:
    """The resources of one compiled kernel.

    Attributes:
        registers: Per thread.
        spilled: Bytes of stack and local memory per thread; anything above 0 is spilled registers.
        shared: Bytes of shared memory per program.
    """

    registers: int
    spilled: int
    shared: int


def distinct_launches() -> list[Launch]:
    """The launches over all tile configurations, forward and backward, once each.

    Every fused part and every gradient is asked for, which takes most. One configuration is there also without any.
    """
    found: dict[object, Launch] = {}
    with recording() as launches:
        for dtype in (torch.float32, torch.bfloat16):
            for channels in CHANNELS:
                _pixel_shuffle(channels, dtype, True)
                _batch_norm(channels, dtype, True)
                # float32 is for tests: one size that Triton loads as vectors, one that it loads value by value
                if dtype == torch.bfloat16 or channels in CHANNELS[:2]:
                    _depthwise(channels, dtype, True)
            # as many chunks as there can be
            _batch_norm(CHANNELS[0], dtype, True, scale=8)
        for batch in BATCHES:
            _layers(batch, torch.float32, True)
        _layers(BATCHES[0], torch.bfloat16, True)
        _pixel_shuffle(CHANNELS[0], torch.bfloat16, False)
        _batch_norm(CHANNELS[0], torch.bfloat16, False)
        _depthwise(CHANNELS[0], torch.bfloat16, False)
        _layers(BATCHES[0], torch.float32, False)
        # widths that are no multiple of 16: those around f_e, and odd ones
        for inputs, outputs in ((256, 200), (200, 256), (33, 17)):
            _layers(BATCHES[0], torch.float32, True, inputs, outputs)
        _pixel_shuffle(CHANNELS[0], torch.float16, True)
        _batch_norm(CHANNELS[0], torch.float16, True)
        _depthwise(CHANNELS[0], torch.float16, True)
        _layers(2, torch.float16, True, 33, 17)
    for launch in launches:
        found.setdefault((launch.kernel, *map(str, _specialised(launch)), launch.warps), launch)
    return list(found.values())


def _meta(*shape: int, dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


def _vectors(size: int, wanted: bool) -> tuple[Tensor | None, Tensor | None]:
    if not wanted:
        return None, None
    return _meta(size, dtype=torch.float32), _meta(size, dtype=torch.float32)


def _pixel_shuffle(channels: int, dtype: torch.dtype, full: bool) -> None:
    # so many pixels that the backward pass has several tiles in a chunk
    x = _meta(32, 4 * channels, 128, 64, dtype=dtype, channels_last=True)
    out = _meta(32, channels, 256, 128, dtype=dtype, channels_last=True)
    bias, slope = _vectors(4 * channels, full)
    activation = "prelu" if full else "relu"
    pixel_shuffle_kernels.forward_triton(x, bias, slope, out if full else None, activation, 0.2)
    pixel_shuffle_kernels.backward_triton(out, x if full else out, not full, bias, slope, activation, 0.2, full)
    if dtype == torch.bfloat16:
        # what G asks for, without and with skip connections
        pixel_shuffle_kernels.forward_triton(x, bias, None, None, "relu", 0.2)
        pixel_shuffle_kernels.backward_triton(out, out, True, bias, None, "relu", 0.2, True)
        pixel_shuffle_kernels.backward_triton(out, x, False, bias, None, "relu", 0.2, True)


def _batch_norm(channels: int, dtype: torch.dtype, full: bool, scale: int = 1) -> None:
    x = _meta(32, channels, 16 * scale, 8 * scale, dtype=dtype, channels_last=True)
    weight, bias = _vectors(channels, full)
    mean, variance = (_meta(channels, dtype=torch.float32) for _ in range(2))
    other = x if full else None
    for training in (True, False):
        batch_norm_launch.forward_triton(x, other, weight, bias, mean, variance, training, 1e-5, "leaky_relu", 0.2)
        options = (training, 1e-5, "leaky_relu", 0.2, full, full)
        batch_norm_launch.backward_triton(x, x, other, mean, variance, weight, bias, *options)


def _depthwise(channels: int, dtype: torch.dtype, full: bool, scale: int = 1) -> None:
    x = _meta(32, channels, 16 * scale, 8 * scale, dtype=dtype, channels_last=True)
    filters = _meta(channels, 1, 3, 3, dtype=torch.float32)
    weight, bias = _vectors(channels, full)
    mean, variance = (_meta(channels, dtype=torch.float32) for _ in range(2))
    depthwise_kernels.forward_triton(x, filters, weight, bias, mean, variance, 1e-5, "relu", 0.0)
    # C is frozen, C_q trained
    for trained in (False, full):
        kept = x if trained else None
        depthwise_kernels.backward_triton(x, kept, x, filters, weight, mean, variance, 1e-5, "relu", 0.0)


def _layers(batch: int, dtype: torch.dtype, full: bool, inputs: int = 512, outputs: int = 512) -> None:
    x, weight = _meta(batch, inputs, dtype=dtype), _meta(outputs, inputs, dtype=dtype)
    z = _meta(batch, outputs, dtype=torch.float32)
    gamma, beta = _vectors(outputs, full)
    mean, variance = (_meta(outputs, dtype=torch.float32) for _ in range(2))
    layer = LinearBN(weight, gamma, beta, mean, variance)
    kept, wanted = Kept(z, mean, variance), Wanted(full, full, full)
    target = _meta(batch, outputs, dtype=dtype)
    for training, compared in product((True, False), (None, target)):
        relu = compared is None
        linear_bn_kernels.launch_forward(x, layer, compared, training=training, relu=relu)
        grad = target if compared is None else _meta(dtype=torch.float32)
        linear_bn_kernels.launch_backward(grad, x, layer, kept, compared, training=training, relu=relu, wanted=wanted)


def _specialised(
    launch: Launch,
) -> tuple[dict[str, str], dict[str, object], dict[tuple[int], list[list[object]]]]:
    """Signature, constants and attributes, as Triton's launcher derives them from the arguments."""
    signature, constants, attributes = {}, dict(launch.constants), {}
    for position, name in enumerate(launch.kernel.arg_names):
        if name in launch.constants:
            signature[name] = "constexpr"
            continue
        value = launch.arguments[name]
        if value is None or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
            continue
        if isinstance(value, float):
            signature[name] = "fp32"
            continue
        signature[name] = f"*{DTYPES[value.dtype]}" if isinstance(value, Tensor) else "i32"
        if isinstance(value, Tensor) or value % 16 == 0:
            attributes[(position,)] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def compile_launch(launch: Launch, capability: int) -> Resources:
    """Compile for one architecture (80, 90, 100 for sm_80, …)."""
    compiled = triton.compile(
        ASTSource(launch.kernel, *_specialised(launch)),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": launch.warps, "enable_fp_fusion": True},
    )
    registers, spilled = _resource_usage(compiled.asm["cubin"])
    return Resources(registers, spilled, compiled.metadata.shared)


def _resource_usage(cubin: bytes) -> tuple[int, int]:
    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    of_kernel = text.split("Function")[1]
    usage = {name: int(re.findall(rf"{name}:(\d+)", of_kernel)[0]) for name in ("REG", "STACK", "LOCAL")}
    return usage["REG"], usage["STACK"] + usage["LOCAL"]


def name_of(launch: Launch) -> str:
    """The operator's file and the kernel's part in it."""
    file = launch.kernel.__module__.rsplit(".", 1)[-1].removesuffix("_kernels")
    return f"{file} {launch.kernel.__name__.strip('_').removesuffix('_kernel')}"


def describe(launch: Launch) -> str:
    """The configuration in a few words."""
    dtype = next(DTYPES[v.dtype] for v in launch.arguments.values() if isinstance(v, Tensor))
    absent = [name.removesuffix("_ptr") for name, value in launch.arguments.items() if value is None]
    constants = " ".join(f"{name}={value}" for name, value in launch.constants.items())
    without = f" without {', '.join(absent)}" if absent else ""
    return f"{dtype} {constants} warps={launch.warps}{without}"
