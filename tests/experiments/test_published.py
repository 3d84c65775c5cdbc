"""Published figures beside ours: what compares, and what is said where it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from intact_fast.config.options import DataConfig, EvaluationConfig
from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.splits import build_manifest
from intact_fast.experiments.comparison import ComparedRow, beside_published
from intact_fast.experiments.paper_tables import TABLES, reported
from intact_fast.experiments.published import INTACT, PUBLISHED, OurProtocol
from intact_fast.reporting.tables import describe_protocol

LIKE_PS_HRNET = EvaluationConfig(protocol="multi-shot", metric="cosine", distractors="drop")


def intact(**means: float) -> ComparedRow:
    """A row with figures `rank1`, `multi_rank1`, `cosine_multi_rank1` and `rank5`."""
    names = {"rank1": "Rank-1", "rank5": "Rank-5", "multi_rank1": "multi-shot Rank-1"}
    names["cosine_multi_rank1"] = "cosine multi-shot Rank-1"
    figures = {names[name]: value for name, value in means.items()}
    return ComparedRow("INTACT here", "intact", figures, reported("market1501", "intact"))


LIGHT = ComparedRow("Light", "light", {"Rank-1": 1.0}, {})


@pytest.mark.parametrize(
    ("options", "queries"),
    [
        ({}, "own"),
        ({"lr_camera": "1"}, "own"),
        ({"lr_camera": "1", "test_queries": "camera"}, "one camera"),
        ({"lr_camera": "random", "test_queries": "camera"}, "a drawn camera"),
    ],
)
def test_a_split_says_which_pictures_are_queries(options: dict[str, Any], queries: str) -> None:
    pictures = [
        Picture(f"{subset}{pid}_{camera}_{number}", pid, camera, subset)  # type: ignore[arg-type]
        for subset, pids, numbers in (("train", (1, 2), (0,)), ("query", (3, 4), (0,)), ("gallery", (3, 4), (1, 2)))
        for pid in pids
        for camera in (1, 2)
        for number in numbers
    ]
    pictures.append(Picture("nobody", 0, 1, "gallery"))
    catalogue = Catalogue("market1501", tuple(pictures), default_lr_camera=None, distractor_pid=0)
    ours = OurProtocol.of(EvaluationConfig(), build_manifest(catalogue, DataConfig(val_fraction=0, **options)))
    assert (ours.queries, ours.has_distractors) == (queries, True)


def test_rank_1_of_market_is_held_against_the_multi_shot_figure() -> None:
    ours = OurProtocol(has_distractors=True)
    text = beside_published("market1501", [intact(rank1=70.0, rank5=80.0, multi_rank1=87.1), LIGHT], ours)
    assert "| INTACT here: multi-shot Rank-1 | 87.1 | 88.1 | -1.0 |" in text
    assert "| INTACT here: Rank-5 | – | 95.0 | – |" in text
    assert "Not compared: Rank-5 of INTACT (single-shot here)." in text
    assert "| PS-HRNet, beside our best row (`intact`): Rank-1 | – | 91.5 | – |" in text
    assert (
        "Not compared: Rank-1 of PS-HRNet (the data set's own queries here; euclidean distance here; distractors kept "
        "here)."
    ) in text
    assert "Protocol of INTACT: multi-shot; by inference: " in text
    assert "Protocol of PS-HRNet: multi-shot, cosine distance; as its notebook scores" in text


def test_ps_hrnet_is_compared_under_its_own_protocol_alone() -> None:
    ours = OurProtocol(LIKE_PS_HRNET, "a drawn camera", has_distractors=True)
    text = beside_published("market1501", [intact(rank1=92.0, rank5=96.0), LIGHT], ours)
    assert "| PS-HRNet, beside our best row (`intact`): Rank-1 | 92.0 | 91.5 | +0.5 |" in text
    assert "| INTACT here: Rank-5 | 96.0 | 95.0 | +1.0 |" in text
    assert "Not compared" not in text
    one_camera = OurProtocol(LIKE_PS_HRNET, "one camera", has_distractors=True)
    assert one_camera.differences(PUBLISHED["market1501"][1].protocol, "Rank-1") == [
        "all pictures of one camera are queries here"
    ]


def test_figures_of_another_distance_stand_in_where_there_are_some() -> None:
    single = EvaluationConfig(distractors="drop")
    row = intact(rank1=70.0, multi_rank1=88.0, cosine_multi_rank1=90.0)
    text = beside_published("market1501", [row, LIGHT], OurProtocol(single, "a drawn camera", True))
    assert "(`intact`): cosine multi-shot Rank-1 | 90.0 | 91.5 | -1.5 |" in text
    assert "| INTACT here: multi-shot Rank-1 | 88.0 | 88.1 | -0.1 |" in text


def test_the_best_row_stands_beside_a_method() -> None:
    better = replace(LIGHT, means={"Rank-1": 93.0})
    text = beside_published("market1501", [intact(rank1=80.0), better], OurProtocol(LIKE_PS_HRNET, "a drawn camera"))
    assert "| INTACT, beside our best row (`light`): Rank-1 | 93.0 | 88.1 | +4.9 |" in text
    assert "| PS-HRNet, beside our best row (`light`): Rank-1 | 93.0 | 91.5 | +1.5 |" in text


def test_other_rules_are_not_compared_and_quality_always_is() -> None:
    ours = OurProtocol(EvaluationConfig(rerank=True, same_camera="keep"), "one camera")
    assert ours.differences(INTACT["viper"].protocol, "Rank-1") == [
        "re-ranked here",
        "matches of the query's own camera count here",
    ]
    assert ours.differences(INTACT["viper"].protocol, "PSNR (dB)") == []
    for shots in ("single-shot", "multi-shot"):
        plain = OurProtocol(EvaluationConfig(protocol=shots), "one camera")  # type: ignore[arg-type]
        assert plain.differences(INTACT["viper"].protocol, "Rank-1") == [], "one gallery picture: both agree"


def test_where_nothing_is_published_nothing_is_written() -> None:
    assert beside_published("synthetic", [LIGHT], OurProtocol()) == ""


def test_the_paper_has_one_figure_for_its_method() -> None:
    for table in TABLES.values():
        for dataset, figures in table.figures.items():
            assert figures["intact"].items() >= INTACT[dataset].figures.items() or table is TABLES[2]
    assert reported("cuhk03", "intact")["Rank-1"] == INTACT["cuhk03"].figures["Rank-1"]


def test_the_line_of_the_protocol_names_distractors_that_are_treated_otherwise() -> None:
    assert describe_protocol(LIKE_PS_HRNET).endswith("cosine distance; distractors dropped")
    assert "distractors" not in describe_protocol(EvaluationConfig())
