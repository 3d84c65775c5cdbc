"""Training pictures through NVIDIA DALI, on CPU threads or on the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, math, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert
from torch.utils.dlpack import from_dlpack

from intact_fast.data.batches import Batch, PictureSpec, assemble
from intact_fast.data.dali_decoding import DecodedPictures, decode_pictures, decoded_file
from intact_fast.data.dali_source import PlanSource
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.data.plan import BatchPlan

_FILTERS = {
    "bilinear": (types.INTERP_LINEAR, 1),
    "bicubic": (types.INTERP_CUBIC, 2),
    "lanczos": (types.INTERP_LANCZOS3, 3),
}
"""Filter and its half width in source pixels when nothing shrinks."""

_INPUTS = {
    "name": (types.UINT8, 1),
    "is_decoded": (types.BOOL, 0),
    "decoded": (types.UINT8, 3),
    "flip": (types.INT32, 0),
    "r": (types.FLOAT, 0),
    "shift": (types.INT32, 1),
}
"""What a pipeline is fed with for each picture: type and number of dimensions."""


@do_not_convert
def _resize_pass(images: Any, axes: tuple[int, int], before: Any, after: Any, interpolation: str) -> Any:
    """Resize with Pillow's weights: 8 bits in, 8 bits out.

    Where a filter reaches over the border, Pillow renormalises the weights that fall inside and DALI repeats
    the border pixel. So the picture is framed with zeros, and the result is divided by what ones give in the
    same frame.

    Args:
        images: H×W×C uint8.
        axes: 1 where (the height, the width) is resized, 0 where it stays.
        before: (H, W), float.
        after: (H, W) that the whole resize leads to, float.
        interpolation: Filter.
    """
    interp_type, half_width = _FILTERS[interpolation]
    along, across = _constant(axes), _constant(1 - np.array(axes))
    frame = along * (math.ceil(math.max(before / after, 1.0) * half_width) + 1.0)
    start = fn.cast(-frame, dtype=types.INT32)

    def resampled(picture: Any, size: Any, target: Any) -> Any:
        framed = fn.slice(
            picture,
            start=start,
            shape=fn.cast(size + 2.0 * frame, dtype=types.INT32),
            axes=[0, 1],
            out_of_bounds_policy="pad",
        )
        return fn.resize(
            framed,
            size=target,
            roi_start=frame,
            roi_end=frame + size,
            interp_type=interp_type,
            antialias=True,
            dtype=types.FLOAT,
        )

    # one pixel wide where nothing is resized
    ones_size = along * before + across
    ones = fn.slice(
        types.Constant(np.ones((1, 1, 1), dtype=np.uint8), device="cpu", layout="HWC"),
        start=[0, 0],
        shape=fn.cast(ones_size, dtype=types.INT32),
        axes=[0, 1],
        out_of_bounds_policy="pad",
        fill_values=1,
    )
    weight = resampled(ones, ones_size, along * after + across)
    if images.device == "gpu":
        weight = weight.gpu()
    pixels = resampled(images, before, along * after + across * before)
    return fn.cast(pixels / weight, dtype=types.UINT8)


@do_not_convert
def _resize_framed(images: Any, before: Any, after: Any, interpolation: str) -> Any:
    """Resize with Pillow's weights at the border."""
    if interpolation == "bilinear":
        return _resize_pass(images, (1, 1), before, after, interpolation)
    # these filters overshoot, and Pillow clips to 8 bits between its horizontal and its vertical pass
    between = before * _constant((1, 0)) + after * _constant((0, 1))
    images = _resize_pass(images, (0, 1), before, after, interpolation)
    return _resize_pass(images, (1, 0), between, after, interpolation)


def _constant(vector: Any) -> Any:
    """Give a float vector to the graph."""
    return types.Constant(np.asarray(vector, dtype=np.float32), device="cpu")


def _resize(images: Any, before: Any, after: Any, interpolation: str) -> Any:
    """Resize H×W×C uint8 from (H, W) ``before`` to ``after`` with Pillow's result, within rounding."""
    if interpolation != "bilinear":
        return _resize_framed(images, before, after, interpolation)
    # growing bilinearly, a repeated border pixel and renormalised weights are the same
    if (before[0] > after[0]) | (before[1] > after[1]):
        resized = _resize_framed(images, before, after, interpolation)
    else:
        resized = fn.resize(images, size=after, interp_type=types.INTERP_LINEAR)
    return resized


def _pictures(inputs: dict[str, Any], gpu_decode: bool) -> tuple[Any, Any]:
    """Take the pixels of pictures that are decoded already, and read and decode the others."""
    if inputs["is_decoded"]:
        # a decoder says how its pictures lie in memory, and both branches must agree
        images = fn.reshape(inputs["decoded"], layout="HWC")
        native = fn.cast(images.shape()[:2], dtype=types.FLOAT)
        images = images.gpu() if gpu_decode else images
    else:
        images, native = decoded_file(inputs["name"], gpu_decode)
    return images, native


