"""Queries of people whom one camera alone has seen, where matches of the query's own camera count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intact_fast.data.catalogue import Catalogue, Picture

_HALVES = 6
"""Stream of the draws, beside those of `splits`."""


def draw_queries(catalogue: Catalogue, lr_camera: str, seed: int) -> Mapping[str, bool]:
    """Halve the pictures of each person of one camera: the smaller half are queries, the others the gallery.

    People of several cameras keep the rule of the LR camera, and fixed queries and galleries stay what they are. A
    person's one picture is a gallery picture.

    Args:
        catalogue: Who has which pictures; one with natively LR pictures has a rule of its own.
        lr_camera: ``--data.lr-camera``; where it names a camera, people of that one alone have queries.
        seed: Seed of the draws. Each person's own does not depend on who else is there.

    Returns:
        Whether it is a query, for the path of each picture of such people.
    """
    if catalogue.natively_lr:
        return {}
    by_person: dict[tuple[int, bool], list[Picture]] = {}
    for picture in catalogue.pictures:
        if picture.subset not in ("query", "gallery"):
            by_person.setdefault((picture.pid, picture.subset == "test"), []).append(picture)
    drawn: dict[str, bool] = {}
    for (pid, _), pictures in by_person.items():
        cameras = {picture.camera for picture in pictures}
        if len(cameras) > 1 or (lr_camera.isdecimal() and int(lr_camera) not in cameras):
            continue
        order = np.random.default_rng([seed, _HALVES, pid]).permutation(len(pictures))
        queries = set(order[: len(pictures) // 2].tolist())
        drawn |= {picture.path: number in queries for number, picture in enumerate(pictures)}
    return drawn
