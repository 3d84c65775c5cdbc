"""From manifest rows to features, through the retrieval module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from intact_fast.data.degradation import downsample, read_image
from intact_fast.data.manifest import Header, Row
from intact_fast.data.progress import Progress, silent
from intact_fast.errors import UserError
from intact_fast.evaluation.image_quality import psnr_ssim, to_uint8
from intact_fast.models.sr_reid import SRReID

View = Literal["hr", "lr", "sr", "auto"]
"""How a picture is shown to C: as it is, degraded, degraded and super-resolved, or as it is and super-resolved where it
is natively LR."""

T = TypeVar("T")


class Peers(Protocol):
    """Processes that share an evaluation and all get its result."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...

    def share(self, function: Callable[[], T]) -> list[T]:
        """Call a function on every process; the values in order of rank, or the first UserError, everywhere."""
        ...

    def on_main(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0 alone; its value, or its UserError, everywhere."""
        ...


class _Alone:
    rank = 0
    world_size = 1

    def share(self, function: Callable[[], T]) -> list[T]:
        return [function()]

    def on_main(self, function: Callable[[], T]) -> T:
        return function()


ALONE: Peers = _Alone()
"""One process that evaluates everything."""


@dataclass(frozen=True)
class PictureSource:
    """Reads and prepares the pictures of a manifest.

    Attributes:
        root: The data root that paths are relative to.
        header: How LR pictures are degraded.
        model: Whose input size and kernel to prepare for.
        batch_size: Pictures per batch.
        threads: Threads that read and resize.
        progress: Told how far a named piece of work is.
    """

    root: Path
    header: Header
    model: SRReID
    batch_size: int
    threads: int
    progress: Progress = silent

    def path(self, row: Row) -> Path:
        """The file of a row.

        Raises:
            UserError: It is missing.
        """
        path = self.root / row.path
        if not path.is_file():
            raise UserError(f"{path}: listed in the manifest but missing; check --data.root")
        return path

    def prepared(self, row: Row, degraded: bool) -> Tensor:
        """One prepared picture, 3×H×W.

        Raises:
            UserError: The file is missing or unreadable; an evaluation never leaves a picture out.
        """
        image = read_image(self.path(row))
        if degraded and row.r is not None:
            image = downsample(image, row.r, self.header.kernel, self.header.jpeg_quality)
        return self.model.prepare(image)

    def batches(self, rows: Sequence[Row], degraded: bool, name: str | None = None) -> Iterator[Tensor]:
        """Batches N×3×H×W on the model's device, the next one being read while one is used.

        Args:
            rows: Which pictures.
            degraded: Whether at their r.
            name: What progress is told; None tells nothing.
        """
        listen = silent if name is None else self.progress
        with listen(name or "", len(rows)) as advance:
            for batch in self._batches(rows, degraded):
                yield batch
                advance(len(batch))

    def _batches(self, rows: Sequence[Row], degraded: bool) -> Iterator[Tensor]:
        device = next(self.model.parameters()).device
        chunks = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        load: Callable[[Row], Tensor] = partial(self.prepared, degraded=degraded)
        with ThreadPoolExecutor(max(self.threads, 1)) as pool:
            pending = [pool.submit(load, row) for row in chunks[0]] if chunks else []
            for number in range(len(chunks)):
                current = pending
                if number + 1 < len(chunks):
                    pending = [pool.submit(load, row) for row in chunks[number + 1]]
                batch = torch.stack([future.result() for future in current])
                yield batch.to(device).contiguous(memory_format=torch.channels_last)


def extract_features(
    source: PictureSource, rows: Sequence[Row], view: View, peers: Peers = ALONE, name: str | None = None
) -> Tensor:
    """Features of rows under one view: N×512 float32 on the CPU, the same whatever the number of peers.

    Args:
        source: Reads the pictures and holds the networks.
        rows: Which pictures.
        view: How C sees them.
        peers: Processes that share them.
        name: What progress is told; None tells nothing.
    """

    def own() -> list[Tensor]:
        if view == "auto":
            return _of_native_size(source, _own(rows, source.batch_size, peers), name)
        features = []
        for batch in source.batches(_own(rows, source.batch_size, peers), view != "hr", name):
            if view == "sr":
                batch = source.model.generate(batch)
            features.append(source.model.embed(batch).float().cpu())
        return features

    return torch.cat(_in_turn(peers.share(own)))


def _of_native_size(source: PictureSource, rows: Sequence[Row], name: str | None) -> list[Tensor]:
    """Features as the retrieval module gives them by itself."""
    listen = silent if name is None else source.progress
    features = []
    with listen(name or "", len(rows)) as advance:
        for start in range(0, len(rows), source.batch_size):
            paths = [source.path(row) for row in rows[start : start + source.batch_size]]
            features.append(source.model(paths, mode="auto", normalize=False).cpu())
            advance(len(paths))
    return features


def _own(rows: Sequence[Row], batch_size: int, peers: Peers) -> list[Row]:
    """Every n-th batch of one process, so that any number of peers computes the same batches."""
    starts = range(peers.rank * batch_size, len(rows), peers.world_size * batch_size)
    return [row for start in starts for row in rows[start : start + batch_size]]


def _in_turn(shares: Sequence[Sequence[T]]) -> list[T]:
    """Join what peers computed batch by batch in the order of the rows."""
    count = sum(len(share) for share in shares)
    return [shares[i % len(shares)][i // len(shares)] for i in range(count)]


@dataclass(frozen=True)
class QualityFigures:
    """Mean PSNR (dB) and SSIM over pictures; ``identical`` pictures have no finite PSNR and are left out of it."""

    psnr: float
    ssim: float
    identical: int


def measure_quality(
    source: PictureSource, rows: Sequence[Row], peers: Peers = ALONE
) -> tuple[QualityFigures, QualityFigures] | None:
    """Picture quality against HR of the LR input and of the super-resolved output (section 4.5).

    Natively LR rows have no HR picture and are left out.

    Returns:
        Figures of LR and of SR, or None without degraded rows.
    """
    degraded = [row for row in rows if row.r is not None]
    if not degraded:
        return None

    def own() -> list[tuple[Tensor, Tensor]]:
        rows = _own(degraded, source.batch_size, peers)
        found = []
        pairs = zip(source.batches(rows, True, "picture quality"), source.batches(rows, False), strict=True)
        for x_l, x_h in pairs:
            target = to_uint8(x_h)
            lr = torch.stack(psnr_ssim(to_uint8(x_l), target)).cpu()
            sr = torch.stack(psnr_ssim(to_uint8(source.model.generate(x_l)), target)).cpu()
            found.append((lr, sr))
        return found

    lr, sr = zip(*_in_turn(peers.share(own)), strict=True)
    return _figures(torch.cat(lr, dim=1)), _figures(torch.cat(sr, dim=1))


def _figures(values: Tensor) -> QualityFigures:
    """Summarise 2×N values, PSNR and SSIM."""
    psnr, ssim = values
    finite = psnr[psnr.isfinite()]
    mean_psnr = float(finite.mean()) if len(finite) else float("inf")
    return QualityFigures(mean_psnr, float(ssim.mean()), len(psnr) - len(finite))
