"""Crops to features: ``SRReID`` against what serves the same networks without it. See `main` for the options.

``python -m benchmarks.serving_engines [--record]`` measures on the processor with two threads, and on a GPU where there
is one. Needs ``pip install 'intact_fast[engines]'``. Every form is a way to the same features:

C on bicubic     what torchreid's extractor does: Pillow enlarges with the bicubic filter, C alone sees the result
onnxruntime      the file of ``intact-fast export``, in onnxruntime by hand
openvino         the same file, in OpenVINO by hand, in float32 and in bfloat16
SRReID …         the module, as its options say

Throughput is that of prepared pictures, so that every form has the same work. A pass of one form follows a pass of the
one before, over and over: a slow moment of the machine meets all of them. Latency is that of one crop, from the JPEG
file to the feature. Networks have random weights.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record
from benchmarks.setup import CLASSES, pictures_like_market, synchronise
from intact_fast import SRReID
from intact_fast.config.devices import computes_bfloat16
from intact_fast.config.options import Config
from intact_fast.config.presets import CPU
from intact_fast.models import build_osnet
from intact_fast.serving.engines import import_openvino, is_installed
from intact_fast.serving.export import export_graph
from intact_fast.serving.inputs import unnormalised
from intact_fast.training.step.networks import build_generator

Run = Callable[[Tensor], Tensor]
"""Prepared pictures, N×3×H×W on the device, to features."""

PAPER = Config()
PAIRS = {
    "paper": PAPER,
    "cpu": CPU,
    "light": replace(CPU, generator=replace(CPU.generator, arch="light")),
}
"""Pairs of G and C: the paper's at 256×128 with OSNet x1.0, preset `cpu`'s, and the light G before the latter's C."""
FORMS: dict[str, dict[str, Any]] = {
    "SRReID": {},
    "SRReID folded": {"fold": True},
    "SRReID folded bf16": {"fold": True, "precision": "bf16"},
    "SRReID folded compiled": {"fold": True, "compile": True},
    "SRReID folded compiled bf16": {"fold": True, "compile": True, "precision": "bf16"},
    "SRReID onnxruntime": {"engine": "onnxruntime"},
    "SRReID openvino": {"engine": "openvino"},
    "SRReID openvino bf16": {"engine": "openvino", "precision": "bf16"},
}
BATCHES = (1, 16, 64)
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
SECONDS = 5.0


@dataclass(frozen=True)
class Form:
    """A way to features.

    Attributes:
        run: From prepared pictures.
        of_file: From one file.
        tolerance: How much a feature may differ from the module's, in float32; None where it is another feature.
    """

    run: Run
    of_file: Callable[[Path], Tensor]
    tolerance: float | None


def forms_of(config: Config, device: torch.device, folder: Path, names: Sequence[str] | None) -> dict[str, Form]:
    """Make all forms that this machine has, or those of them that are named."""
    plain = make_model(config, device)
    wanted: dict[str, Callable[[], Form]] = {"C on bicubic": lambda: bicubic(plain)}
    for name, options in FORMS.items():
        if fits(options, device):
            wanted[name] = lambda options=options: of_module(make_model(config, device, **options))
    if device.type == "cpu":
        for name, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino bf16", "bf16")):
            if fits({"engine": name.split()[0], "precision": precision}, device):
                wanted[name] = lambda name=name, precision=precision: of_export(plain, folder, name, precision)
    return {name: make() for name, make in wanted.items() if names is None or name in names}


def fits(options: Mapping[str, Any], device: torch.device) -> bool:
    engine = options.get("engine", "torch")
    if engine != "torch" and (device.type != "cpu" or not is_installed(engine)):
        return False
    return options.get("precision") != "bf16" or computes_bfloat16(device)


def make_model(config: Config, device: torch.device, **options: Any) -> SRReID:
    torch.manual_seed(0)
    generator, critic = build_generator(config), build_osnet(config.critic.arch, CLASSES)
    size = (config.data.height, config.data.width)
    return SRReID(critic, generator, size, mode="always", tensors="imagenet", **options).to(device)


def of_module(model: SRReID) -> Form:
    tolerance = TOLERANCE["bf16" if model.precision == "bf16" else "fp32"]
    return Form(model, lambda path: model([path]), tolerance)


def bicubic(model: SRReID) -> Form:
    alone = SRReID(model.critic, None, model.size, "bicubic").to(model.device)
    return Form(lambda x: F.normalize(alone.embed(x)), lambda path: alone([path]), None)


def of_export(model: SRReID, folder: Path, name: str, precision: str) -> Form:
    path = folder / "query.onnx"
    if not path.exists():
        export_graph(model, "query", "onnx", path)
    threads = torch.get_num_threads()
    if name == "onnxruntime":
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def infer(pictures: np.ndarray) -> np.ndarray:
            return session.run(["features"], {"pictures": pictures})[0]
    else:
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
        core = import_openvino().Core()
        request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()

        def infer(pictures: np.ndarray) -> np.ndarray:
            return request.infer({"pictures": pictures})["features"]

    height, width = model.size

    def of_file(path: Path) -> Tensor:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(infer(np.asarray(resized, np.float32).transpose(2, 0, 1)[None] / 255))

    return Form(lambda x: torch.from_numpy(infer(unnormalised(x).contiguous().numpy())), of_file, TOLERANCE[precision])


