"""Score the features of any model with the ranking engine: Rank-k, mAP and mINP, with and without re-ranking.

A folder holds six arrays: ``query.npy`` and ``gallery.npy`` (a row of features per picture), ``query_pids.npy``,
``gallery_pids.npy``, ``query_camids.npy`` and ``gallery_camids.npy`` (integers). Without a folder features are drawn.

    python examples/score_any_model.py features/ --metric cosine
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intact_fast import UserError
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.evaluation.reranking import Reranking

NAMES = ("query", "gallery", "query_pids", "gallery_pids", "query_camids", "gallery_camids")


def draw_features(people: int = 100) -> list[np.ndarray]:
    """Draw a query and ten gallery pictures of each person: a point for the person, and noise for the picture."""
    rng = np.random.default_rng(0)
    query_pids, gallery_pids = np.arange(people), np.repeat(np.arange(people), 10)
    person = rng.normal(size=(people, 512))
    query, gallery = (person[pids] + 3 * rng.normal(size=(len(pids), 512)) for pids in (query_pids, gallery_pids))
    return [query, gallery, query_pids, gallery_pids, np.full(len(query), 1), np.full(len(gallery), 2)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Score one set of features under two protocols, before and after re-ranking."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the arrays; none draws features")
    parser.add_argument("--metric", choices=["euclidean", "cosine"], default="euclidean")
    options = parser.parse_args(arguments)
    try:
        arrays = [np.load(options.folder / f"{name}.npy") for name in NAMES] if options.folder else draw_features()
    except (OSError, ValueError) as error:
        raise UserError(f"{options.folder}: not the arrays {', '.join(NAMES)} ({error})") from error

    print(f"{len(arrays[0])} queries, {len(arrays[1])} gallery pictures, {options.metric} distance")
    print(f"{'protocol':<12} {'re-ranked':<10} {'Rank-1':>7} {'Rank-5':>7} {'mAP':>7} {'mINP':>7}")
    # Multi-shot ranks the whole gallery. Single-shot keeps one random picture of each person: here the exact mean
    # over all draws. The protocol changes Rank-k; mAP and mINP are multi-shot in both.
    for protocol in ("multi-shot", "single-shot"):
        for reranking in (None, Reranking(k1=20, k2=6, weight=0.3)):
            result = evaluate_ranking(*arrays, protocol=protocol, metric=options.metric, reranking=reranking)
            figures = (result.cmc[0], result.cmc[4], result.mean_ap, result.mean_inp)
            print(f"{protocol:<12} {'yes' if reranking else 'no':<10}", *(f"{100 * value:>7.1f}" for value in figures))


if __name__ == "__main__":
    try:
        main()
    except (UserError, ValueError) as error:  # The engine raises ValueError for arrays that do not fit together.
        sys.exit(f"error: {error}")
