"""``intact-fast export``: the retrieval module as a graph, or a checkpoint as a model file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from intact_fast.commands.model_options import run_command
from intact_fast.commands.progress_bar import progress
from intact_fast.data.manifest import Manifest
from intact_fast.data.places import require_inside
from intact_fast.errors import UserError
from intact_fast.evaluation.parity import Parity, drawn_sets, manifest_sets, measure_parity
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.serving.export import Engine, ExportFormat, ExportSide, export_graph, load_engine, require
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.super_resolver import SuperResolver
from intact_fast.training.checkpoint_models import served_by

TOLERANCE, HALF_TOLERANCE = 1e-3, 1e-2
_SUFFIXES = {".onnx": "onnx", ".pt2": "torch-export", ".safetensors": "safetensors"}


@dataclass(frozen=True)
class ExportOptions:
    """Write SR and re-id as one graph of plain operators, or a checkpoint as a model file.

    The graph has a free batch size. What was written is compared with the module itself. Exit status: 0 when they
    agree, 1 when a feature differs by more than 0.001 (0.01 with --half), 2 after a mistake in the options.
    """

    out: Path
    """File to write; an existing file is never replaced."""
    model: Path | None = None
    """Model file of a run (`runs/NAME/model.safetensors`)."""
    checkpoint: Path | None = None
    """Training checkpoint instead, such as `runs/NAME/checkpoints/best.pt`."""
    format: Literal["auto", "onnx", "torch-export", "safetensors"] = "auto"
    """What to write; `auto` follows the name: .onnx, .pt2 (`torch.export.load`) or .safetensors."""
    side: ExportSide = "query"
    """`query` passes every picture through G and C, `gallery` through C alone."""
    half: bool = False
    """Write a graph of float16 weights and operators; pictures and features stay float32."""
    generator_only: bool = False
    """Write a .safetensors file of G without C, for `--critic` and `SRReID.from_torchreid`."""
    normalize: bool | None = None
    """Give features of length 1; none takes the model's own."""
    manifest: Path | None = None
    """Split on whose Rank-1 both are compared; none compares them on a few drawn pedestrians."""
    root: Path = Path("data")
    """Folder that the manifest's paths are relative to."""
    threads: int = 2
    """Threads that read pictures."""
    json: bool = False
    """Print the result as JSON."""
    debug: bool = False
    """Show tracebacks of user errors."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(ExportOptions, "intact-fast export", arguments, _run)


def _run(options: ExportOptions) -> int:
    export_format = _format(options)
    if options.out.exists():
        raise UserError(f"--out {options.out}: exists already; remove it or name another file")
    check_writable(options.out, "--out")
    manifest = None if options.manifest is None else Manifest.load(options.manifest)
    if manifest is not None:
        require_inside(manifest.split("query", "gallery"), options.root, option="--root")
    if export_format == "onnx":
        require("onnxruntime")
    if options.generator_only and export_format != "safetensors":
        raise UserError(f"--generator-only: {options.out} is no .safetensors file; name one, or leave the option out")
    if options.half and export_format == "safetensors":
        raise UserError(f"--half: {options.out} is no graph; name it .onnx or .pt2, or leave the option out")
    model = _model(options)
    if options.generator_only and (model.generator is None or model.query_critic is not None):
        raise UserError("--generator-only: this model is not a generator before C alone; leave the option out")
    engine: Engine
    if export_format == "safetensors":
        written = _write_model(model, options)
        mode = "always" if options.side == "query" else "never"
        engine = lambda pictures: written(pictures, mode=mode)  # noqa: E731
    else:
        graph_format: ExportFormat = "onnx" if export_format == "onnx" else "torch-export"
        export_graph(model, options.side, graph_format, options.out, half=options.half)
        engine = load_engine(options.out, graph_format)
    if manifest is None:
        query, gallery = drawn_sets(model)
    else:
        query, gallery = manifest_sets(
            model, manifest, options.root, options.threads, partial(progress, quiet=options.json)
        )
    distractor_pid = None if manifest is None else manifest.header.distractor_pid
    parity = measure_parity(model, engine, options.side, query, gallery, distractor_pid)
    _print(options, export_format, parity)
    # a NaN agrees with nothing
    return 0 if parity.difference <= (HALF_TOLERANCE if options.half else TOLERANCE) else 1


def _write_model(model: SRReID, options: ExportOptions) -> SRReID:
    """Write a model file, and give what it serves."""
    if not options.generator_only:
        model.save_pretrained(options.out)
        return SRReID.from_pretrained(options.out, engine="torch")
    model.save_generator(options.out)
    served = SuperResolver.from_pretrained(options.out)
    return SRReID(model.critic, served.generator, model.size, model.interpolation, normalize=model.normalize)


def _format(options: ExportOptions) -> str:
    if options.format != "auto":
        return options.format
    export_format = _SUFFIXES.get(options.out.suffix.lower())
    if export_format is None:
        raise UserError(
            f"--out {options.out}: name it .onnx, .pt2 or .safetensors, or add --format "
            f"({', '.join(get_args(ExportFormat))}, safetensors)"
        )
    return export_format


def _model(options: ExportOptions) -> SRReID:
    if options.checkpoint is not None and options.model is None:
        model = served_by(options.checkpoint)
    elif options.model is not None and options.checkpoint is None:
        # what is written is compared with PyTorch, not with another engine
        model = SRReID.from_pretrained(options.model, engine="torch")
    else:
        raise UserError("--model, --checkpoint: give one of them")
    if options.side == "query" and not model.has_query_side:
        raise UserError(f"--model {options.model}: holds neither a generator nor a C_q; add --side gallery")
    if options.normalize is not None:
        model.normalize = options.normalize
    return model


def _print(options: ExportOptions, export_format: str, parity: Parity) -> None:
    if options.json:
        figures = {"out": str(options.out), "format": export_format, "side": options.side, **asdict(parity)}
        print(to_json(figures, indent=1))
        return
    what = "drawn pedestrians" if options.manifest is None else str(options.manifest)
    print(f"{options.out}: {export_format}, {options.side}'s side, {options.out.stat().st_size / 2**20:.1f} MiB")
    print(
        f"against SRReID on {what}: {parity.pictures} pictures, features differ by {parity.difference:.1e} at most; "
        f"Rank-1 {100 * parity.rank1_other:.2f}, SRReID's {100 * parity.rank1:.2f}"
    )
