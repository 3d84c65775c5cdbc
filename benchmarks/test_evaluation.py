"""Time of the evaluation engine against plain Python and numpy, and how it grows; and of reading its queries.

Random features with the sizes of Market-1501: 3,368 queries, 15,913 gallery pictures, 751 identities of which 2,798
pictures are distractors. ``good`` features find most matches, ``poor`` ones few (their lists are longer to search).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.ranking_baselines import dense_reranking, numpy_counting, numpy_sorting, plain_python
from benchmarks.setup import device_of, pictures_like_market, synchronise
from intact_fast import SRReID
from intact_fast.data.degradation import downsample, read_image
from intact_fast.data.manifest import Entry, Header
from intact_fast.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from intact_fast.evaluation.distances import distance_blocks
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.ranking import RankingResult, evaluate_distances, evaluate_ranking
from intact_fast.evaluation.reranking import Reranking, reranked_blocks
from intact_fast.models import build_osnet

QUERIES, GALLERY, PEOPLE, DISTRACTORS, CAMERAS, WIDTH = 3_368, 15_913, 751, 2_798, 6, 512
NOISE = {"good": 1.8, "poor": 3.0}
SUBSET = 200
MAX_RANK = 50
QUERY_PICTURES, QUERY_BATCH, READERS = 512, 64, min(8, os.cpu_count() or 1)

Ids = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@cache
def market(kind: str, queries: int = QUERIES, gallery: int = GALLERY) -> tuple[torch.Tensor, torch.Tensor, Ids]:
    random = np.random.default_rng(0)
    centres = random.standard_normal((PEOPLE, WIDTH), dtype=np.float32)
    qp, gp = random.integers(1, PEOPLE, queries), random.integers(1, PEOPLE, gallery)
    gp[: gallery * DISTRACTORS // GALLERY] = 0
    features = []
    for pids in (qp, gp):
        noise = random.standard_normal((len(pids), WIDTH), dtype=np.float32)
        features.append(torch.from_numpy(centres[pids] * (pids > 0)[:, None] + np.float32(NOISE[kind]) * noise))
    camids = random.integers(0, CAMERAS, queries), random.integers(0, CAMERAS, gallery)
    return features[0], features[1], (qp, gp, *camids)


@cache
def market_distances(kind: str) -> tuple[np.ndarray, Ids]:
    query, gallery, ids = market(kind)
    return np.concatenate([block for _, block in distance_blocks(query, gallery)]), ids


def engine(protocol: str, **options: int) -> Callable[..., RankingResult]:
    def run(distances: np.ndarray, *ids: np.ndarray) -> RankingResult:
        return evaluate_distances(distances, *ids, protocol=protocol, max_rank=MAX_RANK, distractor_pid=0, **options)

    return run


def measure(benchmark: BenchmarkFixture, group: str, row: str, function: Callable[[], object], rounds: int = 5) -> None:
    benchmark.group = group
    benchmark.extra_info["row"] = row
    benchmark.pedantic(function, rounds=rounds, warmup_rounds=1 if rounds > 1 else 0)


@pytest.mark.parametrize("form", ["one pass", "a pass for each use"])
def test_query_pictures(benchmark: BenchmarkFixture, tmp_path: Path, form: str) -> None:
    """Prepared batches on the device of queries that are wanted as HR and LR, super-resolved, and for PSNR and SSIM."""
    paths = pictures_like_market(tmp_path, QUERY_PICTURES)
    rows = [Entry(path.name, i, 1, "query", True, 2 + i % 3) for i, path in enumerate(paths)]
    device = device_of()
    model = SRReID(build_osnet("osnet_x0_25", 1)).to(device)
    header = Header("folder", 0, "bilinear", None, 1, None)
    source = PictureSource(tmp_path, header, model, QUERY_BATCH, READERS)

    def one_pass() -> list[tuple[torch.Tensor, torch.Tensor]]:
        batches = source.batches_of_variants(rows, ("hr", "lr"))
        return [(batch.pictures["hr"], batch.pictures["lr"]) for batch in batches]

    def each_use() -> list[torch.Tensor]:
        # HR features, LR features, SR features, and both sides of the comparison
        return [x for degraded in (False, True, True, True, False) for x in plain_batches(source, rows, degraded)]

    once = one_pass()
    plain = each_use()
    torch.testing.assert_close(torch.cat([x_h for x_h, _ in once]), torch.cat(plain[: len(once)]))
    torch.testing.assert_close(torch.cat([x_l for _, x_l in once]), torch.cat(plain[len(once) : 2 * len(once)]))

    def run() -> None:
        one_pass() if form == "one pass" else each_use()
        synchronise(device)

    benchmark.extra_info |= {"pictures": QUERY_PICTURES, "threads": READERS, "device": str(device)}
    measure(benchmark, "reading queries for an evaluation, 256x128", form, run)


def plain_batches(source: PictureSource, rows: list[Entry], degraded: bool) -> Iterator[torch.Tensor]:
    """What one writes first: a float tensor of each picture, made in threads."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def read(row: Entry) -> torch.Tensor:
        image = read_image(source.path(row))
        if degraded:
            assert row.r is not None
            image = downsample(image, row.r, source.header.interpolation)
        height, width = source.model.size
        array = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        return (torch.from_numpy(array).permute(2, 0, 1).contiguous().float().div(255) - mean) / std

    with ThreadPoolExecutor(source.threads) as pool:
        for start in range(0, len(rows), source.batch_size):
            batch = torch.stack(list(pool.map(read, rows[start : start + source.batch_size])))
            yield batch.to(source.model.device).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("form", ["engine", "engine, 1 thread", "numpy counting", "numpy sorting"])
