"""Tables of speed: the ladder of the training step, the fused operators, and what takes how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docs.generate import records
from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY

FORMS = {"eager": "eager PyTorch", "inductor": "Inductor", "fused": "fused"}
PARTS = {
    "data wait": "waiting for pictures",
    "G forward": "forward pass of G",
    "D": "update of D",
    "φ and σ": "update of φ and σ",
    "G update": "update of G",
    "iteration": "whole iteration",
    "optimisers": "optimisers, within the updates",
}


def short(value: float) -> str:
    """Write a figure with three digits, or all of those before the point."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def duration(seconds: float) -> str:
    """Write a time with its unit."""
    return f"{short(1e3 * seconds)} ms" if seconds < 1 else f"{short(seconds)} s"


# the training step


def ladder_block(call: Call) -> str:
    """Write every rung with its switch: ``ladder RECORD``; a record of two networks has a table of each."""
    record = records.read(call.words[0])
    halves = [half for half in (record, record.get("light")) if half is not None and half["ladder"]]
    tables = [_rungs(half["ladder"]) for half in halves]
    if "light" not in record:
        return tables[0]
    titles = [f"Preset `{half['preset']}`, batch {half['batch_size']}:" for half in halves]
    return "\n\n".join(f"{title}\n\n{rungs}" for title, rungs in zip(titles, tables, strict=True))


def _rungs(rungs: Sequence[Mapping[str, Any]]) -> str:
    has_memory = any("peak_gib" in rung for rung in rungs)
    head = ["", "option", "pictures per second", "ratio", "ms", "slowest to fastest iteration"]
    best = max(rung["img_per_s"] for rung in rungs)
    lines = []
    for rung in rungs:
        speed = short(rung["img_per_s"])
        line = [
            rung["rung"],
            f"`{rung['switch']}`" if rung["switch"] else EMPTY,
            f"**{speed}**" if rung["img_per_s"] == best else speed,
            f"{rung['ratio']:.2f}",
            short(rung["median_ms"]),
            f"{rung['max_ms'] / rung['min_ms']:.2f}",
        ]
        lines.append([*line, *([f"{rung['peak_gib']:.2f}"] if has_memory else [])])
    return table([*head, *(["peak GiB"] if has_memory else [])], lines, 2)


def breakdown_block(call: Call) -> str:
    """Write the parts of one iteration: ``breakdown RECORD …``."""
    found = [records.read(name) for name in call.words]
    head = ["ms", *(f"`{record['preset']}`, {records.machine(record).split(' with ')[0]}" for record in found)]
    lines = [[text, *(short(record["breakdown_ms"][part]) for record in found)] for part, text in PARTS.items()]
    return table(head, lines, 1)


def trainings_block(call: Call) -> str:
    """Write the times of whole trainings: ``trainings RECORD``."""
    trainings = records.read(call.words[0])["whole_trainings"]["rows"]
    keys = {"seconds": "whole run, s", "critic_seconds": "C, s", "iterations_seconds": "iterations, s"}
    lines = [[row["label"], *(str(row.get(key, EMPTY)) for key in keys)] for row in trainings.values()]
    return table(["whole trainings", *keys.values()], lines, 1)


# the operators


def operators_block(call: Call) -> str:
    """Write operators at every shape: ``operators RECORD PREFIX``."""
    name, prefix = call.words
    record, lines = records.read(name), []
    for row in record["operators"]:
        if not row["operator"].startswith(prefix):
            continue
        fused, inductor = row["fused"], row["inductor"]
        operator, *options = row["operator"].split(" ", 1)
        lines.append(
            [
                " ".join([f"`{operator}`", *options]),
                shape_of(row),
                *(f"{short(row[form]['forward_us'])} + {short(row[form]['backward_us'])}" for form in FORMS),
                *(f"{inductor[f'{way}_us'] / fused[f'{way}_us']:.2f}" for way in ("forward", "backward")),
                f"{fused['forward_of_copy']:.2f}, {fused['backward_of_copy']:.2f}",
            ]
        )
    head = ["operator", "input", *(f"{form}, µs" for form in FORMS.values())]
    share = f"share of a copy's {short(record['copy_gb_per_s'])} GB/s"
    return table([*head, "over Inductor, forward", "backward", share], lines, 2)


