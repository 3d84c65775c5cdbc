"""Published figures of cross-resolution re-id, the protocol of each, and with which of ours they compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from intact_fast.config.options import DatasetName, EvaluationConfig
from intact_fast.data.manifest import Manifest

Figures = Mapping[str, float]
"""Rank-k in percent, PSNR (dB) and SSIM."""
Shots = Literal["single-shot", "multi-shot"]
Queries = Literal["own", "one camera", "a drawn camera"]
"""Which test pictures are LR queries: those that the data set fixes (all, or those of one camera), or all of a camera
that is the same for all identities, or drawn for each."""


@dataclass(frozen=True)
class PublishedProtocol:
    """How a publication scores, as far as it says so or its code shows.

    Attributes:
        shots: Gallery pictures of a person: one, or all; None where the data set has one of each.
        note: What is known, what is inference, and what is not said.
        queries: Which test pictures are queries; None where that is not said.
        metric: Distance between features; None where that is not said.
        distractors: Whether the gallery keeps them; None where that is not said, or the data set has none.
    """

    shots: Shots | None
    note: str
    queries: Queries | None = None
    metric: Literal["euclidean", "cosine"] | None = None
    distractors: Literal["keep", "drop"] | None = None

    def describe(self) -> str:
        """Give it in a line."""
        known = [self.shots or "single-shot or multi-shot", *((f"{self.metric} distance",) if self.metric else ())]
        return f"{', '.join(known)}; {self.note}"


@dataclass(frozen=True)
class OurProtocol:
    """How a table here was scored.

    Attributes:
        evaluation: Options of the evaluation.
        queries: Which test pictures are queries.
        has_distractors: Whether the gallery holds any.
    """

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    queries: Queries = "own"
    has_distractors: bool = False

    @staticmethod
    def of(evaluation: EvaluationConfig, manifest: Manifest) -> OurProtocol:
        """Look at a split."""
        queries: Queries = "own"
        shown = {(entry.pid, entry.camera) for entry in manifest.split("gallery")}
        # the data set's own queries are single pictures, and others of the same camera are in the gallery
        if not any((entry.pid, entry.camera) in shown for entry in manifest.split("query")):
            queries = "a drawn camera" if manifest.header.lr_camera == "random" else "one camera"
        distractor = manifest.header.distractor_pid
        return OurProtocol(evaluation, queries, any(entry.pid == distractor for entry in manifest.split("gallery")))

    def counterparts(self, published: PublishedProtocol, figure: str) -> tuple[str, ...]:
        """Name our figures that a published one could be held against, the fittest first.

        A table has Rank-1 beside its own protocol in the multi-shot one, and beside its own distance in the cosine one.
        """
        ours = self.evaluation
        if figure != "Rank-1":
            return (figure,)
        shots = "multi-shot " if published.shots == "multi-shot" and ours.protocol != "multi-shot" else ""
        cosine = "cosine " if published.metric == "cosine" and ours.metric != "cosine" else ""
        return tuple(dict.fromkeys((f"{cosine}{shots}{figure}", f"{shots}{figure}", figure)))

    def differences(self, published: PublishedProtocol, counterpart: str) -> list[str]:
        """Say in words why our figure does not compare with a published one; empty where nothing known forbids it.

        Args:
            published: How the other was scored.
            counterpart: Name of ours; PSNR and SSIM depend on no protocol of ranking.
        """
        if "Rank" not in counterpart:
            return []
        ours = self.evaluation
        shots: Shots = "multi-shot" if "multi-shot" in (ours.protocol, *counterpart.split()) else "single-shot"
        metric = "cosine" if counterpart.startswith("cosine ") else ours.metric
        kept = {"auto": "keep" if shots == "multi-shot" else "drop"}.get(ours.distractors, ours.distractors)
        found = []
        if published.shots not in (None, shots):
            found.append(f"{shots} here")
        if published.queries not in (None, self.queries):
            found.append(f"{_IN_WORDS[self.queries]} here")
        if published.metric not in (None, metric):
            found.append(f"{metric} distance here")
        if self.has_distractors and published.distractors not in (None, kept):
            found.append(f"distractors {'kept' if kept == 'keep' else 'dropped'} here")
        if ours.rerank:
            found.append("re-ranked here")
        if ours.same_camera == "keep":
            found.append("matches of the query's own camera count here")
        return found


_IN_WORDS: Mapping[Queries, str] = {
    "own": "the data set's own queries",
    "one camera": "all pictures of one camera are queries",
    "a drawn camera": "all pictures of a drawn camera are queries",
}


@dataclass(frozen=True)
class Publication:
    """A method's figures on a data set.

    Attributes:
        name: Of the method.
        figures: What it reports.
        protocol: How they were scored.
    """

    name: str
    figures: Figures
    protocol: PublishedProtocol


def ranks(*percent: float) -> Figures:
    """Name Rank-1, Rank-5 and Rank-10."""
    return dict(zip(("Rank-1", "Rank-5", "Rank-10"), percent, strict=True))


_NOT_SAID = "queries, distance and distractors are not said"
_AS_SAID = PublishedProtocol("single-shot", "as its paper says; the distance is not said")
INTACT: Mapping[DatasetName, Publication] = {
    "market1501": Publication(
        "INTACT",
        ranks(88.1, 95.0, 96.9),
        PublishedProtocol(
            "multi-shot",
            "by inference: its paper says single-shot, but eight of eight public evaluators that could be read score "
            f"so, and 88.1 single-shot would lie above the HR bound of its C; {_NOT_SAID}",
        ),
    ),
    "dukemtmc": Publication(
        "INTACT",
        ranks(81.2, 90.1, 92.8),
        PublishedProtocol("multi-shot", f"by analogy with Market-1501 alone: its paper says single-shot; {_NOT_SAID}"),
    ),
    "cuhk03": Publication("INTACT", ranks(86.4, 97.4, 98.5), _AS_SAID),
    "viper": Publication(
        "INTACT",
        ranks(46.2, 73.1, 81.6),
        PublishedProtocol(None, "a person has one gallery picture, so that both agree; the distance is not said"),
    ),
    "caviar": Publication("INTACT", ranks(44.0, 81.8, 93.9), _AS_SAID),
}
"""The method that this project implements (Cheng et al., CVPR 2020, Table 1)."""

PUBLISHED: Mapping[DatasetName, tuple[Publication, ...]] = {
    **{dataset: (publication,) for dataset, publication in INTACT.items()},
    "market1501": (
        INTACT["market1501"],
        Publication(
            "PS-HRNet",
            {"Rank-1": 91.5},
            PublishedProtocol(
                "multi-shot",
                "as its notebook scores (preset `ps-hrnet`: 2,825 queries and 10,290 gallery pictures, all of a drawn "
                "camera by inference, no distractors, queries and gallery with their mirror images); the notebook "
                "itself prints 90.9; its network starts from ImageNet",
                "a drawn camera",
                "cosine",
                "drop",
            ),
        ),
    ),
}
"""INTACT first, then methods that came after it."""
