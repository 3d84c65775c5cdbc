"""Features and picture quality of manifest entries, through the retrieval module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intact_fast.data.manifest import Entry
from intact_fast.data.progress import no_progress
from intact_fast.evaluation.image_quality import psnr_ssim, to_uint8
from intact_fast.evaluation.picture_source import PictureSource, Variant
from intact_fast.evaluation.query_batch import QueryBatch
from intact_fast.evaluation.sharding import SINGLE_PROCESS, Processes, entries_of_process, interleaved
from intact_fast.evaluation.views import HR, QueryView, View
from intact_fast.serving.finite import require_numbers


def extract_features(
    source: PictureSource,
    entries: Sequence[Entry],
    view: QueryView,
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
    return measure_queries(source, entries, (view,), (), processes, name)[0][view.key]


def features_by_native_size(
    source: PictureSource, entries: Sequence[Entry], processes: Processes = SINGLE_PROCESS, name: str | None = None
) -> Tensor:
    """Compute features of entries as the retrieval module gives them in mode ``auto``; see `extract_features`."""

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
            computed = source.model(pictures, mode="auto", normalize=False)
            features.append(_checked(source, computed, entries[start : start + source.batch_size]))
            advance(len(pictures))
    return features


def _checked(source: PictureSource, features: Tensor, entries: Sequence[Entry]) -> Tensor:
    return require_numbers(features, [source.root / entry.path for entry in entries]).cpu()


@dataclass(frozen=True)
class QualityFigures:
    """Mean PSNR (dB) and SSIM over pictures; ``identical`` pictures have no finite PSNR and are left out of it."""

    psnr: float
    ssim: float
    identical: int


def measure_queries(
    source: PictureSource,
    entries: Sequence[Entry],
    views: Sequence[QueryView],
    qualities: Sequence[QueryView] = (),
    processes: Processes = SINGLE_PROCESS,
    name: str | None = None,
) -> tuple[dict[View, Tensor], dict[View, QualityFigures]]:
    """Compute features under several views, and picture quality against HR (section 4.5), in one pass.

    Each picture is read once, degraded once and super-resolved once.

    Args:
        source: Reads the pictures and holds the networks.
        entries: Which pictures.
        views: How C sees them.
        qualities: Of which views' pictures to measure PSNR and SSIM. Natively LR entries have no HR picture and are
            left out.
        processes: Processes that share them.
        name: What progress is told; None tells nothing.

    Returns:
        N×512 float32 on the CPU by key of the view, and quality by key, empty where all entries are natively LR.

    Raises:
        UserError: A file is missing or unreadable, or G or C gives NaN or infinity.
    """
    if all(entry.r is None for entry in entries):
        qualities = ()
    shown = (*((HR,) if qualities else ()), *views, *qualities)
    variants: list[Variant] = list(dict.fromkeys(view.variant for view in shown))
    if not variants:
        return {}, {}

    def compute_share() -> list[tuple[dict[View, Tensor], Tensor]]:
        here = entries_of_process(entries, source.batch_size, processes)
        found, start = [], 0
        for pictures in source.batches_of_variants(here, variants, name):
            batch = QueryBatch(source.model, pictures)
            chunk = here[start : start + source.batch_size]
            start += len(chunk)
            features = {view.key: _checked(source, batch.features(view), chunk) for view in views}
            found.append((features, _compared(batch, qualities, chunk)))
        return found

    features, compared = zip(*interleaved(processes.share(compute_share)), strict=True)
    figures = torch.cat(compared, dim=2)
    return (
        {view.key: torch.cat([batch[view.key] for batch in features]) for view in views},
        {view.key: _figures(values) for view, values in zip(qualities, figures, strict=True)},
    )


def _compared(batch: QueryBatch, qualities: Sequence[QueryView], entries: Sequence[Entry]) -> Tensor:
    """PSNR and SSIM against HR: views×2×n on the CPU, n being the entries that are degraded."""
    degraded = [i for i, entry in enumerate(entries) if entry.r is not None]
    if not qualities or not degraded:
        return torch.empty(len(qualities), 2, 0)
    kept = slice(None) if len(degraded) == len(entries) else degraded
    target = to_uint8(batch.pictures(HR)[kept])
    found = [torch.stack(psnr_ssim(to_uint8(batch.pictures(view)[kept]), target)) for view in qualities]
    return torch.stack(found).cpu()


def _figures(values: Tensor) -> QualityFigures:
    """Summarise 2×N values, PSNR and SSIM."""
    psnr, ssim = values
    finite = psnr[psnr.isfinite()]
    mean_psnr = float(finite.mean()) if len(finite) else float("inf")
    return QualityFigures(mean_psnr, float(ssim.mean()), len(psnr) - len(finite))