RANGES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "pixel shuffle": ("pixel_shuffle_act", ()),
    "batch normalisation, pictures of 64×32 and more": ("batch_norm_act", (64, 128, 256)),
    "batch normalisation, 32×16": ("batch_norm_act", (32,)),
    "batch normalisation, 16×8": ("batch_norm_act", (16,)),
    "layers of φ and σ": ("linear_bn", ()),
}
"""Operators and heights of pictures, all where none is named, of each line of `ranges_block`."""


def ranges_block(call: Call) -> str:
    """Write the least and the most that operators gain over Inductor: ``ranges RECORD``."""
    rows, lines = records.read(call.words[0])["operators"], []
    for text, (prefix, heights) in RANGES.items():
        chosen = [row for row in rows if row["operator"].startswith(prefix)]
        chosen = [row for row in chosen if not heights or row["shape"][2] in heights]
        cells = []
        for way in ("forward", "backward"):
            ratios = [row["inductor"][f"{way}_us"] / row["fused"][f"{way}_us"] for row in chosen]
            cells.append(f"{min(ratios):.2f} to {max(ratios):.2f}")
        lines.append([text, str(len(chosen)), *cells])
    return table(["times as fast as Inductor", "shapes and options", "forward", "backward"], lines, 1)


def shape_of(row: Mapping[str, Any]) -> str:
    """Name the shape of an operator's input without its batch; that of a layer by its inputs and outputs."""
    _, *sizes = row["shape"]
    return f"{sizes[0]} → {sizes[1]}" if len(sizes) == 2 else "×".join(map(str, sizes))


def association_step_block(call: Call) -> str:
    """Write one step of φ and σ: ``association-step RECORD``."""
    step = records.read(call.words[0])["association_step"]
    lines = [
        [text, short(step[form]["graph_us"]), short(step[form]["us"]), str(step[form]["launches"])]
        for form, text in FORMS.items()
    ]
    return table(["", "in a CUDA graph, µs", "launched by Python, µs", "launches"], lines, 1)


def traffic_block(call: Call) -> str:
    """Write the bytes that operators move: ``traffic RECORD``."""
    lines = []
    for name, passes in records.read(call.words[0])["traffic"].items():
        cells = [f"{passes[way]['moved']:.2f} of {passes[way]['least']:.2f}" for way in ("forward", "backward")]
        launches = ", ".join(str(passes[way]["kernels"]) for way in ("forward", "backward"))
        operator, _, rest = name.partition(" ") if " + " in name else name.partition(",")
        rest = f" {rest}" if " + " in name else f",{rest}" if rest else ""
        lines.append([f"`{operator}`{rest}", *cells, launches])
    head = ["bytes per element of the input, moved of least", "forward", "backward", "kernels forward, backward"]
    return table(head, lines, 1)


def resources_block(call: Call) -> str:
    """Write what kernels need at most: ``resources RECORD``."""
    lines = []
    for name, kernel in records.read(call.words[0])["kernels"].items():
        by_chip = [found for chip, found in kernel.items() if chip.startswith("sm_")]
        cells = [
            ", ".join(str(found[key]) for found in by_chip) for key in ("registers", "shared_bytes", "spilled_bytes")
        ]
        lines.append([f"`{name}`", str(kernel["configurations"]), *cells])
    lines.append(["all", str(sum(int(line[1]) for line in lines)), EMPTY, EMPTY, EMPTY])
    head = ["kernel", "configurations", "registers", "shared bytes", "spilled bytes"]
    return table(head, lines, 1)