def measure(
    config: Config, device: torch.device, batches: Sequence[int], seconds: float, names: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Measure every form of a pair.

    Args:
        config: Gives G, C and their input size.
        device: Where they compute.
        batches: Pictures per pass.
        seconds: About how long each form computes, for each batch size and for latency.
        names: Forms; None for all.

    Returns:
        For each form: pictures per second by batch size, latency of one crop, and the largest difference of a feature.
    """
    size = (config.data.height, config.data.width)
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        forms = forms_of(config, device, Path(folder), names)
        small = crops(Path(folder) / "crops", size)
        model = make_model(config, device)
        pictures = torch.stack([model.prepare(path) for path in small])[:4].to(device)
        expected = F.normalize(model.embed(model.generate(pictures)))
        for name, form in forms.items():
            difference = float((form.run(pictures) - expected).abs().max())
            assert form.tolerance is None or difference <= form.tolerance, f"{name}: differs by {difference}"
            figures[name] = {"difference": None if form.tolerance is None else difference, "img_per_s": {}}
        for batch in batches:
            x = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(batch)).to(device)
            x = ((x - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
            passes = {name: (lambda form=form, x=x: form.run(x)) for name, form in forms.items()}
            for name, times in alternate(passes, seconds, device).items():
                figures[name]["img_per_s"][str(batch)] = batch / float(np.median(times))
        files = {name: (lambda form=form: form.of_file(small[0])) for name, form in forms.items()}
        for name, times in alternate(files, seconds, device).items():
            p50, p95 = np.percentile(times, [50, 95])
            figures[name]["latency"] = {"p50_ms": 1e3 * p50, "p95_ms": 1e3 * p95, "crops": len(times)}
    return figures


def crops(folder: Path, size: tuple[int, int]) -> list[Path]:
    """Write LR crops of half the networks' height and width."""
    folder.mkdir()
    paths = pictures_like_market(folder, 4)
    for path in paths:
        with Image.open(path) as image:
            image.resize((size[1] // 2, size[0] // 2), Image.Resampling.BICUBIC).save(path)
    return paths


def alternate(
    calls: Mapping[str, Callable[[], Tensor]], seconds: float, device: torch.device
) -> dict[str, list[float]]:
    """Call each in turn until each has computed for so long on average; two calls of each do not count.

    Nor does the first call of each turn: threads of the one before may still wait for work, and take the cores.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    rounds = 0
    while rounds < 3 or time.perf_counter() - begin < seconds * len(calls):
        for name, call in calls.items():
            call()
            synchronise(device)
            started = time.perf_counter()
            call()
            synchronise(device)
            if rounds >= 2:
                times[name].append(time.perf_counter() - started)
        rounds += 1
    return times


def headline(figures: Mapping[str, Any]) -> str:
    """Say what the fastest form of the module does with one crop, beside the module as it is."""
    rows = next(iter(figures.values()))["cpu"]
    modules = {name: row["img_per_s"]["1"] for name, row in rows.items() if name.startswith("SRReID")}
    best = max(modules, key=lambda name: modules[name])
    return (
        f"One crop at a time, preset cpu's pair: {best} {modules[best]:.3g} pictures per second, "
        f"SRReID in eager PyTorch {modules['SRReID']:.3g}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all pairs on all devices, print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each form at each batch size")
    parser.add_argument("--threads", type=int, default=2, help="of the processor")
    parser.add_argument("--forms", nargs="+", help="forms to measure; none measures all")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--record", action="store_true", help="write a record")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    figures: dict[str, dict[str, Any]] = {device.type: {} for device in devices}
    for device in devices:
        for pair in options.pairs:
            rows = measure(PAIRS[pair], device, options.batches, options.seconds, options.forms)
            figures[device.type][pair] = rows
            for name, row in rows.items():
                print(device.type, pair, name, json.dumps(rounded(row)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rounded(figures), indent=1) + "\n", encoding="utf-8")
    if options.record:
        record = {
            "kind": "speed",
            "headline": headline(figures),
            "machine": machine_of(devices[-1]),
            "versions": versions("torch", "onnxruntime", "openvino", "onnx", "numpy", "pillow"),
            "commands": {"engines": shlex.join(["python", "-m", "benchmarks.serving_engines", *given])},
            "notes": [
                f"{options.threads} threads; each form computes for {options.seconds:g} s at each batch size, in turn."
            ],
            "figures": rounded(figures),
        }
        print(f"record: {write_record(record, f'{name_of_machine(devices[-1])}-serving-engines')}")


if __name__ == "__main__":
    main()