@pipeline_def(enable_conditionals=True, exec_dynamic=True)
def picture_pipeline(source: PlanSource, spec: PictureSpec, gpu_decode: bool, gpu_output: bool) -> Any:
    """Build the graph from file names to normalised pictures.

    Args:
        source: Gives the batches.
        spec: How to prepare pictures.
        gpu_decode: Decode and resize on the pipeline's GPU instead of CPU threads.
        gpu_output: Hand pictures over on that GPU; needed with ``gpu_decode``.

    Returns:
        HR pictures and, with ``spec.with_lr``, LR pictures: H×W×3 float32.
    """
    types_and_dimensions = [_INPUTS[name] for name in source.inputs]
    fed = fn.external_source(
        source,
        num_outputs=len(types_and_dimensions),
        dtype=[dtype for dtype, _ in types_and_dimensions],
        ndim=[ndim for _, ndim in types_and_dimensions],
    )
    inputs = {name: fed[i] for i, name in enumerate(source.inputs)}
    images, native = _pictures(inputs, gpu_decode)
    size = _constant(spec.size)

    def finished(picture: Any, before: Any) -> Any:
        picture = _resize(picture, before, size, spec.interpolation)
        if spec.pad > 0:
            picture = fn.slice(
                picture,
                start=inputs["shift"] - spec.pad,
                shape=list(spec.size),
                axes=[0, 1],
                out_of_bounds_policy="pad",
            )
        # bytes cross to the GPU, not floats
        if gpu_output and not gpu_decode:
            picture = picture.gpu()
        return fn.crop_mirror_normalize(
            picture,
            mirror=inputs["flip"],
            mean=[255 * value for value in IMAGENET_MEAN],
            std=[255 * value for value in IMAGENET_STD],
            output_layout="HWC",
        )

    hr = finished(images, native)
    if not spec.with_lr:
        return hr
    small_size = math.max(math.floor(native / inputs["r"]), 1.0)
    small = _resize(images, native, small_size, spec.interpolation)
    if spec.jpeg_quality is not None:
        small = fn.jpeg_compression_distortion(small, quality=spec.jpeg_quality)
    return hr, finished(small, small_size)


def dali_batches(
    plans: Iterator[BatchPlan],
    paths: Sequence[Path],
    labels: Sequence[int],
    spec: PictureSpec,
    device: torch.device,
    batch_size: int,
    gpu_decode: bool,
    threads: int,
    prefetch: int,
    cache_mib: int = 0,
) -> Iterator[Batch]:
    """Yield the batches of ``plans`` in order.

    Args:
        plans: What to read.
        paths: Picture files.
        labels: Their classes.
        spec: How to prepare them; its interpolation is any but ``area``.
        device: Where the batches go.
        batch_size: Pictures per batch.
        gpu_decode: Decode and resize on ``device``, a GPU, instead of CPU threads.
        threads: DALI's CPU threads.
        prefetch: Batches prepared ahead.
        cache_mib: Main memory for decoded pictures; 0 keeps none.

    Raises:
        UserError: A picture is unreadable.
    """
    on_gpu = device.type == "cuda"
    assert on_gpu or not gpu_decode
    device_id = None
    if on_gpu:
        device_id = torch.cuda.current_device() if device.index is None else device.index
    threads = max(1, threads)
    decoded: DecodedPictures = {}
    if cache_mib > 0:
        decoded = decode_pictures(paths, cache_mib * 2**20, gpu_decode, device_id, threads)
    source = PlanSource(plans, paths, spec, decoded, threads)
    build = partial(
        picture_pipeline,
        source,
        spec,
        gpu_decode,
        on_gpu,
        batch_size=batch_size,
        num_threads=threads,
        device_id=device_id,
        prefetch_queue_depth=max(1, prefetch),
    )
    with closing(source):
        pipeline = build()
        while True:
            # bound to torch's stream, outputs are ready for the kernels launched after them and are freed
            # after the last of these
            stream = torch.cuda.current_stream(device) if on_gpu else None
            try:
                outputs = pipeline.run(stream)
            except RuntimeError:
                if not source.keep_from_dali():
                    raise
                pipeline = build()
                continue
            # the dynamic executor gives each output memory of its own, so DLPack needs no copy
            pictures = [from_dlpack(output.as_tensor()).permute(0, 3, 1, 2) for output in outputs]
            x_h, x_l = pictures if spec.with_lr else (pictures[0], None)
            yield assemble(x_h, x_l, source.pending.popleft(), labels, device)
