"""The figures that the paper reports, as data (Cheng et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intact_fast.config.options import DatasetName
from intact_fast.experiments.published import INTACT, Figures, ranks


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        title: What it compares.
        dataset: What the paper ran it on; None where it gives several.
        rows: Label and recipe, in the table's order.
        figures: The paper's figures by recipe, of its data set or of each.
    """

    title: str
    dataset: DatasetName | None
    rows: tuple[tuple[str, str], ...]
    figures: Mapping[DatasetName, Mapping[str, Figures]]


_INTACT_MARKET = INTACT["market1501"].figures

TABLES: dict[int, PaperTable] = {
    1: PaperTable(
        "Cross-resolution person re-id",
        None,
        (("INTACT", "intact"),),
        {dataset: {"intact": publication.figures} for dataset, publication in INTACT.items()},
    ),
    2: PaperTable(
        "Super-resolution and re-id",
        "cuhk03",
        (("Sole SR", "sole-sr"), ("SR + ID", "mse+id"), ("INTACT", "intact")),
        {
            "cuhk03": {
                "sole-sr": {"SSIM": 0.82, "PSNR (dB)": 26.6, "Rank-1": 23.0},
                "mse+id": {"SSIM": 0.77, "PSNR (dB)": 23.3, "Rank-1": 82.7},
                "intact": {"SSIM": 0.73, "PSNR (dB)": 22.8, "Rank-1": 86.4},
            }
        },
    ),
    3: PaperTable(
        "Loss components",
        "market1501",
        (("MSE+ID", "mse+id"), ("MSE+ID+GAN", "mse+id+gan"), ("MSE+ID+GAN+Association", "intact")),
        {
            "market1501": {
                "mse+id": ranks(83.7, 93.0, 95.6),
                "mse+id+gan": ranks(84.7, 93.9, 96.1),
                "intact": _INTACT_MARKET,
            }
        },
    ),
    4: PaperTable(
        "Association design",
        "market1501",
        (("Common space (a)", "common-space"), ("D-to-R (b)", "d-to-r"), ("R-to-D (c)", "intact")),
        {
            "market1501": {
                "common-space": ranks(84.3, 94.0, 95.3),
                "d-to-r": ranks(83.4, 93.5, 95.0),
                "intact": _INTACT_MARKET,
            }
        },
    ),
    5: PaperTable(
        "Bridge constraint",
        "market1501",
        (("Without (Fig. 5 d)", "no-bridge"), ("With (Fig. 5 c)", "intact")),
        {"market1501": {"no-bridge": ranks(84.3, 93.5, 95.8), "intact": _INTACT_MARKET}},
    ),
}


def reported(dataset: DatasetName, recipe: str) -> Figures:
    """Collect the paper's figures of a row on a data set from all tables; empty where none has it.

    INTACT itself is reported on every data set (Table 1), the rows it is compared with on one each.
    """
    found: dict[str, float] = {}
    for table in TABLES.values():
        found |= table.figures.get(dataset, {}).get(recipe, {})
    return found
