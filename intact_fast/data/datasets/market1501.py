"""Market-1501 (Zheng et al., ICCV 2015): 751 training and 750 test identities, six cameras."""

from __future__ import annotations

import re
from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Counts, find_layout
from intact_fast.data.datasets.fixed_split import FOLDERS, read_fixed_split

OFFICIAL = (
    Counts(("train",), 12_936, 751),
    Counts(("query",), 3_368, 750),
    # of the 19,732 files 3,819 are junk; the distractors count as one identity
    Counts(("gallery",), 15_913, 751),
)
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
    folder = find_layout(root, (f"market1501/{archive}", archive, "market1501", "."), FOLDERS, "Market-1501")
    listed, left_out = read_fixed_split(root, folder, _NAME, "Market-1501", "0002_c1s1_000451_03.jpg")
    pictures = tuple(p for p in listed if p.pid != _JUNK_PID)
    return Catalogue(
        "market1501", pictures, default_lr_camera=None, distractor_pid=0, official=OFFICIAL, left_out=left_out
    )
