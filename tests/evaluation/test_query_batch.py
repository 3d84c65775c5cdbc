"""Features of queries with test-time options, beside what each option says."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.evaluation_cases import Setting, Together
from intact_fast.config.options import EvaluationConfig, TestTime
from intact_fast.data.degradation import read_image
from intact_fast.errors import UserError
from intact_fast.evaluation import picture_source
from intact_fast.evaluation.evaluator import Evaluation, evaluate
from intact_fast.evaluation.picture_source import PictureBatch, PictureSource
from intact_fast.evaluation.query_batch import SHIFTS, Change, QueryBatch, changed, mean_direction
from intact_fast.evaluation.verification import pair_similarities
from intact_fast.evaluation.views import LR, SR, with_test_time
from intact_fast.reporting.tables import figures, markdown_table
from intact_fast.serving.sr_reid import SRReID

EVERY: tuple[TestTime, ...] = ("flip", "plain", "shifts", "cosine")


def run(setting: Setting, *test_time: TestTime, **options: object) -> Evaluation:
    own = {name: options.pop(name) for name in ("metric", "rerank") if name in options}
    return evaluate(*setting, EvaluationConfig(batch_size=3, test_time=test_time, **own), **options)  # type: ignore[arg-type]


@pytest.fixture
def with_query_critic(setting: Setting) -> Setting:
    model, manifest, root = setting
    query_critic = copy.deepcopy(model.critic)
    for parameter in query_critic.parameters():
        parameter.data *= 1.05
    return SRReID(model.critic, model.generator, model.size, query_critic=query_critic), manifest, root


def batch_of(setting: Setting) -> PictureBatch:
    model, manifest, root = setting
    source = PictureSource(root, manifest.header, model, batch_size=64, threads=1)
    (batch,) = source.batches_of_variants(manifest.split("query"), ("lr",))
    return batch


def features_with(setting: Setting, *options: TestTime) -> Tensor:
    return QueryBatch(setting[0], batch_of(setting)).features(replace(SR, test_time=options))


def test_flip_and_shifts_are_means_over_changed_pictures_before_g(with_query_critic: Setting) -> None:
    model, batch = with_query_critic[0], batch_of(with_query_critic)
    x_l, sizes = batch.pictures["lr"], batch.sizes["lr"]

    def served(*changes: Change) -> Tensor:
        return torch.stack([model.embed_queries(model.generate(changed(x_l, sizes, c))) for c in changes]).mean(0)

    shifts = [Change(shift=shift) for shift in SHIFTS]
    expected = {
        ("flip",): served(Change(), Change(mirrored=True)),
        ("shifts",): served(*shifts),
        ("flip", "shifts"): served(*shifts, *(replace(change, mirrored=True) for change in shifts)),
        ("cosine",): served(Change()),
    }
    for options, features in expected.items():
        torch.testing.assert_close(features_with(with_query_critic, *options), features, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected["flip",], expected["cosine",], atol=1e-3)
    assert not torch.allclose(expected["shifts",], expected["cosine",], atol=1e-3)


def test_plain_averages_the_directions_of_both_pictures(with_query_critic: Setting) -> None:
    model, x_l = with_query_critic[0], batch_of(with_query_critic).pictures["lr"]
    lr, sr = model.embed(x_l), model.embed_queries(model.generate(x_l))
    found = features_with(with_query_critic, "plain")
    torch.testing.assert_close(F.normalize(found), F.normalize(F.normalize(lr) + F.normalize(sr)))
    torch.testing.assert_close(found.norm(dim=1), (lr.norm(dim=1) + sr.norm(dim=1)) / 2)
    # whichever is longer, the direction stays
    torch.testing.assert_close(F.normalize(mean_direction(9 * lr, sr)), F.normalize(found))


def test_c_q_alone_takes_every_option(with_query_critic: Setting) -> None:
    model, manifest, root = with_query_critic
    alone = SRReID(model.critic, None, model.size, query_critic=model.query_critic)
    evaluation = run((alone, manifest, root), *EVERY)
    assert evaluation.names["sr"] == "SR queries (C_q alone, no G)"
    features = evaluation.query_features
    for option in ("flip", "plain", "shifts"):
        assert not torch.allclose(features[f"sr+{option}"], features["sr"], atol=1e-3)
    assert evaluation.quality["sr"] == evaluation.quality["lr"], "no G changes the pictures"


def test_a_shift_moves_by_half_a_pixel_of_the_low_resolution_picture() -> None:
    """Of 12×6 pixels shown as 48×24, half a one is two; the mirror image comes afterwards."""
    pictures = torch.rand(2, 3, 48, 24, generator=torch.Generator().manual_seed(0))
    sizes = [(12, 6), (24, 12)]
    for (down, right), axis in (((0.5, 0.0), 2), ((0.0, -0.5), 3)):
        found = changed(pictures, sizes, Change(shift=(down, right)))
        step = int(2 * (down + right) * 2)
        first, second = (pictures[i : i + 1].roll(move, axis) for i, move in ((0, step), (1, step // 2)))
        inside = slice(4, -4)
        expected = torch.cat([first, second])[:, :, inside, inside]
        torch.testing.assert_close(found[:, :, inside, inside], expected, rtol=0, atol=1e-4)
        mirrored = changed(pictures, sizes, Change(True, (down, right)))
        assert torch.equal(mirrored, found.flip(3))
    edge = changed(pictures, sizes, Change(shift=(0.5, 0.0)))[0, :, 0]
    torch.testing.assert_close(edge, pictures[0, :, 0], rtol=0, atol=1e-4)


def test_sizes_are_those_of_the_low_resolution_pictures(setting: Setting) -> None:
    entries = setting[1].split("query")
    native = [read_image(setting[2] / entry.path).size for entry in entries]
    for entry, (width, height), found in zip(entries, native, batch_of(setting).sizes["lr"], strict=True):
        assert entry.r is not None
        assert found == pytest.approx((height / entry.r, width / entry.r), abs=0.5)


def test_each_option_has_a_row_and_the_last_one_has_all(setting: Setting) -> None:
    evaluation = run(setting, "cosine", "shifts", "flip", "plain")
    added = ["sr+flip", "sr+plain", "sr+shifts", "sr+cosine", "sr+flip+plain+shifts+cosine"]
    assert list(evaluation.rankings) == ["hr", "lr", "sr", *added]
    shown = figures(evaluation)
    assert shown["views"]["sr+flip+plain+shifts+cosine"] == "SR with flip, plain, shifts and cosine"
    assert list(shown["rows"]) == list(shown["views"].values())
    assert "euclidean distance (cosine in rows of that name)" in shown["protocol"]
    assert evaluation.quality.keys() == {"lr", "sr"}
    assert len(markdown_table(evaluation).splitlines()) == 2 + 8
    assert pair_similarities(evaluation).keys() == {"hr", "lr", "sr"}, "limits are of features that are served"
    assert list(run(setting, "flip").rankings) == ["hr", "lr", "sr", "sr+flip"]
    assert list(run(setting, "flip", views=("hr", "lr")).rankings) == ["hr", "lr"]
    plain = run(setting)
    for view, found in plain.query_features.items():
        assert torch.equal(found, evaluation.query_features[view])


def test_cosine_ranks_the_same_features_by_cosine(setting: Setting) -> None:
    evaluation, cosine = run(setting, "cosine"), run(setting, "cosine", metric="cosine")
    assert torch.equal(evaluation.query_features["sr+cosine"], evaluation.query_features["sr"])
    assert np.array_equal(evaluation.rankings["sr+cosine"].ap_per_query, cosine.rankings["sr"].ap_per_query)
    assert list(cosine.rankings) == ["hr", "lr", "sr"], "a row of it would be the same again"
    assert "in rows" not in figures(cosine)["protocol"]
    assert with_test_time(LR, evaluation.config) == []


@pytest.mark.parametrize("world_size", [2, 40])
def test_peers_find_what_one_process_finds(setting: Setting, world_size: int) -> None:
    alone, together = (run(setting, *EVERY, rerank=True, processes=Together(n)) for n in (1, world_size))
    assert figures(together) == figures(alone)
    for view, features in alone.query_features.items():
        assert torch.equal(together.query_features[view], features)


def test_pictures_are_read_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(picture_source, "read_image", lambda path: read.append(path) or read_image(path))
    run(setting, *EVERY)
    assert len(read) == len(set(read)) == len(setting[1].split("query", "gallery"))


def test_natively_low_resolution_queries_have_the_rows_too(setting: Setting) -> None:
    model, manifest, root = setting
    entries = tuple(replace(entry, r=None) if entry.is_lr else entry for entry in manifest.entries)
    evaluation = run((model, replace(manifest, entries=entries), root), "flip", "shifts")
    assert list(evaluation.rankings) == ["lr", "sr", "sr+flip", "sr+shifts", "sr+flip+shifts"]


def test_a_g_that_gives_nan_is_told_in_a_changed_row(setting: Setting) -> None:
    assert setting[0].generator is not None
    torch.nn.init.constant_(setting[0].generator.tail.weight, float("nan"))
    with pytest.raises(UserError, match="G gives NaN"):
        features_with(setting, "flip")
