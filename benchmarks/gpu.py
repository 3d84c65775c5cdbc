"""``make gpu``: CUDA tests, the ladder at paper size and the fused operators on one NVIDIA GPU, as one JSON record."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = (
    "torch",
    "triton",
    "numpy",
    "PIL",
    "yaml",
    "rich",
    "tyro",
    "torchmetrics",
    "tensorboard",
    "pytest",
    "pytest_benchmark",
)


def main() -> int:
    """Run everything; the exit status is non-zero without a GPU or when a test fails."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"error: make gpu: {sys.executable} lacks {', '.join(missing)}; install them or use another PYTHON",
            file=sys.stderr,
        )
        return 2
    if any(importlib.util.find_spec(f"intact_fast.{part}") is None for part in ("_C", "kernels")):
        print(
            f"error: make gpu: {sys.executable} has no intact_fast; run pip install --no-deps -e . there first",
            file=sys.stderr,
        )
        return 2
    import torch

    if not torch.cuda.is_available():
        print(
            "error: make gpu: PyTorch sees no NVIDIA GPU; run it where torch.cuda.is_available()",
            file=sys.stderr,
        )
        return 2
    # only files with such tests, so that the others' test libraries need not be there
    marked = [
        p
        for p in sorted((ROOT / "tests").rglob("test_*.py"))
        if any("mark.cuda" in q.read_text(encoding="utf-8") for q in (p, p.parent / "conftest.py") if q.is_file())
    ]
    tests = subprocess.run([sys.executable, "-m", "pytest", "-m", "cuda", *map(str, marked)], cwd=ROOT, check=False)
    # pytest's 5 is "no test selected", which proves nothing
    if tests.returncode != 0:
        return tests.returncode
    print(f"record: {measure()}")
    return 0


def measure() -> Path:
    """Measure everything and write the record."""
    import torch

    from benchmarks import ladder
    from benchmarks.operators import measure_operators
    from benchmarks.record import machine_of, name_of_machine, versions, write_record

    device = torch.device("cuda", 0)
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    steps = ladder.measure("paper", with_compile=True, repeats=20)
    record = {
        "kind": "speed",
        "headline": ladder.headline(steps),
        "machine": {**machine_of(device), "note": f"{memory:.1f} GiB"},
        "versions": {"cuda": torch.version.cuda, **versions("torch", "triton", "nvidia-dali-cuda130")},
        "commands": {"gpu": "make gpu"},
        # PyTorch's defaults: "float32" convolutions may use TF32
        "tf32": {
            "cudnn": torch.backends.cudnn.allow_tf32,
            "matmul": torch.backends.cuda.matmul.allow_tf32,
        },
        **steps,
        **measure_operators(device),
    }
    return write_record(record, name_of_machine(device))


if __name__ == "__main__":
    sys.exit(main())
