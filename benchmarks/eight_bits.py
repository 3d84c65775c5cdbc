"""8 bits for the query's side: ``python -m benchmarks.eight_bits --root DATA --critic FILE [--record]``.

Needs ``pip install 'intact_fast[engines]'`` and Market-1501. C is torchreid's OSNet x0.25, G is the light one of the
package. onnxruntime quantises the exported graph with degraded training pictures. LR queries through each form
search the gallery whose features C computed in float32, as a service would.

Forms: everything in 8 bits, C alone, G alone, and each with another way to choose the ranges of activations.
"""

from __future__ import annotations

import argparse
import importlib
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.record import machine_of, name_of_machine, rounded, versions, write_record
from intact_fast import SRReID
from intact_fast.config.options import DataConfig, EvaluationConfig
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.data.splits import obtain_manifest
from intact_fast.evaluation.evaluator import rank
from intact_fast.evaluation.features import extract_features
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.views import HR
from intact_fast.serving.engines import import_openvino
from intact_fast.serving.export import export_graph
from intact_fast.serving.folding import plain
from intact_fast.serving.inputs import unnormalised

Pictures = list[np.ndarray]
BATCHES = (1, 16, 64)
SCORES = {
    "single_shot": EvaluationConfig(metric="cosine"),
    "multi_shot": EvaluationConfig(metric="cosine", protocol="multi-shot"),
}
FORMS: dict[str, tuple[str, str]] = {
    "all, MinMax": ("all", "MinMax"),
    "all, Percentile": ("all", "Percentile"),
    "C alone, MinMax": ("critic", "MinMax"),
    "G alone, MinMax": ("generator", "MinMax"),
}
"""Which convolutions and products are quantised, and how onnxruntime chooses the ranges of activations."""


def low_resolution(source: PictureSource, entries: Sequence[Entry]) -> Pictures:
    """Read pictures at their r, N×3×H×W from 0 to 1 in batches."""
    return [unnormalised(batch).contiguous().numpy() for batch in source.batches(entries, degraded=True)]


def calibration_pictures(manifest: Manifest, count: int) -> list[Entry]:
    """Draw training pictures, each with one of the rates 2, 3 and 4."""
    draw = random.Random(0)
    return [
        replace(entry, is_lr=True, r=draw.choice((2, 3, 4))) for entry in draw.sample(manifest.split("train"), count)
    ]


def quantise(prepared: Path, out: Path, pictures: Pictures, part: str, ranges: str, of_generator: int) -> None:
    """Write an 8-bit form of a graph.

    Args:
        prepared: The graph, as onnxruntime prepares it.
        out: File to write.
        pictures: To find the ranges of activations with.
        part: ``all``, ``critic`` or ``generator``.
        ranges: onnxruntime's name of a way to choose the ranges.
        of_generator: How many convolutions of the graph are G's; they are its first ones.
    """
    library = importlib.import_module("onnxruntime.quantization")
    onnx = importlib.import_module("onnx")
    graph = onnx.load(str(prepared)).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    critics, generators = convolutions[of_generator:], convolutions[:of_generator]
    chosen = {"all": convolutions, "critic": critics, "generator": generators}[part]
    library.quantize_static(
        str(prepared),
        str(out),
        Calibration(pictures),
        per_channel=True,
        reduce_range=False,
        op_types_to_quantize=["Conv"],
        nodes_to_quantize=chosen,
        calibrate_method=library.CalibrationMethod[ranges],
        extra_options={"CalibTensorRangeSymmetric": False},
    )


class Calibration:
    """Batches as onnxruntime's calibration reads them."""

    def __init__(self, pictures: Pictures) -> None:
        self._batches: Iterator[np.ndarray] = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        pictures = next(self._batches, None)
        return None if pictures is None else {"pictures": pictures}


