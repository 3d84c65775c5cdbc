"""Decoding with NVIDIA DALI: picture files become pixels, which memory keeps where asked.

DALI has a cache of decoded pictures, too, but for GPU decoding only. It knows pictures by where DALI's own readers
found them, and here they are read in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import fsencode
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert

from intact_fast.data.pillow_loader import read_training_image
from intact_fast.data.plain_files import is_plain_file

_BATCH = 64

DecodedPictures = dict[int, NDArray[np.uint8]]
"""H×W×3 RGB by row among the training pictures."""


def file_name(path: Path) -> NDArray[np.uint8]:
    """Encode a path as DALI takes it, its bytes as uint8."""
    return np.frombuffer(fsencode(path), dtype=np.uint8)


@do_not_convert
def decoded_file(name: Any, gpu_decode: bool) -> tuple[Any, Any]:
    """Read and decode, within a pipeline.

    Args:
        name: Of the file.
        gpu_decode: Decode on the pipeline's GPU instead of CPU threads.

    Returns:
        H×W×3 uint8 RGB, and (H, W) float on the CPU.
    """
    encoded = fn.io.file.read(name)
    native = fn.cast(fn.peek_image_shape(encoded)[:2], dtype=types.FLOAT)
    images = fn.decoders.image(
        encoded,
        device="mixed" if gpu_decode else "cpu",
        output_type=types.RGB,
        jpeg_fancy_upsampling=True,
    )
    return images, native


@pipeline_def(exec_dynamic=True)
def _decoding_pipeline(gpu_decode: bool) -> Any:
    name = fn.external_source(name="name", dtype=types.UINT8, ndim=1)
    images, _ = decoded_file(name, gpu_decode)
    return images.cpu() if gpu_decode else images


def decode_pictures(
    paths: Sequence[Path], limit: int, gpu_decode: bool, device_id: int | None, threads: int
) -> DecodedPictures:
    """Decode pictures in their order until they fill the memory meant for them; Pillow decodes those that DALI cannot.

    Args:
        paths: Picture files.
        limit: Bytes.
        gpu_decode: As the pictures that do not fit will be decoded.
        device_id: GPU of the decoding; None without one.
        threads: CPU threads of the decoding.

    Raises:
        UserError: A picture is unreadable.
    """
    build = partial(
        _decoding_pipeline,
        gpu_decode,
        batch_size=_BATCH,
        num_threads=threads,
        device_id=device_id,
        # a run takes what was fed to it and nothing ahead
        prefetch_queue_depth=1,
    )
    pipeline = build()
    decoded: DecodedPictures = {}
    for start in range(0, len(paths), _BATCH):
        chunk = paths[start : start + _BATCH]
        plain = [i for i, path in enumerate(chunk) if is_plain_file(path)]
        found: DecodedPictures = {}
        if plain:
            pipeline.feed_input("name", [file_name(chunk[i]) for i in plain])
            try:
                (pictures,) = pipeline.run()
                found = {i: np.array(pictures[k]) for k, i in enumerate(plain)}
            # Pillow decodes what DALI could not, or names it
            except RuntimeError:
                pipeline = build()
        for i, path in enumerate(chunk):
            picture = found[i] if i in found else np.array(read_training_image(path))
            limit -= picture.nbytes
            if limit < 0:
                return decoded
            decoded[start + i] = picture
    return decoded
