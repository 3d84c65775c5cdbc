"""From manifest to table, on a tiny data set with untrained networks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.evaluation_cases import Setting, Together
from intact_fast.config.options import DataConfig, EvaluationConfig
from intact_fast.data.blind import corrupt
from intact_fast.data.degradation import pixels, read_image, resize
from intact_fast.data.manifest import Entry
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.evaluation import picture_source
from intact_fast.evaluation.evaluator import Evaluation, SharedFeatures, evaluate
from intact_fast.evaluation.features import extract_features, measure_queries
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.ranking import RankingResult
from intact_fast.evaluation.views import HR, LR, SR
from intact_fast.reporting.pictures import RIGHT, WRONG, save_ranked_lists, save_triptychs
from intact_fast.reporting.report import write_report
from intact_fast.reporting.tables import figures, gain_sentence, markdown_table


def source_of(setting: Setting) -> PictureSource:
    model, manifest, root = setting
    return PictureSource(root, manifest.header, model, batch_size=3, threads=2)


def run(setting: Setting, **options: object) -> Evaluation:
    gallery = options.pop("gallery", "bypass")
    return evaluate(*setting, EvaluationConfig(batch_size=3, gallery=gallery), **options)  # type: ignore[arg-type]


def test_same_manifest_same_figures(setting: Setting) -> None:
    assert figures(run(setting)) == figures(run(setting))


def test_views_differ_and_hr_queries_are_the_pictures_themselves(setting: Setting) -> None:
    model, manifest, root = setting
    entries = manifest.split("query")
    source = source_of(setting)
    hr, lr, sr = (extract_features(source, entries, view) for view in (HR, LR, SR))
    direct = model([root / entry.path for entry in entries], mode="never", normalize=False)
    torch.testing.assert_close(hr, direct, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(hr, lr)
    assert not torch.allclose(lr, sr)


@pytest.fixture
def corrupted(setting: Setting) -> Setting:
    """The same split with corrupted queries."""
    model, _, root = setting
    return model, obtain_manifest(DataConfig(dataset="folder", root=root, degradation="blind")), root


def test_corrupted_queries_have_rows_beside_the_clean_ones(setting: Setting, corrupted: Setting) -> None:
    clean, both = run(setting), run(corrupted)
    assert list(both.names.items())[3:] == [
        ("lr-corrupted", "LR queries, corrupted"),
        ("sr-corrupted", "SR queries (G), corrupted"),
    ]
    assert {name: row for name, row in figures(both)["rows"].items() if "corrupted" not in name} == figures(clean)[
        "rows"
    ]
    assert both.plain_views == ["hr", "lr", "sr"]
    assert both.quality["lr-corrupted"].psnr < both.quality["lr"].psnr


def test_corrupted_queries_are_what_their_entries_say(corrupted: Setting) -> None:
    model, manifest, root = corrupted
    queries = manifest.split("query")
    found = run(corrupted).query_features
    pictures = []
    for entry in queries:
        assert entry.corruption is not None
        small = corrupt(read_image(root / entry.path), entry.corruption)
        pictures.append(pixels(resize(small, model.size, model.interpolation)))
    x_l = model.prepare_pixels(pictures)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found["lr-corrupted"], model.embed(x_l), **close)
    torch.testing.assert_close(found["sr-corrupted"], model.embed_queries(model.generate(x_l)), **close)


def test_corrupted_rows_follow_the_views_and_need_all_queries(setting: Setting, corrupted: Setting) -> None:
    assert list(run(corrupted, views=("lr",)).rankings) == ["lr", "lr-corrupted"]
    assert list(run(corrupted, views=("hr",)).rankings) == ["hr"]
    model, manifest, root = corrupted
    first = manifest.split("query")[0]

    def with_first(**changes: None) -> Setting:
        entries = (replace(entry, **changes) if entry is first else entry for entry in manifest.entries)
        return model, replace(manifest, entries=tuple(entries)), root

    assert list(run(with_first(corruption=None), views=("lr",)).rankings) == ["lr"]
    assert "lr-corrupted" in run(with_first(r=None, corruption=None), views=("lr",)).rankings, "natively LR"


def test_one_pass_finds_what_a_pass_for_each_view_finds(setting: Setting) -> None:
    """Natively LR entries among the degraded ones have no part in the quality."""
    source, entries = source_of(setting), setting[1].split("query")
    mixed = [replace(entry, r=None) if i in (0, 4) else entry for i, entry in enumerate(entries)]
    features, quality = measure_queries(source, mixed, (HR, LR, SR), (LR, SR))
    for view in (HR, LR, SR):
        assert torch.equal(features[view.key], extract_features(source, mixed, view))
    degraded = [entry for entry in mixed if entry.r is not None]
    _, expected = measure_queries(source, degraded, (), (LR, SR))
    assert quality.keys() == expected.keys() == {"lr", "sr"}
    for view, figure in expected.items():
        assert astuple(quality[view]) == pytest.approx(astuple(figure), rel=1e-4)


def test_each_query_is_read_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(picture_source, "read_image", lambda path: read.append(path) or read_image(path))
    entries = setting[1].split("query")
    measure_queries(source_of(setting), entries, (HR, LR, SR), (LR, SR))
    assert sorted(read) == sorted(setting[2] / entry.path for entry in entries)


def test_features_do_not_depend_on_batching(setting: Setting) -> None:
    entries = setting[1].split("gallery")
    one = extract_features(replace(source_of(setting), batch_size=1, threads=1), entries, HR)
    torch.testing.assert_close(one, extract_features(source_of(setting), entries, HR), rtol=1e-4, atol=1e-5)


def test_progress_is_told_every_picture(setting: Setting) -> None:
    told: dict[str, list[int]] = {}

    @contextmanager
    def listen(name: str, total: int) -> Iterator[Callable[[int], None]]:
        told[name] = [total, 0]

        def advance(count: int) -> None:
            told[name][1] += count

        yield advance

    run(setting, progress=listen)
    queries, gallery = (len(setting[1].split(name)) for name in ("query", "gallery"))
    assert told == {"gallery": [gallery, gallery], "queries": [queries, queries]}


def test_shared_features_are_not_computed_again(setting: Setting) -> None:
    first = run(setting)
    shared = SharedFeatures(first.gallery_features, {"hr": first.query_features["hr"]})
    names: list[str] = []

    @contextmanager
    def listen(name: str, total: int) -> Iterator[Callable[[int], None]]:
        names.append(name)
        yield lambda count: None

    assert figures(run(setting, shared=shared, progress=listen)) == figures(first)
    assert names == ["queries"]
    everything = SharedFeatures(first.gallery_features, first.query_features)
    again = run(setting, shared=everything, views=("hr",), progress=listen)
    assert figures(again)["rows"].keys() == {"HR queries (upper bound)"}
    assert names == ["queries"], "nothing is read"


def test_small_gallery_pictures_pass_through_g_where_asked(setting: Setting) -> None:
    model, manifest, root = setting
    small = root / manifest.split("gallery")[0].path
    with Image.open(small) as image:
        image.resize((12, 24)).save(small)
    model.lr_height = 40
    bypassing, aware = run(setting), run(setting, gallery="auto")
    differs = (bypassing.gallery_features != aware.gallery_features).any(dim=1)
    assert differs.tolist() == [True] + [False] * (len(differs) - 1)
    expected = model([small], mode="always", normalize=False)
    torch.testing.assert_close(aware.gallery_features[:1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("world_size", [2, 3, 40])
def test_peers_find_what_one_process_finds(setting: Setting, world_size: int) -> None:
    alone, processes = run(setting), Together(world_size)
    together = run(setting, processes=processes)
    assert figures(together) == figures(alone)
    assert torch.equal(together.gallery_features, alone.gallery_features)
    for view, features in alone.query_features.items():
        assert torch.equal(together.query_features[view], features)
    assert processes.asked == 1, "one process ranks"


def with_rank1(evaluation: Evaluation, sr: list[float], pids: list[int]) -> Evaluation:
    """Queries of given people whose LR form is never found, and whose SR form is so often."""

    def ranking(rank1: list[float]) -> RankingResult:
        cmc = np.repeat(np.array(rank1)[:, None], 10, axis=1)
        return RankingResult(cmc, cmc[:, 0], cmc[:, 0], np.ones(len(rank1), bool))

    rankings = {"lr": ranking([0.0] * len(sr)), "sr": ranking(sr)}
    entries = [replace(evaluation.query_entries[0], pid=pid) for pid in pids]
    return replace(evaluation, rankings=rankings, query_entries=entries)


def test_gain_is_the_paired_difference_with_its_error_over_people(setting: Setting) -> None:
    evaluation = run(setting)
    gain = with_rank1(evaluation, [1.0, 0.0, 1.0, 1.0, 0.5, 0.0], [3, 3, 3, 5, 5, 9]).gain()
    assert gain is not None
    assert (gain.queries, gain.people) == (6, 3)
    assert gain.gain == pytest.approx(3.5 / 6)
    mean = 3.5 / 6
    sums = np.array([2.0 - 3 * mean, 1.5 - 2 * mean, 0.0 - mean])
    assert gain.standard_error == pytest.approx((3 / 2 * (sums**2).sum()) ** 0.5 / 6)
    # a query for each person: the usual error of a mean
    differences = np.array([1.0, 0.0, 0.25, 1.0])
    single = with_rank1(evaluation, differences.tolist(), [1, 2, 3, 4]).gain()
    assert single is not None
    assert single.standard_error == pytest.approx(differences.std(ddof=1) / 2)
    assert run(setting, views=("hr", "lr")).gain() is None


def test_a_gain_without_spread_has_no_standard_errors(setting: Setting) -> None:
    evaluation = run(setting)
    # people who gain as much may differ by rounding, and their queries as they like
    alike = with_rank1(evaluation, [0.3, 0.1, 0.2, 0.2, 0.1, 0.3], [1, 1, 2, 2, 3, 3])
    said = gain_sentence(alike)
    assert said is not None
    assert said.endswith("20.0 points above LR without SR on 6 queries of 3 people, and as much for each of them.")
    one = with_rank1(evaluation, [1.0, 0.0], [7, 7])
    assert "on 2 queries of one person, which tells nothing of others" in (gain_sentence(one) or "")
    assert figures(one)["gain"]["standard_error"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_generator_that_gives_no_numbers_is_told(setting: Setting, value: float) -> None:
    assert setting[0].generator is not None
    assert setting[0].generator.tail.bias is not None
    torch.nn.init.constant_(setting[0].generator.tail.bias, value)
    with pytest.raises(UserError, match="G gives NaN or infinity: its training has diverged"):
        run(setting)


@pytest.mark.parametrize("gallery", ["bypass", "auto"])
def test_a_critic_that_gives_no_numbers_is_told(setting: Setting, gallery: Literal["bypass", "auto"]) -> None:
    """By the picture, as a row of the features tells a user nothing."""
    model, manifest, root = setting
    with torch.no_grad():
        next(model.critic.fc.parameters()).fill_(float("nan"))
    first = root / manifest.split("gallery")[0].path
    with pytest.raises(UserError, match=re.escape(f"{first}: its feature is not a number")):
        run(setting, gallery=gallery)


def test_quality_of_a_perfect_generator(setting: Setting) -> None:
    """A G that returns the LR input scores as LR does; natively LR entries have no HR picture."""
    model, manifest, _ = setting
    assert model.generator is not None
    torch.nn.init.zeros_(model.generator.tail.weight)
    _, quality = measure_queries(source_of(setting), manifest.split("query"), (), (LR, SR))
    assert quality["lr"] == quality["sr"]
    assert 10 < quality["lr"].psnr < 60
    model.generator = None
    assert run(setting, views=("hr", "lr")).quality == {"lr": quality["lr"]}
    native = [replace(entry, r=None) for entry in manifest.split("query")]
    assert measure_queries(source_of(setting), native, (), (LR, SR)) == ({}, {})


def test_natively_lr_queries_have_no_hr_row_and_no_quality(setting: Setting, tmp_path: Path) -> None:
    model, manifest, root = setting
    entries = tuple(replace(entry, r=None) if entry.is_lr else entry for entry in manifest.entries)
    native = (model, replace(manifest, entries=entries), root)
    evaluation = run(native)
    assert list(evaluation.rankings) == ["lr", "sr"]
    assert evaluation.quality == {}
    assert len(markdown_table(evaluation).splitlines()) == 4
    with pytest.raises(UserError, match="--queries hr: the queries of folder are natively low-resolution"):
        run(native, views=("hr",))
    save_ranked_lists(source_of(native), evaluation, [0], tmp_path / "ranked.png")
    widths = []
    for rows_shown in (evaluation.query_entries, run(setting).query_entries):
        save_triptychs(source_of(setting), rows_shown[:2], tmp_path / "triptychs.png")
        widths.append(Image.open(tmp_path / "triptychs.png").width)
    assert widths[0] < widths[1], "no column HR"


def test_missing_picture_is_named(setting: Setting) -> None:
    _, manifest, root = setting
    victim = manifest.split("gallery")[0]
    (root / victim.path).unlink()
    with pytest.raises(UserError, match=rf"{victim.path}: listed in the manifest but missing"):
        run(setting)


def test_tables_and_report(setting: Setting, tmp_path: Path) -> None:
    evaluation = run(setting, association=True)
    table = markdown_table(evaluation)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "HR queries (upper bound)",
        "LR queries without SR",
        "INTACT",
    ]
    assert table.splitlines()[2].count("–") == 2, "HR has no PSNR and SSIM"
    assert "INTACT's Rank-1" in (gain_sentence(evaluation) or "")
    report = write_report(evaluation, tmp_path, {"checkpoint": tmp_path / "x.pt"}, ["a note"])
    assert table in report.read_text()
    assert "a note" in report.read_text()
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["rows"] == figures(evaluation)["rows"]


def test_pictures_have_right_and_wrong_frames(setting: Setting, tmp_path: Path) -> None:
    evaluation = run(setting)
    source = source_of(setting)
    save_triptychs(source, evaluation.query_entries[:3], tmp_path / "triptychs.png")
    triptychs = Image.open(tmp_path / "triptychs.png")
    save_ranked_lists(source, evaluation, [0, 1], tmp_path / "ranked.png", top=8)
    ranked = Image.open(tmp_path / "ranked.png")
    assert ranked.width > 2 * triptychs.width, "nine columns against three"
    colours = {colour for _, colour in ranked.getcolors(maxcolors=1 << 24)}
    for frame in (RIGHT, WRONG):
        assert tuple(int(frame[i : i + 2], 16) for i in (1, 3, 5)) in colours


def test_one_camera_is_refused_before_a_picture_is_read(setting: Setting) -> None:
    model, manifest, root = setting
    flat = replace(manifest, entries=tuple(replace(entry, camera=7) for entry in manifest.entries))
    with pytest.raises(UserError, match=r"no query has a match in another camera .*camera 7"):
        evaluate(model, flat, root / "nowhere", EvaluationConfig())


def test_matches_of_one_camera_count_where_they_are_kept(setting: Setting, tmp_path: Path) -> None:
    """As each query's matches stand in the other camera here, the figures are those of that rule."""
    model, manifest, root = setting
    flat = replace(manifest, entries=tuple(replace(entry, camera=7) for entry in manifest.entries))
    kept = evaluate(model, flat, root, EvaluationConfig(batch_size=3, same_camera="keep"))
    assert figures(kept)["rows"] == figures(run(setting))["rows"]
    assert "matches of the query's own camera count" in figures(kept)["protocol"]
    assert "matches of the query's own camera count" in write_report(kept, tmp_path, {}, []).read_text()
    assert "camera" not in figures(run(setting))["protocol"]


def test_no_query_says_what_to_check(setting: Setting) -> None:
    model, manifest, root = setting
    entries: tuple[Entry, ...] = tuple(entry for entry in manifest.entries if entry.split != "query")
    with pytest.raises(UserError, match="no query or no gallery picture"):
        evaluate(model, replace(manifest, entries=entries), root, EvaluationConfig())
