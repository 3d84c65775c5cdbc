"""Comparison of another engine's features and ranking with the retrieval module's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intact_fast.config.options import EvaluationConfig, SameCamera
from intact_fast.data.degradation import downsample
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.data.matches import camids_for_matching, count_matches
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.synthetic import CAMERAS, SyntheticSpec, draw_picture
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.serving.inputs import unnormalised
from intact_fast.serving.sr_reid import SRReID

_DRAWN = 32
_DRAWN_R = 3


@dataclass(frozen=True)
class Parity:
    """Distance of two engines on one set.

    Attributes:
        pictures: How many went through both.
        difference: Largest absolute difference of an element of their features.
        rank1: Exact single-shot Rank-1 of the retrieval module, a share of 1.
        rank1_other: Rank-1 where the other engine computed its side's features.
    """

    pictures: int
    difference: float
    rank1: float
    rank1_other: float


@dataclass(frozen=True)
class PictureSet:
    """One side of a ranking: prepared pictures (N×3×H×W a batch) with pids and camids."""

    batches: Callable[[], Iterator[Tensor]]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]


def manifest_sets(
    model: SRReID, manifest: Manifest, root: Path, threads: int, progress: Progress = no_progress
) -> tuple[PictureSet, PictureSet]:
    """Take the queries of a split, degraded, and its gallery.

    Args:
        model: Whose input size to prepare for.
        manifest: The split.
        root: Folder that its paths are relative to.
        threads: Threads that read pictures.
        progress: Told how far it is.
    """
    source = PictureSource(root, manifest.header, model, EvaluationConfig().batch_size, threads, progress)

    queries, gallery = manifest.split("query"), manifest.split("gallery")
    # both engines are scored alike, whichever rule finds matches
    rule: SameCamera = "drop" if count_matches(manifest, "drop").found else "keep"
    camids = camids_for_matching(queries, gallery, rule)

    def side(entries: list[Entry], camids: NDArray[np.int64], degraded: bool, name: str) -> PictureSet:
        pids = np.array([entry.pid for entry in entries])
        return PictureSet(lambda: source.batches(entries, degraded, name), pids, camids)

    return side(queries, camids[0], True, "queries"), side(gallery, camids[1], False, "gallery")


def drawn_sets(model: SRReID) -> tuple[PictureSet, PictureSet]:
    """Draw a small set: each of some pedestrians as an LR query and in the gallery."""
    spec = SyntheticSpec()
    pids = np.arange(1, 1 + _DRAWN)

    def side(camera: int, r: int) -> PictureSet:
        images = [downsample(draw_picture(spec, int(pid), camera, 0), r, model.interpolation) for pid in pids]
        batch = torch.stack([model.prepare(image) for image in images]).to(model.device)
        return PictureSet(lambda: iter([batch]), pids, np.full(len(pids), camera))

    return side(CAMERAS[0], _DRAWN_R), side(CAMERAS[1], 1)


def measure_parity(
    model: SRReID,
    engine: Callable[[Tensor], Tensor],
    engine_side: str,
    query: PictureSet,
    gallery: PictureSet,
    distractor_pid: int | None = None,
) -> Parity:
    """Compare an engine with the retrieval module on its side of a ranking.

    Args:
        model: The reference.
        engine: From N×3×H×W RGB from 0 to 1 on the CPU to N×512.
        engine_side: ``query`` where it computes G and C, ``gallery`` where it computes C alone.
        query: LR pictures.
        gallery: HR pictures.
        distractor_pid: Of gallery pictures that are left out of the exact single-shot Rank-1.
    """
    features: dict[str, Tensor] = {}
    other = torch.empty(0)
    for name, side in (("query", query), ("gallery", gallery)):
        found, computed = [], []
        for batch in side.batches():
            # both get the same numbers: those that a user's own resize would hand over
            pictures = unnormalised(batch)
            found.append(model(pictures, mode="always" if name == "query" else "never").cpu())
            if name == engine_side:
                computed.append(engine(pictures.cpu()))
        features[name] = torch.cat(found)
        if name == engine_side:
            other = torch.cat(computed)

    def rank1(features: dict[str, Tensor]) -> float:
        ids = (query.pids, gallery.pids, query.camids, gallery.camids)
        result = evaluate_ranking(
            features["query"], features["gallery"], *ids, distractor_pid=distractor_pid, max_rank=1
        )
        return float(result.cmc[0])

    difference = float((features[engine_side] - other).abs().max())
    return Parity(len(other), difference, rank1(features), rank1(features | {engine_side: other}))
