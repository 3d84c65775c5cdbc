"""CUHK03-NP: CUHK03's new protocol (Zhong et al., CVPR 2017) as folders of pictures.

It shows the people of CUHK03, in Market-1501's folders: 767 identities train, 700 are tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from intact_fast.config.options import CUHK03Boxes
from intact_fast.data.catalogue import Catalogue, find_layout
from intact_fast.data.datasets.cuhk03 import OFFICIAL
from intact_fast.data.datasets.fixed_split import FOLDERS, read_fixed_split
from intact_fast.errors import UserError

_NAME = re.compile(r"(\d{4})_c([12])_\d+")


def read_cuhk03_np(root: Path, boxes: CUHK03Boxes = "detected") -> Catalogue:
    """Read ``CUHK03-NP/detected`` or ``CUHK03-NP/labeled``.

    The official split is kept. Every query is LR by default.

    Args:
        root: Folder that holds ``CUHK03-NP``, or ``detected`` and ``labeled``, or the three folders of one of them.
        boxes: Which bounding boxes.

    Raises:
        UserError: The folders are missing, a file name is not of the official form, or the root holds other boxes.
    """
    others = set(get_args(CUHK03Boxes)) - {boxes}
    if root.resolve().name in others and (root / "query").is_dir():
        raise UserError(
            f"--data.root {root}: holds {root.resolve().name} boxes; give --data.cuhk03-boxes, or its parent"
        )
    candidates = (f"CUHK03-NP/{boxes}", f"cuhk03-np/{boxes}", boxes, ".")
    folder = find_layout(root, candidates, FOLDERS, "CUHK03-NP")
    pictures, left_out = read_fixed_split(root, folder, _NAME, "CUHK03-NP", "0001_c1_1.png")
    official = OFFICIAL["new", boxes]
    return Catalogue("cuhk03-np", tuple(pictures), default_lr_camera=None, official=official, left_out=left_out)
