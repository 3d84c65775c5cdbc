"""The tables of a record of `benchmarks.serving_engines`."""

from __future__ import annotations

from docs.generate import records
from docs.generate.blocks import Call, table

_FORMS = {
    "C on bicubic": "C alone on bicubically enlarged crops, as torchreid's extractor",
    "onnxruntime": "the exported file in onnxruntime, by hand",
    "openvino": "the exported file in OpenVINO, by hand",
    "openvino bf16": "… in bfloat16",
    "SRReID": '`SRReID`, `engine="torch"`',
    "SRReID folded": "`fold=True`",
    "SRReID folded bf16": '`fold=True, precision="bf16"`',
    "SRReID folded compiled": "`fold=True, compile=True`",
    "SRReID folded compiled bf16": '`fold=True, compile=True, precision="bf16"`',
    "SRReID onnxruntime": '`engine="onnxruntime"`',
    "SRReID openvino": '`engine="openvino"`',
    "SRReID openvino bf16": '`engine="openvino", precision="bf16"`',
}


def engines_block(call: Call) -> str:
    """Write a line for each form of a pair of networks: ``engines RECORD PAIR [DEVICE]``; the best are bold."""
    name, pair, *device = call.words
    figures = records.read(name)["figures"][device[0] if device else "cpu"][pair]
    forms = [form for form in _FORMS if form in figures]
    batches = list(figures[forms[0]]["img_per_s"])
    columns = [[figures[form]["img_per_s"][batch] for form in forms] for batch in batches]
    latencies = [[figures[form]["latency"][key] for form in forms] for key in ("p50_ms", "p95_ms")]
    # C alone gives another feature: it is no way to the same result
    rivals = [place for place, form in enumerate(forms) if form != "C on bicubic"]
    cells = [_column(column, max(column[i] for i in rivals)) for column in columns]
    cells += [_column(column, min(column[i] for i in rivals)) for column in latencies]
    lines = [[_FORMS[form], *(column[place] for column in cells)] for place, form in enumerate(forms)]
    head = ["", *(f"batch {batch}, pictures/s" for batch in batches), "one crop from its file, p50 ms", "p95 ms"]
    return table(head, lines, 1)


def _column(values: list[float], best: float) -> list[str]:
    return [f"**{value:.3g}**" if value == best else f"{value:.3g}" for value in values]