@pytest.mark.parametrize("kind", NOISE)
def test_multi_shot(benchmark: BenchmarkFixture, kind: str, form: str) -> None:
    distances, ids = market_distances(kind)
    baseline = {"numpy counting": numpy_counting, "numpy sorting": numpy_sorting}.get(form)
    result = engine("multi-shot")(distances, *ids)
    benchmark.extra_info["rank-1"] = round(float(result.cmc[0]), 3)
    group = f"multi-shot CMC and mAP from distances, Market-1501 size, {kind} features"
    if baseline is None:
        run = engine("multi-shot", threads=1 if "1" in form else 0)
        measure(benchmark, group, form, lambda: run(distances, *ids))
        return
    cmc, mean_ap = baseline(distances[:SUBSET], ids[0][:SUBSET], ids[1], ids[2][:SUBSET], ids[3], MAX_RANK)
    ours = engine("multi-shot")(distances[:SUBSET], ids[0][:SUBSET], ids[1], ids[2][:SUBSET], ids[3])
    # Sorting leaves the few exact ties to the gallery's order.
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-12)
    np.testing.assert_allclose(ours.mean_ap, mean_ap, rtol=1e-12 if baseline is numpy_counting else 1e-5)
    measure(benchmark, group, form, lambda: baseline(distances, *ids, MAX_RANK), rounds=3)


@pytest.mark.parametrize("form", ["engine", "plain Python"])
def test_multi_shot_against_plain_python(benchmark: BenchmarkFixture, form: str) -> None:
    """On some of the queries only: the loop would take a minute for all."""
    distances, (qp, gp, qc, gc) = market_distances("good")
    arguments = distances[:SUBSET], qp[:SUBSET], gp, qc[:SUBSET], gc
    ours, (cmc, mean_ap) = engine("multi-shot")(*arguments), plain_python(*arguments, MAX_RANK)
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-12)
    np.testing.assert_allclose(ours.mean_ap, mean_ap, rtol=1e-12)
    group = f"multi-shot CMC and mAP from distances, {SUBSET} queries on the gallery of Market-1501"
    if form == "engine":
        measure(benchmark, group, form, lambda: engine("multi-shot")(*arguments), rounds=15)
    else:
        measure(benchmark, group, form, lambda: plain_python(*arguments, MAX_RANK), rounds=3)


@pytest.mark.parametrize("part", ["distances", "exact", "sampled x10", "sampled x100"])
@pytest.mark.parametrize("kind", NOISE)
def test_single_shot(benchmark: BenchmarkFixture, kind: str, part: str) -> None:
    """The protocols' own time, AP and INP included, beside that of the distances."""
    query, gallery, _ = market(kind)
    distances, ids = market_distances(kind)
    if part == "distances":

        def run() -> object:
            return [None for _ in distance_blocks(query, gallery)]
    else:
        repeats = int(part.split("x")[1]) if "sampled" in part else 1
        score = engine("sampled" if "sampled" in part else "single-shot", repeats=repeats)

        def run() -> object:
            return score(distances, *ids)

    measure(benchmark, f"single-shot, Market-1501 size, {kind} features", part, run)


@pytest.mark.parametrize("form", ["engine", "dense numpy"])
def test_reranking(benchmark: BenchmarkFixture, form: str) -> None:
    """The engine's time has the distances in it, that of the dense form has not."""
    query, gallery, _ = market("good", 500, 3_000)
    pairs = (query, gallery), (query, query), (gallery, gallery)
    matrices = [np.concatenate([block for _, block in distance_blocks(a, b)]) for a, b in pairs]

    def ours() -> np.ndarray:
        return np.concatenate([block for _, block in reranked_blocks(query, gallery)])

    group = "k-reciprocal re-ranking, 500 queries, 3,000 gallery pictures"
    if form == "engine":
        np.testing.assert_allclose(ours(), dense_reranking(*matrices), atol=1e-5)
        measure(benchmark, group, form, ours, rounds=3)
    else:
        measure(benchmark, group, form, lambda: dense_reranking(*matrices), rounds=1)


def test_reranking_at_market_size(benchmark: BenchmarkFixture) -> None:
    query, gallery, ids = market("good")

    def run() -> RankingResult:
        return evaluate_ranking(query, gallery, *ids, protocol="multi-shot", reranking=Reranking())

    measure(benchmark, "re-ranked evaluation from features, Market-1501 size", "engine", run, rounds=1)


@pytest.mark.parametrize("protocol", ["multi-shot", "single-shot"])
@pytest.mark.parametrize("gallery_size", [1_000, 3_000, 10_000, 30_000, 100_000, 200_000])
def test_growth_with_the_gallery(benchmark: BenchmarkFixture, gallery_size: int, protocol: str) -> None:
    query, gallery, ids = market("good", 1_000, gallery_size)

    def run() -> RankingResult:
        return evaluate_ranking(query, gallery, *ids, protocol=protocol, distractor_pid=0)

    group = f"{protocol} evaluation from features, 1,000 queries, by gallery"
    measure(benchmark, group, str(gallery_size), run, rounds=2)
    market.cache_clear()


def test_peak_memory(benchmark: BenchmarkFixture) -> None:
    """10,000 queries on 200,000 gallery pictures, exact single-shot CMC and mAP, in a process of its own."""

    def run() -> str:
        command = [sys.executable, "-m", "benchmarks.evaluation_memory"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    benchmark.group = "whole process, 10,000 queries on 200,000 gallery pictures"
    benchmark.extra_info["row"] = "engine"
    benchmark.extra_info |= json.loads(benchmark.pedantic(run, rounds=1))
