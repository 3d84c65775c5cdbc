"""The retrieval module: pictures in, identity features out, super-resolved on the way where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from intact_fast.config.devices import find_device
from intact_fast.config.options import Interpolation
from intact_fast.errors import UserError, warn
from intact_fast.models.generators import AnyGenerator
from intact_fast.models.layout import channels_last
from intact_fast.models.osnet import OSNet
from intact_fast.models.osnet_weights import feature_digest, read_osnet
from intact_fast.serving.engines import EngineName, Precision
from intact_fast.serving.folding import folded
from intact_fast.serving.inputs import Pictures
from intact_fast.serving.pretrained import Pretrained, read_pretrained, write_pretrained
from intact_fast.serving.super_resolver import LR_HEIGHT, Mode, SuperResolver
from intact_fast.serving.thresholds import Thresholds

__all__ = ["LR_HEIGHT", "EngineName", "Mode", "Precision", "SRReID"]


class SRReID(SuperResolver):
    """G in front of C. The evaluation measures exactly this module.

    HR pictures bypass G (section 4.3: only LR pictures are super-resolved). Where there is a C_q, it takes C's place
    for LR pictures; features of C and C_q are compared with each other. Always in eval mode and without gradients.

    Args:
        critic: C.
        generator: G; None leaves pictures as they are.
        size: (height, width) of the network inputs in pixels.
        interpolation: Filter of the resize to that size.
        query_critic: C_q, which sees LR pictures in C's place; None lets C see them.
        normalize: Give features of length 1; the Euclidean protocol compares raw ones.
        thresholds: Measured with these networks; None where none were.
        fold: As of `SuperResolver`.
        **options: Further keywords of `SuperResolver`.

    Attributes:
        feature_dim: 512.

    Raises:
        UserError: The engine is not installed.
        ValueError: An option has no such value, or the engine does not compute in that precision.
    """

    def __init__(
        self,
        critic: OSNet,
        generator: AnyGenerator | None = None,
        size: tuple[int, int] = (256, 128),
        interpolation: Interpolation = "bilinear",
        *,
        query_critic: OSNet | None = None,
        normalize: bool = True,
        thresholds: Thresholds | None = None,
        fold: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(generator, size, interpolation, fold=fold, **options)
        self.critic = folded(critic) if fold else critic
        self.query_critic = folded(query_critic) if fold and query_critic is not None else query_critic
        self.normalize = normalize
        self.feature_dim = critic.feature_dim
        self._thresholds = thresholds
        channels_last(self).eval()

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Self:
        """Load a file that a training or `save_pretrained` wrote.

        Args:
            path: A safetensors file with its configuration inside.
            device: Where to put the networks: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``.
            **options: Any keyword of the constructor, instead of what the file says; ``engine`` is ``auto`` here.

        Raises:
            UserError: The file is missing, broken, or of something else, holds G alone, or there is no such device.
        """
        found = find_device(device)
        stored = read_pretrained(path)
        if stored.critic is None:
            raise UserError(
                f"{path}: holds a generator alone; give a critic, too (SRReID.from_torchreid, or --critic on a command "
                "line)"
            )
        further = {"query_critic": stored.query_critic, "thresholds": stored.thresholds}
        given = {"engine": "auto", **stored.options, **further, **options}
        return cls(stored.critic, stored.generator, **given).to(found)

    @classmethod
    def from_torchreid(
        cls,
        checkpoint: str | Path,
        generator: str | Path | AnyGenerator | None = None,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> Self:
        """Serve an OSNet of torchreid's, alone or behind a generator of ours.

        Args:
            checkpoint: OSNet, OSNet-IBN or OSNet-AIN of any width, with its classifier or without; which one is read
                off its weights.
            generator: G; a file of `save_pretrained` whose G, C_q, input size and filter are taken; or the name of one
                that comes with the package, such as ``market1501-light``. Give one that was trained for this critic.
            device: Where to put the networks: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``.
            **options: Any keyword of the constructor; ``engine`` is ``auto`` here.

        Raises:
            UserError: A file is missing, broken, or of something else, or there is no such device.
        """
        found = find_device(device)
        given: dict[str, Any] = {"engine": "auto"}
        if not isinstance(generator, str | Path):
            return cls(read_osnet(Path(checkpoint), "checkpoint"), generator, **(given | options)).to(found)
        theirs = read_pretrained(generator)
        critic = read_osnet(Path(checkpoint), "checkpoint", theirs.enlarge)
        if not theirs.fits(critic):
            warn(f"{generator}: its G was trained for another C than {checkpoint}; train one with --critic.checkpoint")
        given |= {**theirs.options, "query_critic": theirs.query_critic}
        return cls(critic, theirs.generator, **(given | options)).to(found)

    def save_pretrained(self, path: str | Path) -> None:
        """Write networks, configuration and thresholds as one safetensors file, atomically.

        Raises:
            ValueError: The networks are folded.
        """
        networks = self.critic, self.generator, self.query_critic
        options, enlarge = self._stored(), self.critic.enlarge
        write_pretrained(Path(path), Pretrained(*networks, options, enlarge, thresholds=self.thresholds))

    def save_generator(self, path: str | Path) -> None:
        """Write G and configuration without C, as `save_pretrained` writes all, and C's digest.

        Raises:
            ValueError: The networks are folded.
        """
        options, digest = self._stored(), feature_digest(self.critic)
        write_pretrained(Path(path), Pretrained(None, self.generator, None, options, self.critic.enlarge, digest))

    def _stored(self) -> dict[str, Any]:
        if self.fold:
            raise ValueError("a folded SRReID cannot be saved; save the one it was loaded from")
        return {
            "size": list(self.size),
            "interpolation": self.interpolation,
            "mode": self.mode,
            "lr_height": self.lr_height,
            "normalize": self.normalize,
        }

    @torch.inference_mode()
    def embed(self, prepared: Tensor) -> Tensor:
        """Compute f_c of prepared pictures: N×3×H×W → N×512 float32, not normalised."""
        return self._run("embed", self.critic, "embed", prepared)

    @torch.inference_mode()
    def embed_queries(self, generated: Tensor) -> Tensor:
        """Compute f_c of what `generate` gave, by C_q where there is one: N×3×H×W → N×512 float32, not normalised."""
        if self.query_critic is None:
            return self.embed(generated)
        return self._run("embed_queries", self.query_critic, "embed", generated)

    @torch.inference_mode()
    def forward(self, images: Pictures, *, mode: Mode | None = None, normalize: bool | None = None) -> Tensor:
        """Compute features.

        Args:
            images: Paths, Pillow pictures, arrays or tensors of any sizes.
            mode: Instead of the module's.
            normalize: Instead of the module's.

        Returns:
            N×512 float32 on the module's device, in the order of the pictures.

        Raises:
            UserError: A file is unreadable.
            ValueError: Something is no picture.
        """
        features = [self._features(*batch, mode or self.mode) for batch in self._batches(images)]
        if not features:
            return torch.empty(0, self.feature_dim, device=self.device)
        found = torch.cat(features)
        return F.normalize(found) if (self.normalize if normalize is None else normalize) else found

    def _features(self, prepared: Tensor, heights: list[int], mode: Mode) -> Tensor:
        low = [i for i, height in enumerate(heights) if self.is_low_resolution(height, mode)]
        if not low:
            return self.embed(prepared)
        if len(low) == len(heights):
            return self._of_low(prepared)
        if self.query_critic is None and self._engine_for("generate", prepared) == "torch":
            # PyTorch's C is the faster the more pictures it has
            return self.embed(self._through_generator(prepared, heights, mode))
        high = sorted(set(range(len(heights))).difference(low))
        features = torch.empty(len(heights), self.feature_dim, device=prepared.device)
        features[low] = self._of_low(prepared[low])
        features[high] = self.embed(prepared[high])
        return features

    def _of_low(self, prepared: Tensor) -> Tensor:
        """Compute features of LR pictures, through one engine of G and C where there is one."""
        engine = self._engine_for("generate", prepared)
        if self.generator is None or engine == "torch":
            return self.embed_queries(self.generate(prepared))
        both = self._running.in_a_row(self.generator, self.query_critic or self.critic)
        return self._running.in_engine(engine, self.computes_in, "queries", both, "forward", prepared)

    @property
    def has_query_side(self) -> bool:
        """Whether LR pictures are treated otherwise than HR ones."""
        return self.generator is not None or self.query_critic is not None

    @property
    def thresholds(self) -> Thresholds | None:
        """Similarities above which two pictures are taken for one person; None where none were measured."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, measured: Thresholds | None) -> None:
        self._thresholds = measured

    def view_of(self, height: int, mode: Mode | None = None) -> Literal["hr", "lr", "sr"]:
        """Say whose threshold holds for a query of so many rows: by the row of a table that treats it so.

        Args:
            height: Native, in pixels.
            mode: Instead of the module's.

        Returns:
            ``sr`` where it passes through G or C_q, else ``lr`` below ``lr_height``, else ``hr``.
        """
        if self.is_low_resolution(height, mode):
            return "sr"
        return "lr" if height < self.lr_height else "hr"
