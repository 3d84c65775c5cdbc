"""Whether two runs or tables ended alike, bit for bit, but for where they are and how long something took."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from intact_fast.files import is_leftover, read_checkpoint

_MAY_DIFFER = frozenset({"img_per_s", "seconds", "step_ms", "arithmetic"})
"""Keys of how long something took, and of what it was computed by."""
_OF_A_START = ("curves.png", "report.html")
"""Pictures of img/s, and the page that shows them; `report.md` has the same figures."""
_CURVES = re.compile(r"## [^\n]+\n\n!\[[^\n]+curves\.png\)\n*")
"""The section of a report that shows them."""
_DURATIONS = re.compile(r"\b[\d.,]+ s\b")
_TEXTS = (".md", ".json", ".jsonl", ".yaml")


def differences(whole: Path, other: Path, names: tuple[str, str] | None = None) -> list[str]:
    """Compare what two runs left.

    Args:
        whole: Folder of a run that nothing has disturbed.
        other: Folder of the run that is looked at.
        names: A word of each side that stands for the same; None takes the folders' own names where these differ.
    """
    files, others = files_of(whole), files_of(other)
    found = [f"{name}: missing" for name in sorted(files - others)]
    found += [f"{name}: too many" for name in sorted(others - files)]
    words = names or ((whole.name, other.name) if whole.name != other.name else ("", ""))
    for name in sorted(files & others):
        content = [_content(folder, name, word) for folder, word in zip((whole, other), words, strict=True)]
        found += [f"{name}{place}" for place in _unequal(*content)]
    return found


def files_of(folder: Path) -> set[str]:
    """Name the files below a folder; TensorBoard's are one for each start, locks stay, and curves show times."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name not in _OF_A_START)
    return {str(name) for name in names if "tensorboard" not in name.parts and not name.name.endswith(".lock")}


def leftovers(folder: Path) -> list[str]:
    """Name the halves of files below a folder."""
    return [str(path) for path in folder.rglob("*") if is_leftover(path) and not path.name.endswith(".lock")]


def _content(folder: Path, name: str, word: str) -> Any:
    """Give what a file holds, without the run's place, name and durations."""
    path = folder / name
    if path.suffix == ".pt":
        # its configuration names the folder of runs
        return {key: value for key, value in read_checkpoint(path, "chaos").items() if key != "config"}
    if path.suffix not in _TEXTS:
        return path.read_bytes()
    text = path.read_text(encoding="utf-8").replace(str(folder.parent), "RUNS")
    text = _CURVES.sub("", text.replace(word, "NAME") if word else text)
    text = _DURATIONS.sub("… s", text)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if path.suffix == ".json" else text


def _unequal(a: Any, b: Any, where: str = "") -> list[str]:
    """Name the places in nested dictionaries and lists that differ, bit for bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return [] if _are_equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [place for key in a if key not in _MAY_DIFFER for place in _unequal(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [place for i, (x, y) in enumerate(zip(a, b, strict=True)) for place in _unequal(x, y, f"{where}/{i}")]
    return [] if a == b else [where]


def _are_equal(a: Tensor, b: Tensor) -> bool:
    # NaN is equal to NaN here
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
