"""Who trains and who is tested, where a data set leaves it open."""

from __future__ import annotations

import numpy as np

from intact_fast.data.catalogue import Catalogue

_HALVES = 0
"""Stream of this draw, beside those of `splits`."""


def halve_people(catalogue: Catalogue, seed: int) -> tuple[set[int], set[int]]:
    """Give training and test identities; those that the data set left open are halved at random."""
    train = {p.pid for p in catalogue.pictures if p.subset in ("train", "val")}
    test = {p.pid for p in catalogue.pictures if p.subset in ("test", "query", "gallery")}
    undecided = sorted({p.pid for p in catalogue.pictures if p.subset == "all"})
    shuffled = np.random.default_rng([seed, _HALVES]).permutation(undecided).tolist()
    half = len(shuffled) // 2
    return train | set(shuffled[:half]), test | set(shuffled[half:])
