"""DukeMTMC-reID (Zheng et al., ICCV 2017): 702 training and 702 test identities, eight cameras.

The videos behind it were withdrawn by their authors in June 2019 over the privacy of those filmed. This
reader is for work that holds a copy already, and for comparing with older results.
"""

from __future__ import annotations

import re
from pathlib import Path

from intact_fast.data.catalogue import Catalogue, Counts, find_layout
from intact_fast.data.datasets.fixed_split import FOLDERS, read_fixed_split

OFFICIAL = (
    Counts(("train",), 16_522, 702),
    Counts(("query",), 2_228, 702),
    Counts(("gallery",), 17_661, 702 + 408),
)
"""By the authors' README (github.com/sxzrt/DukeMTMC-reID_evaluation); 408 identities are in the gallery alone."""
_NAME = re.compile(r"(\d{4})_c([1-8])_f\d+")


def read_dukemtmc(root: Path) -> Catalogue:
    """Read the official archive, or torchreid's ``dukemtmc-reid/DukeMTMC-reID`` around it.

    The official split is kept. Identities that only the gallery has are ordinary identities there.
    Every query is LR by default.

    Args:
        root: Folder that holds the archive's folder (or its three sub-folders).

    Raises:
        UserError: The folders are missing, or a file name is not of the official form.
    """
    archive = "DukeMTMC-reID"
    candidates = (
        f"dukemtmc-reid/{archive}",
        f"dukemtmc/{archive}",
        archive,
        "dukemtmc-reid",
        "dukemtmc",
        ".",
    )
    folder = find_layout(root, candidates, FOLDERS, archive)
    pictures, left_out = read_fixed_split(root, folder, _NAME, archive, "0002_c1_f0044158.jpg")
    return Catalogue("dukemtmc", tuple(pictures), default_lr_camera=None, official=OFFICIAL, left_out=left_out)
