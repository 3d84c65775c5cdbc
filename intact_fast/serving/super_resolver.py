"""Pictures in, super-resolved pictures out: G with everything around it that a picture needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from intact_fast.config.devices import computes_bfloat16, find_device
from intact_fast.config.options import Interpolation
from intact_fast.data.degradation import normalise, pixels, resize
from intact_fast.data.read_ahead import read_ahead
from intact_fast.models.generators import AnyGenerator
from intact_fast.models.layout import channels_last
from intact_fast.serving.engines import EngineName, Precision, check_engine
from intact_fast.serving.folding import folded
from intact_fast.serving.inputs import (
    ChannelOrder,
    Picture,
    Pictures,
    TensorRange,
    as_sequence,
    host_image,
    prepare_tensor,
    unnormalised,
)
from intact_fast.serving.pretrained import read_pretrained
from intact_fast.serving.running import Running, tell_once

Mode = Literal["auto", "always", "never"]
"""Which pictures pass through G (and C_q): those that are natively LR, all, or none."""

LR_HEIGHT = 90
"""Between Market-1501's 128 rows and the 64 left of them at r = 2: their geometric mean."""

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class SuperResolver(nn.Module):
    """G alone. Always in eval mode and without gradients.

    Args:
        generator: G; None leaves pictures as they are.
        size: (height, width) of the network inputs in pixels.
        interpolation: Filter of the resize to that size.
        mode: Which pictures pass through G.
        lr_height: A picture with fewer rows is LR in mode ``auto``.
        batch_size: Pictures per forward pass.
        threads: Threads that read and resize pictures on the host.
        tensors: What floating-point tensors hold.
        color: Order of the channels of arrays and tensors; ``bgr`` is OpenCV's.
        precision: ``bf16`` and ``fp16`` run under autocast; ``fp16`` is for GPUs that do not compute bfloat16.
            ``auto`` is ``bf16`` where the device computes it, else ``fp32``, and says so.
            After ``.half()`` or ``.bfloat16()`` networks run in that type throughout.
        fold: Serve copies of the networks with their normalisations folded into the layers before: the same up to
            rounding, and faster. They no longer follow or can be saved.
        compile: Compile networks at their first use; a copy compiles its own.
        engine: What computes the networks on a CPU. ``onnxruntime`` and ``openvino`` are made at the first picture,
            and again when weights change in place; features differ from PyTorch's by less than 0.001 in ``fp32``.
            ``auto`` takes one that is installed, as soon as a network has computed for 5 seconds.

    Raises:
        UserError: The engine is not installed.
        ValueError: An option has no such value, or the engine does not compute in that precision.
    """

    def __init__(
        self,
        generator: AnyGenerator | None,
        size: tuple[int, int] = (256, 128),
        interpolation: Interpolation = "bilinear",
        *,
        mode: Mode = "auto",
        lr_height: int = LR_HEIGHT,
        batch_size: int = 64,
        threads: int = 2,
        tensors: TensorRange = "unit",
        color: ChannelOrder = "rgb",
        precision: Precision = "fp32",
        fold: bool = False,
        compile: bool = False,
        engine: EngineName = "torch",
    ) -> None:
        super().__init__()
        _check("mode", mode, ("auto", "always", "never"))
        _check("tensors", tensors, ("unit", "imagenet"))
        _check("color", color, ("rgb", "bgr"))
        _check("precision", precision, get_args(Precision))
        _check("engine", engine, get_args(EngineName))
        check_engine(engine, precision, compile)
        if batch_size < 1 or threads < 1:
            raise ValueError(f"batch_size {batch_size} and threads {threads}: both must be 1 or more")
        self.generator = folded(generator) if fold and generator is not None else generator
        self.fold = fold
        self.size = size
        self.interpolation = interpolation
        self.mode = mode
        self.lr_height = lr_height
        self.batch_size = batch_size
        self.threads = threads
        self.tensors = tensors
        self.color = color
        self.precision = precision
        # PyTorch's modules have a method of that name
        self.is_compiled = compile
        self.engine = engine
        self._running = Running()
        channels_last(self).eval()

    def _run(self, role: str, network: nn.Module, method: str, x: Tensor) -> Tensor:
        """Run a method of a network on N×3×H×W, in whatever computes it; gives float32."""
        engine = self._engine_for(role, x)
        if engine != "torch":
            return self._running.in_engine(engine, self.computes_in, role, network, method, x)
        # called as a module, a network runs its hooks
        function = network if method == "forward" else getattr(network, method)
        if self.is_compiled:
            function = self._running.compiled(role, function)
        with self._autocast(), self._running.counted(role) if self.engine == "auto" else nullcontext():
            return function(x.to(self.dtype)).float()

    def _engine_for(self, role: str, x: Tensor) -> EngineName:
        check_engine(self.engine, self.precision, self.is_compiled, self.device)
        # engines are made for one size of pictures
        if self.engine == "torch" or len(x) == 0 or tuple(x.shape[2:]) != tuple(self.size):
            return "torch"
        if self.engine != "auto":
            return self.engine
        applies = self.device.type == "cpu" and not self.is_compiled and self.dtype == torch.float32
        return self._running.fastest(role, self.computes_in) if applies else "torch"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of; compiled code and engines stay behind."""
        state = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "_running": Running()}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the weights, as `to`, `half` and others do; engines of the former ones are dropped."""
        self._running = Running()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Self:
        """Load G of a file that a training wrote, or one that comes with the package.

        Args:
            path: A safetensors file with its configuration inside, or a name such as ``market1501-light``.
            device: Where to put the networks: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``.
            **options: Any keyword of the constructor, instead of what the file says; ``engine`` is ``auto`` here.

        Raises:
            UserError: The file is missing, broken, or of something else, or there is no such device.
        """
        found = find_device(device)
        stored = read_pretrained(path)
        kept = {name: value for name, value in stored.options.items() if name != "normalize"}
        return cls(stored.generator, **(kept | {"engine": "auto"} | options)).to(found)

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the networks' parameters."""
        return next(self.parameters()).dtype

    @property
    def computes_in(self) -> Precision:
        """Type that `precision` comes to on this device and in this engine: ``fp32``, ``bf16`` or ``fp16``."""
        if self.precision != "auto":
            return self.precision
        if self.engine == "onnxruntime" or not computes_bfloat16(self.device):
            tell_once(f"precision auto: float32 on {self.device}")
            return "fp32"
        tell_once(f"precision auto: bfloat16, which {self.device} computes")
        return "bf16"

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever a surrounding module asks for."""
        return super().train(False)

    def prepare(self, picture: Picture) -> Tensor:
        """Resize one picture and normalise it: 3×H×W float32, on the CPU or, of a tensor, where that is."""
        return _normalised(self._resized(picture)[0]).contiguous()

    def _resized(self, picture: Picture) -> tuple[Tensor, int]:
        """Resize a picture, and give its native height. H×W×3 uint8; of a tensor, 3×H×W float32, prepared."""
        if isinstance(picture, Tensor):
            if picture.ndim != 3:
                raise ValueError(f"a picture tensor is C×H×W, this one is {tuple(picture.shape)}")
            prepared = prepare_tensor(picture[None], self.size, self.interpolation, self.tensors, self.color)
            return prepared[0], picture.shape[1]
        image = host_image(picture, self.color)
        return pixels(resize(image, self.size, self.interpolation)), image.height

    def prepare_pixels(self, resized: Sequence[Tensor]) -> Tensor:
        """Normalise pictures (H×W×3 uint8 of the networks' size) on the module's device: N×3×H×W float32.

        As 8 bits they travel there in a quarter of the bytes, and together they are normalised faster than one by one.
        """
        return _channels_innermost(normalise(torch.stack(list(resized)).to(self.device)))

    @torch.inference_mode()
    def generate(self, x_l: Tensor) -> Tensor:
        """Run G on prepared pictures (N×3×H×W, on the module's device); without G they return as they are."""
        if self.generator is None:
            return x_l
        return self._run("generate", self.generator, "forward", x_l)

    def _autocast(self) -> torch.autocast:
        # networks of another type have nothing to cast
        dtype = _AUTOCAST.get(self.computes_in) if self.dtype == torch.float32 else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=False)

    @torch.inference_mode()
    def super_resolve(self, images: Pictures, *, mode: Mode = "always") -> Tensor:
        """Enlarge pictures to the networks' size, through G.

        Args:
            images: Paths, Pillow pictures, arrays or tensors of any sizes.
            mode: Those that do not pass through G are resized.

        Returns:
            N×3×H×W float32 RGB from 0 to 1, on the module's device.

        Raises:
            UserError: A file is unreadable.
            ValueError: Something is no picture, or there is no G.
        """
        if self.generator is None:
            raise ValueError("there is no generator; load a file that holds one")
        found = [unnormalised(self._through_generator(*batch, mode)) for batch in self._batches(images)]
        return torch.cat(found) if found else torch.empty(0, 3, *self.size, device=self.device)

    def _through_generator(self, prepared: Tensor, heights: list[int], mode: Mode) -> Tensor:
        """Replace LR pictures by G's."""
        low = [self.is_low_resolution(height, mode) for height in heights]
        if all(low):
            return self.generate(prepared)
        if not any(low):
            return prepared
        index = torch.tensor([i for i, is_low in enumerate(low) if is_low], device=prepared.device)
        return prepared.index_copy(0, index, self.generate(prepared[index]))

    @property
    def has_query_side(self) -> bool:
        """Whether LR pictures are treated otherwise than HR ones."""
        return self.generator is not None

    def is_low_resolution(self, height: int, mode: Mode | None = None) -> bool:
        """Say whether a picture of so many rows is treated as LR."""
        mode = mode or self.mode
        if not self.has_query_side or mode == "never":
            return False
        return mode == "always" or height < self.lr_height

    def _batches(self, images: Pictures) -> Iterator[tuple[Tensor, list[int]]]:
        """Prepared batches on the device with the pictures' native heights, the next being made while one is used."""
        pictures = as_sequence(images)
        if isinstance(pictures, Tensor):
            for part in pictures.split(self.batch_size):
                there = part.to(self.device)
                prepared = prepare_tensor(there, self.size, self.interpolation, self.tensors, self.color)
                yield prepared, [part.shape[2]] * len(part)
            return
        for _, read in read_ahead(pictures, self._resized, self.batch_size, self.threads):
            resized, heights = zip(*read, strict=True)
            yield self._prepared(resized), list(heights)

    def _prepared(self, resized: Sequence[Tensor]) -> Tensor:
        """Make a batch of resized pictures, which may be pixels or prepared tensors."""
        if all(x.dtype == torch.uint8 for x in resized):
            return self.prepare_pixels(resized)
        return _channels_innermost(torch.stack([_normalised(x.to(self.device)) for x in resized]))


def _normalised(resized: Tensor) -> Tensor:
    return normalise(resized) if resized.dtype == torch.uint8 else resized


def _channels_innermost(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last)


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} {value!r}: use one of {', '.join(allowed)}")
