"""The Triton source itself, run by Triton's interpreter on CPU tensors in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is that process")
def test_the_kernels_equal_float64() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(HERE / "test_correctness.py"), "-m", "not cuda"],
        cwd=HERE.parents[1],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (passed,) = re.findall(r"(\d+) passed", run.stdout)
    assert int(passed) > 300
