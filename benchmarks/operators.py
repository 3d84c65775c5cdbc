"""The fused operators against eager PyTorch and Inductor at the paper's shapes, on one GPU.

``python -m benchmarks.operators`` measures all, whatever time they take; ``make gpu`` has them as a stage. Every form
is captured in a CUDA graph over several input sets, so that the figures are the device's own. The backward pass is what
forward and backward take beyond forward. The least bytes an operator can move, divided by its time, is compared with a
large copy on the same device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.association_step import measure_association_step
from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record
from benchmarks.setup import captured
from intact_fast import kernels

BATCH = 32
SHUFFLES = ((512, 16, 8), (256, 32, 16), (128, 64, 32), (64, 128, 64))
"""C, H, W of what the pixel shuffles of G take (4·C channels)."""
NORMS = (
    (64, 256, 128),
    (64, 128, 64),
    (128, 128, 64),
    (128, 64, 32),
    (256, 64, 32),
    (256, 32, 16),
    (512, 32, 16),
    (512, 16, 8),
)
"""C, H, W of the batch normalisations in G and D."""
LIGHT = ((64, 64, 32), (96, 32, 16), (128, 16, 8))
"""C, H, W of the depthwise convolutions in C (OSNet x1.0)."""
LAYERS = ((512, 512), (512, 256), (256, 200), (200, 256), (512, 1024), (1024, 512))
"""Inputs and outputs of the layers of φ and σ."""
LOSSES = ((512, 1024), (256, 200))
"""The last layers of φ and σ, which end in a loss."""
FORMS = ("fused", "eager", "inductor")
INPUT_SETS, REPEATS = 4, 30
COPY_BYTES = 1 << 29


@dataclass(frozen=True)
class Subject:
    """One operator at one shape.

    Attributes:
        name: Operator and options.
        shape: Of the input.
        fused: The operator.
        reference: The same in PyTorch's operators, which Inductor gets, too.
        inputs: Makes one set of differentiable tensors.
        forward_bytes: Least traffic of the forward pass.
        backward_bytes: Least traffic of the backward pass.
    """

    name: str
    shape: tuple[int, ...]
    fused: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    inputs: Callable[[], list[Tensor]]
    forward_bytes: int
    backward_bytes: int


def _pictures(device: torch.device, *shape: int) -> Tensor:
    values = torch.randn(shape, device=device, dtype=torch.bfloat16)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def subjects(device: torch.device, batch: int = BATCH, most_rows: int = 1 << 30) -> list[Subject]:
    """Every operator at every shape of the paper; of the picture shapes those of at most ``most_rows`` rows."""
    found = []
    for channels, height, width in SHUFFLES:
        for skip in (False, True):
            elements = 4 * batch * channels * height * width

            def shuffle_inputs(c: int = channels, h: int = height, w: int = width, skip: bool = skip) -> list[Tensor]:
                x, bias = _pictures(device, batch, 4 * c, h, w), torch.randn(4 * c, device=device)
                extra = [_pictures(device, batch, c, 2 * h, 2 * w)] if skip else []
                return [x, bias.requires_grad_(), *extra]

            found.append(
                Subject(
                    "pixel_shuffle_act" + (" + skip" if skip else ""),
                    (batch, 4 * channels, height, width),
                    kernels.pixel_shuffle_act,
                    kernels.pixel_shuffle_act_reference,
                    shuffle_inputs,
                    2 * elements * (3 if skip else 2),
                    2 * elements * 3,
                )
            )
    for channels, height, width in NORMS:
        # G's two, and D's
        for residual, activation in ((False, "relu"), (True, "relu"), (False, "leaky_relu")):
            elements = batch * channels * height * width

            def norm_inputs(c: int = channels, h: int = height, w: int = width, r: bool = residual) -> list[Tensor]:
                vectors = [torch.randn(c, device=device).requires_grad_() for _ in range(2)]
                extra = [_pictures(device, batch, c, h, w)] if r else []
                return [_pictures(device, batch, c, h, w), *vectors, *extra]

            def normalised(
                x: Tensor,
                weight: Tensor,
                bias: Tensor,
                residual: Tensor | None = None,
                function: Callable[..., Tensor] = kernels.batch_norm_act,
                activation: str = activation,
            ) -> Tensor:
                options = {"activation": activation, "negative_slope": 0.2}
                return function(x, weight, bias, residual=residual, **options)

            found.append(
                Subject(
                    f"batch_norm_act {activation}" + (" + residual" if residual else ""),
                    (batch, channels, height, width),
                    normalised,
                    partial(normalised, function=kernels.batch_norm_act_reference),
                    norm_inputs,
                    # the statistics need x before the first output can be written, so x is read twice
                    2 * elements * (4 if residual else 3),
                    2 * elements * (7 if residual else 5),
                )
            )
    found += _light_convolutions(device, batch)
    return [subject for subject in found if subject.shape[2] <= most_rows] + _layers(device, batch)


def _light_convolutions(device: torch.device, batch: int) -> list[Subject]:
    """The depthwise convolutions of C, as C_q trains them."""
    found = []
    for channels, height, width in LIGHT:
        constants = torch.zeros(channels, device=device), torch.ones(channels, device=device)

        def inputs(c: int = channels, h: int = height, w: int = width) -> list[Tensor]:
            filters = torch.randn(c, 1, 3, 3, device=device).requires_grad_()
            vectors = [torch.randn(c, device=device).requires_grad_() for _ in range(2)]
            return [_pictures(device, batch, c, h, w), filters, *vectors]

        def run(
            x: Tensor,
            filters: Tensor,
            weight: Tensor,
            bias: Tensor,
            function: Callable[..., Tensor] = kernels.depthwise_norm_act,
            constants: tuple[Tensor, Tensor] = constants,
        ) -> Tensor:
            return function(x, filters, *constants, weight, bias, activation="relu")

        elements = batch * channels * height * width
        found.append(
            Subject(
                "depthwise_norm_act",
                (batch, channels, height, width),
                run,
                partial(run, function=kernels.depthwise_norm_act_reference),
                inputs,
                2 * elements * 2,
                2 * elements * 4,
            )
        )
    return found


def _layers(device: torch.device, batch: int) -> list[Subject]:
    """The layers of φ and σ, and the two that end in a loss, in float32."""
    found = []
    for width, outputs in LAYERS:

        def layer(k: int = width, n: int = outputs) -> list[Tensor]:
            sizes = ((batch, k), (n, k), (n,), (n,))
            return [torch.randn(size, device=device).requires_grad_() for size in sizes]

        def run(
            x: Tensor,
            weight: Tensor,
            gamma: Tensor,
            beta: Tensor,
            function: Callable[..., Tensor] = kernels.linear_bn_act,
        ) -> Tensor:
            return function(x, kernels.LinearBN(weight, gamma, beta), training=True, activation="relu")

        traffic = 4 * (batch * width + outputs * width + batch * outputs)
        shape = (batch, width, outputs)
        found.append(
            Subject(
                "linear_bn_act",
                shape,
                run,
                partial(run, function=kernels.linear_bn_act_reference),
                layer,
                traffic,
                2 * traffic,
            )
        )
        if (width, outputs) not in LOSSES:
            continue

        def with_target(n: int = outputs, layer: Callable[[], list[Tensor]] = layer) -> list[Tensor]:
            return [*layer(), torch.randn(batch, n, device=device).requires_grad_()]

        def fused(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, target: Tensor) -> Tensor:
            return kernels.linear_bn_mse(x, kernels.LinearBN(weight, gamma, beta), target, training=True)[0]

        def reference(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, target: Tensor) -> Tensor:
            return kernels.linear_bn_mse_reference(x, kernels.LinearBN(weight, gamma, beta), target, training=True)

        found.append(Subject("linear_bn_mse", shape, fused, reference, with_target, traffic, 2 * traffic))
    return found


def seconds_per_call(calls: list[Callable[[], object]], device: torch.device, repeats: int) -> float:
    """Median time of one of ``calls``, which are run one after another; on a GPU in a captured graph."""
    if device.type == "cpu":
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            for call in calls:
                call()
            times.append((time.perf_counter() - begin) / len(calls))
        return statistics.median(times)
    graph = captured(calls)
    graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(calls))
    return statistics.median(times)


def copy_bandwidth(device: torch.device, size: int = COPY_BYTES, repeats: int = REPEATS) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_per_call([lambda: target.copy_(source)], device, repeats)


def gradient_like(out: Tensor) -> Tensor:
    """A random gradient; that of pictures comes from a channels-last convolution in a network."""
    grad = torch.randn_like(out)
    return grad.contiguous(memory_format=torch.channels_last) if grad.ndim == 4 else grad


def measure_subject(
    subject: Subject, device: torch.device, copy: float, forms: tuple[str, ...], repeats: int = REPEATS
) -> dict[str, Any]:
    """Times of every form of one operator, forward and backward."""
    sets = [subject.inputs() for _ in range(INPUT_SETS)]
    grads = [gradient_like(subject.reference(*tensors)) for tensors in sets]
    row: dict[str, Any] = {"operator": subject.name, "shape": subject.shape}
    functions = {"fused": subject.fused, "eager": subject.reference}
    if "inductor" in forms:
        torch._dynamo.reset()
        functions["inductor"] = torch.compile(subject.reference, fullgraph=True)
    for form in forms:
        function = functions[form]

        def forward(tensors: list[Tensor], function: Callable[..., Tensor] = function) -> Tensor:
            return function(*tensors)

        def both(tensors: list[Tensor], grad: Tensor, function: Callable[..., Tensor] = function) -> object:
            return torch.autograd.grad(function(*tensors), tensors, grad)

        ahead = seconds_per_call([partial(forward, tensors) for tensors in sets], device, repeats)
        pairs = zip(sets, grads, strict=True)
        total = seconds_per_call([partial(both, tensors, grad) for tensors, grad in pairs], device, repeats)
        behind = max(total - ahead, 1e-9)
        row[form] = {
            "forward_us": 1e6 * ahead,
            "backward_us": 1e6 * behind,
            "forward_of_copy": subject.forward_bytes / ahead / copy,
            "backward_of_copy": subject.backward_bytes / behind / copy,
        }
    return row


def table_of(
    rows: Sequence[Mapping[str, Any]], step: Mapping[str, Mapping[str, Any]], copy: float, forms: Sequence[str]
) -> list[str]:
    """Lines of a short table.

    Args:
        rows: Of `measure_subject`.
        step: Of `measure_association_step`.
        copy: Bytes per second.
        forms: What was measured.
    """
    lines = [f"copy: {copy / 1e9:.0f} GB/s; microseconds forward + backward, share of copy, ratio to Inductor"]
    for row in rows:
        fused = row["fused"]
        times = "  ".join(f"{form} {row[form]['forward_us']:.0f}+{row[form]['backward_us']:.0f}" for form in forms)
        line = f"{row['operator']:<34}{row['shape']!s:<24}{times}"
        line += f"  copy {fused['forward_of_copy']:.2f} {fused['backward_of_copy']:.2f}"
        if "inductor" in forms:
            ratios = (row["inductor"][f"{way}_us"] / fused[f"{way}_us"] for way in ("forward", "backward"))
            line += "  inductor " + " ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(line)
    return lines + [f"association step, {name}: {figures}" for name, figures in step.items()]


def measure_operators(device: torch.device) -> dict[str, Any]:
    """All figures, for a record; prints a short table."""
    copy = copy_bandwidth(device)
    rows = [measure_subject(s, device, copy, FORMS) for s in subjects(device)]
    step = measure_association_step(device)
    for line in table_of(rows, step, copy, FORMS):
        print(line)
    return rounded({"copy_gb_per_s": copy / 1e9, "operators": rows, "association_step": step})


def headline(figures: Mapping[str, Any]) -> str:
    """Say how many operators and shapes are at least as fast as Inductor's code, forward and backward together."""
    rows = figures["operators"]
    totals = [[row[form]["forward_us"] + row[form]["backward_us"] for form in ("fused", "inductor")] for row in rows]
    faster = sum(fused <= inductor for fused, inductor in totals)
    return f"{faster} of {len(rows)} operators and shapes are at least as fast as Inductor's code."


def main() -> None:
    """Measure and write a record."""
    device = torch.device("cuda", 0)
    figures = measure_operators(device)
    record = {
        "kind": "speed",
        "headline": headline(figures),
        "machine": machine_of(device),
        "versions": {"cuda": torch.version.cuda, **versions("torch", "triton")},
        "commands": {"operators": "python -m benchmarks.operators"},
        **figures,
    }
    print(f"record: {write_record(record, name_of_machine(device) + '-operators')}")


if __name__ == "__main__":
    main()
