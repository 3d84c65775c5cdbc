"""Features and picture quality of manifest entries, through the retrieval module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from intact_fast.data.manifest import Entry
from intact_fast.data.progress import no_progress
from intact_fast.errors import UserError
from intact_fast.evaluation.image_quality import psnr_ssim, to_uint8
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.sharding import SINGLE_PROCESS, Processes, entries_of_process, interleaved

View = Literal["hr", "lr", "sr", "auto"]
"""How a picture is shown to C: as it is, degraded, degraded and super-resolved, or as it is and super-resolved where it
is natively LR."""


def extract_features(
    source: PictureSource,
    entries: Sequence[Entry],
    view: View,
    processes: Processes = SINGLE_PROCESS,
    name: str | None = None,
) -> Tensor:
    """Compute features of entries under one view.

    Args:
        source: Reads the pictures and holds the networks.
        entries: Which pictures.
        view: How C sees them.
        processes: Processes that share them.
        name: What progress is told; None tells nothing.

    Returns:
        N×512 float32 on the CPU, the same whatever the number of processes.
    """
    if view != "auto":
        return measure_queries(source, entries, (view,), (), processes, name)[0][view]

    def compute_share() -> list[Tensor]:
        return _of_native_size(source, entries_of_process(entries, source.batch_size, processes), name)

    return torch.cat(interleaved(processes.share(compute_share)))


def _of_native_size(source: PictureSource, entries: Sequence[Entry], name: str | None) -> list[Tensor]:
    """Compute features as the retrieval module gives them in mode ``auto``, by native sizes."""
    listen = no_progress if name is None else source.progress
    features = []
    with listen(name or "", len(entries)) as advance:
        for start in range(0, len(entries), source.batch_size):
            pictures = source.originals(entries[start : start + source.batch_size])
            features.append(source.model(pictures, mode="auto", normalize=False).cpu())
            advance(len(pictures))
    return features


@dataclass(frozen=True)
class QualityFigures:
    """Mean PSNR (dB) and SSIM over pictures; ``identical`` pictures have no finite PSNR and are left out of it."""

    psnr: float
    ssim: float
    identical: int


def measure_queries(
    source: PictureSource,
    entries: Sequence[Entry],
    views: Sequence[View],
    qualities: Sequence[View] = (),
    processes: Processes = SINGLE_PROCESS,
    name: str | None = None,
) -> tuple[dict[View, Tensor], dict[View, QualityFigures]]:
    """Compute features under several views, and picture quality against HR (section 4.5), in one pass.

    Each picture is read once, degraded once and super-resolved once.

    Args:
        source: Reads the pictures and holds the networks.
        entries: Which pictures.
        views: Some of ``hr``, ``lr`` and ``sr``.
        qualities: Whose PSNR and SSIM to measure: of the LR input (``lr``), of the super-resolved output (``sr``).
            Natively LR entries have no HR picture and are left out.
        processes: Processes that share them.
        name: What progress is told; None tells nothing.

    Returns:
        N×512 float32 on the CPU by view, and quality by view, empty where all entries are natively LR.
    """
    if all(entry.r is None for entry in entries):
        qualities = ()
    shown = ("hr", *views, *qualities) if qualities else views
    variants = [degraded for degraded in (False, True) if any((view != "hr") == degraded for view in shown)]
    if not variants:
        return {}, {}

    def compute_share() -> list[tuple[dict[View, Tensor], Tensor]]:
        here = entries_of_process(entries, source.batch_size, processes)
        found, start = [], 0
        for batches in source.batches_of_variants(here, variants, name):
            chunk = here[start : start + len(batches[0])]
            start += len(chunk)
            pictures: dict[View, Tensor] = {
                "lr" if degraded else "hr": batch for degraded, batch in zip(variants, batches, strict=True)
            }
            if "sr" in shown:
                pictures["sr"] = source.model.generate(pictures["lr"])
                if pictures["sr"].isnan().any():
                    raise UserError(
                        "G gives NaN: its training has diverged; try a lower --optimiser.generator-learning-rate"
                    )
            critics = {"sr": source.model.embed_queries}
            features = {view: critics.get(view, source.model.embed)(pictures[view]).cpu() for view in views}
            found.append((features, _compared(pictures, qualities, chunk)))
        return found

    features, compared = zip(*interleaved(processes.share(compute_share)), strict=True)
    figures = torch.cat(compared, dim=2)
    return (
        {view: torch.cat([batch[view] for batch in features]) for view in views},
        {view: _figures(values) for view, values in zip(qualities, figures, strict=True)},
    )


def _compared(pictures: Mapping[View, Tensor], qualities: Sequence[View], entries: Sequence[Entry]) -> Tensor:
    """PSNR and SSIM against HR: views×2×n on the CPU, n being the entries that are degraded."""
    degraded = [i for i, entry in enumerate(entries) if entry.r is not None]
    if not qualities or not degraded:
        return torch.empty(len(qualities), 2, 0)
    kept = slice(None) if len(degraded) == len(entries) else degraded
    target = to_uint8(pictures["hr"][kept])
    found = [torch.stack(psnr_ssim(to_uint8(pictures[view][kept]), target)) for view in qualities]
    return torch.stack(found).cpu()


def _figures(values: Tensor) -> QualityFigures:
    """Summarise 2×N values, PSNR and SSIM."""
    psnr, ssim = values
    finite = psnr[psnr.isfinite()]
    mean_psnr = float(finite.mean()) if len(finite) else float("inf")
    return QualityFigures(mean_psnr, float(ssim.mean()), len(psnr) - len(finite))