# what a reader wants first

_CPU, _H100 = "2026-11-25-cpu-2-cores-ladder", "2026-11-26-nvidia-h100-80gb-hbm3-ladder"
_XEON, _EPYC = "2 cores, Intel Xeon with AMX", "2 cores, AMD EPYC"


def _rung(record: str, name: str) -> str:
    (rung,) = (rung for rung in records.read(record)["ladder"] if rung["rung"] == name)
    return f"{short(rung['median_ms'])} ms ({short(rung['img_per_s'])} pictures per second)"


def _timed(record: str, group: str, row: str, figure: str = "median_s") -> str:
    value = records.read(record)["figures"][group][row][figure]
    return f"{short(value)} per second" if figure == "img_per_s" else duration(value)


_EVALUATION, _SERVING = "2026-11-25-cpu-2-cores-evaluation", "2026-11-26-cpu-2-cores-serving"
OVERVIEW: list[tuple[str, str, Callable[[], str], str]] = [
    (
        "[iteration](#the-training-step-on-two-cpu-cores), preset `cpu`, batch 32",
        _XEON,
        lambda: _rung(_CPU, "+ table of f_c, filled"),
        "`--training.precision bf16 --training.f-c-table`",
    ),
    (
        "the same without 16 bits",
        _XEON,
        lambda: _rung(_CPU, "+ table of f_c, filled, float32"),
        "`--training.f-c-table`",
    ),
    (
        "[iteration](#the-training-step-on-one-h100), paper's sizes, batch 32",
        "one H100",
        lambda: _rung(_H100, "the same, iterations replayed as CUDA graphs"),
        "`--training.precision bf16 --training.compile on --training.cuda-graph on --training.f-c-table "
        "--training.kernels triton`",
    ),
    (
        "the same without compiling",
        "one H100",
        lambda: _rung(f"{_H100}-2", "+ all fused operators"),
        "the same with `--training.compile off`",
    ),
    (
        "[training pictures](#the-data-path), 256×128",
        _XEON,
        lambda: _timed(
            "2026-11-25-cpu-2-cores-data",
            "training pictures, 256x128, to the cpu",
            "DALI, decoded pictures cached",
            "img_per_s",
        ),
        "`--data.cache-mib 500`",
    ),
    (
        "[crops to features](#the-retrieval-module), 64×32, batch 64",
        _EPYC,
        lambda: _timed(_SERVING, "crops to features, native 64x32, batch 64", "SRReID folded compiled", "img_per_s"),
        "`SRReID(…, fold=True, compile=True)`",
    ),
    (
        "[multi-shot figures](#the-evaluation-engine) of Market-1501 from distances",
        _XEON,
        lambda: _timed(_EVALUATION, "multi-shot CMC and mAP from distances, Market-1501 size, good features", "engine"),
        "none: `evaluate_distances`",
    ),
    (
        "re-ranked evaluation of Market-1501 from features",
        _XEON,
        lambda: _timed(_EVALUATION, "re-ranked evaluation from features, Market-1501 size", "engine"),
        "`--evaluation.rerank`",
    ),
    (
        "exact single-shot, 10,000 queries on 200,000 gallery pictures",
        _XEON,
        lambda: _timed(_EVALUATION, "whole process, 10,000 queries on 200,000 gallery pictures", "engine", "seconds"),
        "none: `evaluate_ranking`",
    ),
    (
        "gallery index of 10,000 pictures",
        _EPYC,
        lambda: _timed(_SERVING, "index of 10,000 pictures", "GalleryIndex"),
        "`intact-fast search --index FILE`",
    ),
]


def overview_block(call: Call) -> str:
    """Write what takes how long on which machine, and which switch to take: ``overview``."""
    lines = [[task, machine, found(), switch] for task, machine, found, switch in OVERVIEW]
    return table(["what", "machine", "time", "switch"], lines, 4)
