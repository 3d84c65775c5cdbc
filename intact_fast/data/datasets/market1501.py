"""Market-1501 (Zheng et al., ICCV 2015): 751 training and 750 test identities, six cameras."""

from __future__ import annotations

import re
from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Picture, Subset, find_layout, list_pictures
from intact_fast.errors import UserError

_FOLDERS: dict[str, Subset] = {
    "bounding_box_train": "train",
    "query": "query",
    "bounding_box_test": "gallery",
}
_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d")
_JUNK_PID = -1


def read_market1501(root: Path) -> Catalogue:
    """Read the official archive, or torchreid's ``market1501/Market-1501-v15.09.15`` around it.

    The official split is kept. Junk detections (``-1``) never count in any protocol and are left
    out; distractors (``0000``) stay in the gallery. Every query is LR by default.

    Args:
        root: Folder that holds the archive's folder (or its three sub-folders).

    Raises:
        UserError: The folders are missing, or a file name is not of the official form.
    """
    archive = "Market-1501-v15.09.15"
    folder = find_layout(root, (f"market1501/{archive}", archive, "market1501", "."), _FOLDERS, "Market-1501")
    pictures = []
    for name, subset in _FOLDERS.items():
        for path in list_pictures(folder / name):
            match = _NAME.match(path.name)
            if match is None:
                raise UserError(
                    f"{path}: not a Market-1501 file name (expected like 0002_c1s1_000451_03.jpg); "
                    "remove or rename it"
                )
            pid = int(match[1])
            if pid != _JUNK_PID:
                pictures.append(Picture(path.relative_to(root).as_posix(), pid, int(match[2]), subset))
    return Catalogue("market1501", tuple(pictures), default_lr_camera=None, distractor_pid=0)
