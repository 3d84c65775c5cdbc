"""From manifest rows to prepared pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from intact_fast.data.degradation import downsample, pixels, read_image, resize
from intact_fast.data.manifest import Header, Row
from intact_fast.data.progress import Progress, silent
from intact_fast.errors import UserError
from intact_fast.serving.sr_reid import SRReID


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

    def batches(self, rows: Sequence[Row], degraded: bool, name: str | None = None) -> Iterator[Tensor]:
        """Batches N×3×H×W on the model's device, the next one being read while one is used.

        Args:
            rows: Which pictures.
            degraded: Whether at their r.
            name: What progress is told; None tells nothing.

        Raises:
            UserError: A file is missing or unreadable; an evaluation never leaves a picture out.
        """
        return (batch for (batch,) in self.batches_of_forms(rows, (degraded,), name))

    def batches_of_forms(
        self, rows: Sequence[Row], forms: Sequence[bool], name: str | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """As `batches`, for pictures that are wanted in several forms: read once, a batch for each form.

        Args:
            rows: Which pictures.
            forms: For each batch, whether at their r.
            name: What progress is told; None tells nothing.

        Raises:
            UserError: As `batches`.
        """
        chunks = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        listen = silent if name is None else self.progress
        with ThreadPoolExecutor(max(self.threads, 1)) as pool, listen(name or "", len(rows)) as advance:

            def submit(chunk: Sequence[Row]) -> list[Future[list[Tensor]]]:
                return [pool.submit(self._read, row, forms) for row in chunk]

            pending = submit(chunks[0]) if chunks else []
            for following in [*chunks[1:], []]:
                current, pending = pending, submit(following)
                if current:
                    by_form = zip(*(future.result() for future in current), strict=True)
                    yield tuple(self.model.prepare_pixels(resized) for resized in by_form)
                    advance(len(current))

    def _read(self, row: Row, forms: Sequence[bool]) -> list[Tensor]:
        """One picture in each form, H×W×3 uint8 of the networks' size."""
        native = read_image(self.path(row))
        found = []
        for degraded in forms:
            image = native
            if degraded and row.r is not None:
                image = downsample(native, row.r, self.header.kernel, self.header.jpeg_quality)
            found.append(pixels(resize(image, self.model.size, self.model.kernel)))
        return found
