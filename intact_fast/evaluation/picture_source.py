"""Pictures of manifest entries, read and prepared for the networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image
from torch import Tensor

from intact_fast.data.degradation import downsample, pixels, read_image, resize
from intact_fast.data.manifest import Entry, Header
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.read_ahead import read_ahead
from intact_fast.errors import UserError
from intact_fast.evaluation.readable import OPTION
from intact_fast.serving.sr_reid import SRReID


@dataclass(frozen=True)
class PictureSource:
    """Reads and prepares the pictures of a manifest.

    Attributes:
        root: The data root that paths are relative to.
        header: How LR pictures are degraded.
        model: Whose input size and filter to prepare for.
        batch_size: Pictures per batch.
        threads: Threads that read and resize.
        progress: Told how far a named piece of work is.
    """

    root: Path
    header: Header
    model: SRReID
    batch_size: int
    threads: int
    progress: Progress = no_progress

    def path(self, entry: Entry) -> Path:
        """Find the file of an entry.

        Raises:
            UserError: It is missing.
        """
        path = self.root / entry.path
        if not path.is_file():
            raise UserError(f"{path}: listed in the manifest but missing; check --data.root,")
        return path

    def batches(self, entries: Sequence[Entry], degraded: bool, name: str | None = None) -> Iterator[Tensor]:
        """Batches N×3×H×W on the model's device, the next one being read while one is used.

        Args:
            entries: Which pictures.
            degraded: Whether at their r.
            name: What progress is told; None tells nothing.

        Raises:
            UserError: A file is missing or unreadable.
        """
        return (batch for (batch,) in self.batches_of_variants(entries, (degraded,), name))

    def batches_of_variants(
        self, entries: Sequence[Entry], variants: Sequence[bool], name: str | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Give batches as `batches` does, in several variants. Each picture is read once.

        Args:
            entries: Which pictures.
            variants: For each batch, whether at their r.
            name: What progress is told; None tells nothing.

        Raises:
            UserError: As `batches`.
        """
        listen = no_progress if name is None else self.progress
        read = partial(self._read, variants=variants)
        with listen(name or "", len(entries)) as advance:
            for chunk, pictures in read_ahead(entries, read, self.batch_size, self.threads):
                by_variant = zip(*pictures, strict=True)
                yield tuple(self.model.prepare_pixels(resized) for resized in by_variant)
                advance(len(chunk))

    def originals(self, entries: Sequence[Entry]) -> list[Image.Image]:
        """Read pictures as they are, upright RGB.

        Raises:
            UserError: As `batches`.
        """
        with ThreadPoolExecutor(max(self.threads, 1)) as pool:
            return list(pool.map(self._decoded, entries))

    def _decoded(self, entry: Entry) -> Image.Image:
        try:
            return read_image(self.path(entry))
        except UserError as error:
            raise UserError(f"{error} or leave such test pictures out with {OPTION}") from error

    def _read(self, entry: Entry, variants: Sequence[bool]) -> list[Tensor]:
        """Read one picture and give each variant, H×W×3 uint8 of the networks' size."""
        native = self._decoded(entry)
        found = []
        for degraded in variants:
            image = native
            if degraded and entry.r is not None:
                image = downsample(native, entry.r, self.header.interpolation, self.header.jpeg_quality)
            found.append(pixels(resize(image, self.model.size, self.model.interpolation)))
        return found
