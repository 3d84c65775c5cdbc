"""Pictures of manifest entries, read and prepared for the networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor

from intact_fast.data.blind import corrupt
from intact_fast.data.degradation import downsample, pixels, read_image, resize
from intact_fast.data.manifest import Entry, Header
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.read_ahead import read_ahead
from intact_fast.errors import UserError
from intact_fast.evaluation.readable import OPTION
from intact_fast.serving.sr_reid import SRReID

Variant = Literal["hr", "lr", "corrupted"]
"""Form of a picture: as it is, at its r, or as its corruption in the manifest makes it."""


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Pictures in several variants.

    Attributes:
        pictures: N×3×H×W by variant, on the model's device.
        sizes: By variant, (height, width) of each picture before it was brought to the networks' size.
    """

    pictures: dict[Variant, Tensor]
    sizes: dict[Variant, list[tuple[int, int]]]


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
        variant: Variant = "lr" if degraded else "hr"
        return (batch.pictures[variant] for batch in self.batches_of_variants(entries, (variant,), name))

    def batches_of_variants(
        self, entries: Sequence[Entry], variants: Sequence[Variant], name: str | None = None
    ) -> Iterator[PictureBatch]:
        """Give batches as `batches` does, in several variants. Each picture is read once.

        Args:
            entries: Which pictures.
            variants: In which forms.
            name: What progress is told; None tells nothing.

        Raises:
            UserError: As `batches`.
        """
        listen = no_progress if name is None else self.progress
        read = partial(self._read, variants=variants)
        with listen(name or "", len(entries)) as advance:
            for chunk, found in read_ahead(entries, read, self.batch_size, self.threads):
                by_variant = dict(zip(variants, zip(*found, strict=True), strict=True))
                yield PictureBatch(
                    {
                        variant: self.model.prepare_pixels([x for x, _ in pairs])
                        for variant, pairs in by_variant.items()
                    },
                    {variant: [size for _, size in pairs] for variant, pairs in by_variant.items()},
                )
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

    def _read(self, entry: Entry, variants: Sequence[Variant]) -> list[tuple[Tensor, tuple[int, int]]]:
        """Read one picture and give each variant, H×W×3 uint8 of the networks' size, with its size before."""
        native = self._decoded(entry)
        found = []
        for variant in variants:
            image = self._in_form(variant, native, entry)
            resized = pixels(resize(image, self.model.size, self.model.interpolation))
            found.append((resized, (image.height, image.width)))
        return found

    def _in_form(self, variant: Variant, native: Image.Image, entry: Entry) -> Image.Image:
        # a picture that is natively LR is in each form as it is
        if variant == "hr" or entry.r is None:
            return native
        if variant == "lr":
            return downsample(native, entry.r, self.header.interpolation, self.header.jpeg_quality)
        assert entry.corruption is not None
        return corrupt(native, entry.corruption)
