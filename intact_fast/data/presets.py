"""Published variants of the multi-low-resolution (MLR) protocol, as data for ``intact-fast prepare --preset``.

They agree on the construction that Jiao et al. introduced. The pictures of one camera (all queries where the
official split has fixed ones) are down-sampled at rates drawn from {2, 3, 4}. The others stay as they are, and
CAVIAR's second camera is low-resolution by itself. Only VPFA's code says which camera that is, and draws another for
each identity. What the first four write down makes one and the same split.

The last two leave Market-1501's own queries out: all test pictures of an identity's LR camera are queries. Figures of
such splits compare with those of no other, so that a preset also names the options by which its source scores.

The readers' own splits are the ones that all of them name. VIPeR's and CAVIAR's identities are halved, and CUHK03's are
1,367/100. Market-1501 (751/750) and DukeMTMC-reID (702/702) keep their official splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from intact_fast.config.options import (
    CUHK03Boxes,
    CUHK03Protocol,
    DataConfig,
    DatasetName,
    Interpolation,
)

PresetName = Literal["paper", "sing", "cad", "dil", "vpfa", "ps-hrnet", "market-camera"]


@dataclass(frozen=True)
class SplitPreset:
    """One publication's way to make LR queries.

    Attributes:
        description: What it does, in a sentence.
        source: Where that is written.
        decided: What the source leaves open and was decided here.
        datasets: Data sets that the source reports on and that have a reader; on others the same rule holds.
        factors: Rates r, drawn uniformly per picture.
        interpolation: Filter of the down-sampling.
        jpeg_quality: JPEG quality after it, None for none.
        lr_camera: As ``--data.lr-camera``.
        test_queries: As ``--data.test-queries``.
        cuhk03_boxes: Bounding boxes of CUHK03.
        cuhk03_protocol: Split of CUHK03.
        evaluation: Options ``--evaluation.*`` by which the source scores; empty where it does not say, or where
            `docs/datasets.md` has to answer for each data set.
    """

    description: str
    source: str
    decided: str
    datasets: tuple[DatasetName, ...]
    factors: tuple[int, ...] = (2, 3, 4)
    interpolation: Interpolation = "bilinear"
    jpeg_quality: int | None = None
    lr_camera: str = "auto"
    cuhk03_boxes: CUHK03Boxes = "detected"
    cuhk03_protocol: CUHK03Protocol = "classic"
    test_queries: Literal["official", "camera"] = "official"
    evaluation: Mapping[str, str] = field(default_factory=dict)

    def apply(self, data: DataConfig) -> DataConfig:
        """Options with this variant's in place of their own."""
        return replace(
            data,
            factors=self.factors,
            interpolation=self.interpolation,
            jpeg_quality=self.jpeg_quality,
            lr_camera=self.lr_camera,
            test_queries=self.test_queries,
            cuhk03_boxes=self.cuhk03_boxes,
            cuhk03_protocol=self.cuhk03_protocol,
        )


_FIVE: tuple[DatasetName, ...] = ("viper", "market1501", "dukemtmc", "cuhk03", "caviar")
_OPEN = "the filter (bilinear), which camera of a pair is LR (the reader's), the boxes of CUHK03 (detected)"

SPLIT_PRESETS: dict[PresetName, SplitPreset] = {
    "paper": SplitPreset(
        description="queries of one camera at r drawn uniformly from 2, 3 and 4",
        source="INTACT: Cheng, Dong, Gong, Zhu, CVPR 2020, section 4.1",
        decided=_OPEN,
        datasets=_FIVE,
    ),
    "sing": SplitPreset(
        description="pictures of one camera at a rate drawn from 1/2, 1/3 and 1/4: the first MLR sets",
        source="SING: Jiao et al., Deep Low-Resolution Person Re-Identification, AAAI 2018",
        decided=_OPEN,
        datasets=("viper", "cuhk03", "caviar"),
    ),
    "cad": SplitPreset(
        description="as SING, with Market-1501 and DukeMTMC-reID; r drawn from 2, 3 and 4",
        source="CAD-Net: Li, Chen et al., Recover and Identify, ICCV 2019 (arXiv 1908.06052)",
        decided=_OPEN,
        datasets=_FIVE,
    ),
    "dil": SplitPreset(
        description="the sets of SING; bilinear, as its authors' code down-samples",
        source=(
            "DIL: Huang et al., Real-World Person Re-Identification via Degradation Invariance Learning, CVPR 2020; "
            "issue 2 and core/data of github.com/Yukun-Huang/Degradation-Invariant-ReID-pytorch"
        ),
        decided="which camera of a pair is LR (the reader's), the boxes of CUHK03 (detected)",
        datasets=("viper", "cuhk03", "caviar"),
    ),
    "vpfa": SplitPreset(
        description=(
            "pictures of one camera, drawn for each identity, at a rate of 2, 3 or 4: bicubic, kept as JPEG of quality "
            "75, as its code does on VIPeR"
        ),
        source=(
            "VPFA, Looking Alike From Far to Near: Enhancing Cross-Resolution Re-Identification via Feature Vector "
            "Panning; dataset_preprocessing of github.com/ashmentlzw/VPFA"
        ),
        decided=(
            "the draws themselves, and one camera for an identity's query and gallery pictures, where its code draws "
            "in each folder anew; on CUHK03 its code is bilinear and keeps PNG (--data.interpolation bilinear "
            "--data.jpeg-quality None); on Market-1501 it is Lanczos (--data.interpolation lanczos) and also puts "
            "degraded pictures into the gallery, which is not done here"
        ),
        datasets=("viper", "market1501", "cuhk03", "caviar"),
        interpolation="bicubic",
        jpeg_quality=75,
        lr_camera="random",
    ),
    "ps-hrnet": SplitPreset(
        description=(
            "one camera of each test identity, drawn, is LR, and all of its test pictures are queries; the gallery is "
            "the test people's other pictures, without distractors"
        ),
        source=(
            "PS-HRNet: Zhang et al., Deep High-Resolution Representation Learning for Cross-Resolution Person "
            "Re-identification, IEEE TIP 2021; PS-HRNet.ipynb of github.com/NUISTGY/"
            "Deep-High-Resolution-Representation-Learning-for-Cross-Resolution-Person-Re-identification"
        ),
        decided=(
            "that the camera is drawn for each identity is inference: the notebook reads pictures that were divided "
            "before, 2,825 queries and 10,290 gallery pictures of Market-1501, as many as its 750 test people have "
            "without distractors and own queries; our draw gives other numbers of the same sum; the filter (bilinear) "
            "and the rates (2, 3, 4) are not in it; it adds the features of each picture's mirror image, of queries "
            "and gallery (--evaluation.test-time flip does so for queries), and its mAP is interpolated"
        ),
        datasets=("market1501", "dukemtmc", "cuhk03", "viper"),
        lr_camera="random",
        test_queries="camera",
        evaluation={"protocol": "multi-shot", "metric": "cosine", "distractors": "drop"},
    ),
    "market-camera": SplitPreset(
        description="all test pictures of one camera, --data.lr-camera, are queries, for all identities alike",
        source="INTACT, section 4.1, read literally: the query images taken from one camera are down-sampled",
        decided=(
            "which camera (yours), the filter (bilinear), and that all of the camera's test pictures are queries and "
            "the others the gallery; people whom that camera has not seen, and distractors, stay in the gallery"
        ),
        datasets=("market1501", "dukemtmc"),
        test_queries="camera",
        evaluation={"protocol": "multi-shot"},
    ),
}
