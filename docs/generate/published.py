"""Published figures with their protocols."""

from __future__ import annotations

from docs.generate.blocks import Call, table
from docs.generate.rows import EMPTY, number
from intact_fast.experiments.published import PUBLISHED

_DATA = {
    "market1501": "Market-1501",
    "dukemtmc": "DukeMTMC-reID",
    "cuhk03": "CUHK03 (classic)",
    "viper": "VIPeR",
    "caviar": "CAVIAR4REID",
}


def published_block(call: Call) -> str:
    """Write each published Rank-1, what of ours it compares with, and what is known of its protocol: ``published``."""
    lines = []
    for dataset, publications in PUBLISHED.items():
        for publication in publications:
            protocol = publication.protocol
            shots = f"{protocol.shots or 'single-shot'} Rank-1"
            options = [protocol.metric or "", "no distractors" if protocol.distractors == "drop" else ""]
            compares = ", ".join([shots, *filter(None, options)])
            queries = EMPTY if protocol.queries is None else f"all of {protocol.queries}"
            rank1 = number(publication.figures["Rank-1"])
            lines.append([_DATA[dataset], publication.name, rank1, compares, queries, protocol.note])
    head = ["data", "method", "Rank-1", "compares with our", "queries", "what is known of its protocol"]
    return table(head, lines, 6)
