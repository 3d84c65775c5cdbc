"""Every kernel in every tile configuration compiles for every architecture, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_kernel_spills_registers() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernel_costs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    (found,) = re.findall(r"(\d+) kernels and configurations.*sm_80, sm_90, sm_100", run.stdout)
    assert int(found) > 100
    for name in ("pixel_shuffle", "batch_norm", "depthwise", "linear_bn"):
        assert f"\n{name} forward" in run.stdout or f"\n{name} apply" in run.stdout
