"""Peak memory of one large evaluation: ``python -m benchmarks.evaluation_memory [QUERIES GALLERY]``.

A process of its own, so that the peak is that evaluation's; it holds the features, too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from intact_fast.evaluation.ranking import evaluate_ranking

WIDTH, PEOPLE, CAMERAS = 512, 5000, 6


def peak_gb() -> float:
    """Peak resident memory of this process; ru_maxrss would start at that of the process that started it."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e9


def main(queries: int = 10_000, gallery: int = 200_000) -> None:
    """Print the peak resident memory and the time as one JSON line."""
    generator = torch.Generator().manual_seed(0)
    pids = [torch.randint(PEOPLE, (size,), generator=generator) for size in (queries, gallery)]
    camids = [torch.randint(CAMERAS, (size,), generator=generator) for size in (queries, gallery)]
    features = [torch.empty(size, WIDTH).normal_(generator=generator) for size in (queries, gallery)]
    before = peak_gb()
    begin = time.perf_counter()
    result = evaluate_ranking(*features, *pids, *camids, protocol="single-shot")
    print(
        json.dumps(
            {
                "queries": queries,
                "gallery": gallery,
                "width": WIDTH,
                "peak_gb": peak_gb(),
                "before_evaluation_gb": before,
                "seconds": time.perf_counter() - begin,
                "mean_ap": result.mean_ap,
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