def in_onnxruntime(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pictures: session.run(["features"], {"pictures": pictures})[0]


def in_openvino(path: Path, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    core = import_openvino().Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(core.read_model(str(path)), "CPU", settings).create_infer_request()
    return lambda pictures: request.infer({"pictures": pictures})["features"]


def speeds(run: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, seconds: float) -> dict[str, float]:
    """Measure pictures per second by batch size."""
    found = {}
    for size in BATCHES:
        batch = np.ascontiguousarray(pictures[:size])
        run(batch)
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < seconds:
            started = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - started)
        found[str(size)] = size / float(np.median(times))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Quantise, score and time every form, print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds Market-1501")
    parser.add_argument("--critic", type=Path, required=True, help="torchreid's OSNet x0.25 of Market-1501")
    parser.add_argument("--generator", default="market1501-light", help="as SRReID.from_torchreid takes it")
    parser.add_argument("--calibration", type=int, default=128, help="training pictures that give the ranges")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each form at each batch size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write a record")
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    manifest = obtain_manifest(DataConfig(dataset="market1501", root=options.root))
    model = SRReID.from_torchreid(options.critic, options.generator, engine="torch")
    assert model.generator is not None
    source = PictureSource(options.root, manifest.header, model, 64, options.threads)
    queries, gallery = manifest.split("query"), manifest.split("gallery")
    gallery_features = extract_features(source, gallery, HR)
    pictures = low_resolution(source, queries)
    calibration = low_resolution(source, calibration_pictures(manifest, options.calibration))
    of_generator = sum(isinstance(module, nn.Conv2d) for module in plain(model.generator).modules())
    figures: dict[str, Any] = {}

    def measure(name: str, runs: dict[str, Callable[[np.ndarray], np.ndarray]], size: int) -> None:
        row: dict[str, Any] = {"bytes": size, "engines": {}}
        for engine, run in runs.items():
            features = torch.from_numpy(np.concatenate([run(batch) for batch in pictures]))
            row["engines"][engine] = {
                **scores(features, gallery_features, queries, gallery, manifest),
                "img_per_s": speeds(run, pictures[0], options.seconds),
            }
            print(name, engine, rounded(row["engines"][engine]), flush=True)
        figures[name] = row

    with tempfile.TemporaryDirectory() as folder:
        plain_file, prepared = Path(folder) / "query.onnx", Path(folder) / "prepared.onnx"
        export_graph(model, "query", "onnx", plain_file)
        runs = {
            "onnxruntime": in_onnxruntime(plain_file),
            "openvino": in_openvino(plain_file, "f32"),
            "openvino bf16": in_openvino(plain_file, "bf16"),
        }
        measure("float32 graph", runs, plain_file.stat().st_size)
        shapes = importlib.import_module("onnxruntime.quantization.shape_inference")
        shapes.quant_pre_process(str(plain_file), str(prepared))
        for name, (part, ranges) in FORMS.items():
            path = Path(folder) / "int8.onnx"
            quantise(prepared, path, calibration, part, ranges, of_generator)
            runs = {"onnxruntime": in_onnxruntime(path), "openvino": in_openvino(path, "f32")}
            measure(name, runs, path.stat().st_size)
    if options.record:
        record = {
            "kind": "speed",
            "headline": headline(figures),
            "machine": machine_of(torch.device("cpu")),
            "versions": versions("torch", "onnxruntime", "openvino", "onnx", "numpy", "pillow"),
            "commands": {"eight_bits": shlex.join(["python", "-m", "benchmarks.eight_bits", *given])},
            "notes": [
                f"{len(queries):,} LR queries, {len(gallery):,} gallery pictures, cosine; {options.threads} threads.",
                f"Ranges of activations from {options.calibration} degraded training pictures.",
            ],
            "figures": rounded(figures),
        }
        name = f"{name_of_machine(torch.device('cpu'))}-eight-bits"
        print(f"record: {write_record(record, name)}")


def scores(
    features: Tensor, gallery_features: Tensor, queries: list[Entry], gallery: list[Entry], manifest: Manifest
) -> dict[str, float]:
    """Give Rank-1 and mAP in per cent under both protocols."""
    found = {}
    for name, config in SCORES.items():
        result = rank(features, gallery_features, queries, gallery, config, manifest)
        found |= {f"{name}_rank1": 100 * float(result.cmc[0]), f"{name}_map": 100 * result.mean_ap}
    return found


def headline(figures: dict[str, Any]) -> str:
    """Say what 8 bits cost at their best."""
    exact = figures["float32 graph"]["engines"]["onnxruntime"]["multi_shot_rank1"]
    whole = {name: figures[name]["engines"]["onnxruntime"]["multi_shot_rank1"] for name in FORMS if name[:3] == "all"}
    best = max(whole, key=lambda name: whole[name])
    return f"8 bits for G and C change multi-shot Rank-1 by {whole[best] - exact:+.1f} at best ({best})."


if __name__ == "__main__":
    main()
