"""A gallery that is partly low-resolution: ``python -m benchmarks.mixed_gallery ROOT OUT``.

The copy is Market-1501 with a random half of the gallery's pictures down-sampled at a random r of 2, 3 or 4.
``intact-fast evaluate --checkpoint … --data.root OUT`` then compares two galleries. ``--evaluation.gallery bypass``
leaves the pictures as they are, ``auto`` super-resolves the low-resolution ones as it does queries.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

from intact_fast.data.degradation import downsample, read_image

FOLDER, GALLERY = "Market-1501-v15.09.15", "bounding_box_test"
FACTORS = (2, 3, 4)


def copy_mixed(root: Path, out: Path, seed: int = 0) -> int:
    """Write the copy and say how many gallery pictures are low-resolution in it.

    Args:
        root: Folder that holds Market-1501.
        out: Folder to write to, in which Market-1501 must not be yet.
        seed: Which pictures, and their rates.
    """
    target = out / FOLDER
    shutil.copytree(root / FOLDER, target)
    pictures = sorted((target / GALLERY).glob("*.jpg"))
    draw = random.Random(seed)
    chosen = draw.sample(pictures, len(pictures) // 2)
    for path in chosen:
        small = downsample(read_image(path), draw.choice(FACTORS), "bilinear")
        # a copy of a read-only data set is read-only
        path.unlink()
        small.save(path, format="JPEG", quality=95, subsampling=0)
    return len(chosen)


def main() -> None:
    """Copy, and say what was written."""
    parser = argparse.ArgumentParser(description="Market-1501 with a partly low-resolution gallery.")
    parser.add_argument("root", type=Path, help="folder that holds Market-1501")
    parser.add_argument("out", type=Path, help="folder to write the copy to")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.root / FOLDER / GALLERY).is_dir():
        parser.error(f"{options.root}: no {FOLDER}/{GALLERY}; give the folder that holds Market-1501")
    if (options.out / FOLDER).exists():
        parser.error(f"{options.out / FOLDER} is there already; give another folder")
    count = copy_mixed(options.root, options.out, options.seed)
    print(f"{count} pictures of {GALLERY} are low-resolution in {options.out}")


if __name__ == "__main__":
    main()
