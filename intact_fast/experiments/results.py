"""Results of a row with one seed: their file, and the figures taken from the training's records."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from intact_fast.config.command_line import differences, from_yaml
from intact_fast.config.options import Config
from intact_fast.errors import UserError
from intact_fast.files import write_atomically
from intact_fast.json_text import from_json, to_json
from intact_fast.plain_values import read_plain
from intact_fast.reporting.curves import read_metrics
from intact_fast.training.intact import IntactTask


@dataclass(frozen=True)
class RowResult:
    """Results of one row with one seed.

    Attributes:
        recipe: Its name.
        seed: Of the training, and of the split where that is random.
        config: The configuration, as YAML.
        manifest: Hash of the split.
        figures: Rank-k and mAP in percent, PSNR in dB, SSIM; those of the multi-shot protocol and of cosine as well.
        upper: The same of HR queries; empty where there are none.
        rank1: Rank-1 of each valid query, 0 to 1.
        r: Each valid query's r, 0 where it is natively LR.
        pid: Each valid query's identity.
        unseen: Rank-1 in percent with all queries at an r that the split does not have.
        curve: Iterations and validation Rank-1 in percent.
        step_ms: Milliseconds per iteration, median over the records; None without a training, or where others ran
            beside it.
        health: The last recorded figures of the association and of D.
        further: The same as ``figures`` of further rows by the key of their view, such as ``sr+flip``.
    """

    recipe: str
    seed: int
    config: str
    manifest: str
    figures: dict[str, float]
    upper: dict[str, float]
    rank1: list[float]
    r: list[int]
    pid: list[int]
    unseen: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    step_ms: float | None = None
    health: dict[str, float] = field(default_factory=dict)
    further: dict[str, dict[str, float]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the result atomically."""
        with write_atomically(path) as temporary:
            temporary.write_text(to_json(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_result(path: Path, config: Config, unseen: set[str], manifest: str) -> RowResult | None:
    """Read a kept result. None where it is of another configuration, split or version, and is measured again."""
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = from_json(path.read_text(encoding="utf-8"))
        # null stands for what was not a number
        for name in values.keys() & {"figures", "upper", "unseen", "health"}:
            values[name] = _numbers(values[name])
        values["further"] = {key: _numbers(found) for key, found in values.get("further", {}).items()}
        values["curve"] = [(iteration, _number(rank1)) for iteration, rank1 in values["curve"]]
        result = read_plain(RowResult, values)
        old = from_yaml(result.config, str(path))
    except (ValueError, KeyError, TypeError, AttributeError, UserError):
        return None
    same = (
        not differences(old, config)
        and old.training.iterations == config.training.iterations
        and old.evaluation == config.evaluation
        and result.unseen.keys() == unseen
        and result.manifest == manifest
    )
    return result if same else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    return {key: _number(value) for key, value in values.items()}


class History:
    """Records of a run's alternating training.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._metrics = read_metrics(folder).get(IntactTask.name, {})

    def curve(self) -> list[tuple[int, float]]:
        """Iterations and validation Rank-1 in percent."""
        return [(i, 100 * value) for i, value in self._metrics.get("validation/rank1", {}).items()]

    def step_ms(self, images: int) -> float | None:
        """Median milliseconds of an iteration."""
        speeds = list(self._metrics.get("img_per_s", {}).values())
        return 1000 * images / float(np.median(speeds)) if speeds else None

    def health(self) -> dict[str, float]:
        """Give the last figures of the health of association and D."""
        wanted = ("association/", "validation/r2", "discriminator/", "cosine/", "loss/dis_")
        return {name: list(values.values())[-1] for name, values in self._metrics.items() if name.startswith(wanted)}
