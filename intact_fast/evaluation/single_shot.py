"""Single-shot CMC: every gallery identity keeps one random picture.

Exact, as the expectation over all draws, and sampled, as an average over some draws. In both a tie in
distance counts against the query, whatever the order of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Identities:
    """The gallery pictures grouped by identity.

    Attributes:
        labels: G integers: the group of each picture, or J for a picture that takes no part.
        sizes: J integers: pictures per group.
    """

    labels: np.ndarray
    sizes: np.ndarray


def group_identities(pids: np.ndarray, dropped: np.ndarray, loners: np.ndarray) -> Identities:
    """Groups the gallery by pid.

    Args:
        pids: G integers.
        dropped: G booleans: pictures that take no part.
        loners: G booleans: pictures that are each an identity of their own, whatever their pid.
    """
    labels = np.full(len(pids), -1, dtype=np.int64)
    people = ~dropped & ~loners
    _, labels[people] = np.unique(pids[people], return_inverse=True)
    loners = loners & ~dropped
    labels[loners] = labels.max(initial=-1) + 1 + np.arange(loners.sum())
    sizes = np.bincount(labels[labels >= 0])
    labels[labels < 0] = len(sizes)
    return Identities(labels, sizes)


def exact_cmc(
    beats_from: np.ndarray, identities: Identities, own: int, positives: int, max_rank: int
) -> np.ndarray:
    """The expected single-shot CMC of one query, in closed form.

    With a positive at distance d kept, any other identity beats it with probability (its pictures at
    distance ≤ d)/(its pictures), independently of the rest; the rank is 1 plus the number that do, which is
    Poisson-binomial. The result averages over the positives, each as likely to be the one kept.

    Args:
        beats_from: G integers: picture g beats or ties the positives of index ≥ ``beats_from[g]``, the
            positives being sorted by distance.
        identities: The groups of the gallery.
        own: The query's own group.
        positives: P, the number of positives, at least 1.
        max_rank: K.

    Returns:
        K float64 probabilities of a match within rank 1 to K.
    """
    groups = len(identities.sizes)
    cells = np.bincount(
        identities.labels * (positives + 1) + beats_from, minlength=(groups + 1) * (positives + 1)
    )
    winners = cells.reshape(groups + 1, positives + 1)[:groups, :positives].cumsum(axis=1)
    winners[own] = 0

    certain = winners == identities.sizes[:, None]
    surely_ahead = certain.sum(axis=0)
    reachable = surely_ahead < max_rank
    if not reachable.any():
        return np.zeros(max_rank)
    open_ = (winners > 0) & ~certain & reachable
    probabilities = np.where(open_, winners / identities.sizes[:, None], 0)[open_.any(axis=1)][:, reachable]

    # ahead[k, p]: probability that exactly k identities are ahead of positive p. Mass pushed past
    # max_rank is beyond every rank asked for and never comes back.
    count = int(reachable.sum())
    ahead = np.zeros((max_rank, count))
    ahead[surely_ahead[reachable], np.arange(count)] = 1
    for probability in probabilities:
        moved = ahead * probability
        ahead -= moved
        ahead[1:] += moved[:-1]
    # A sum of rounded probabilities may end a few ulp above 1.
    return np.minimum(ahead.sum(axis=1).cumsum() / positives, 1)


@dataclass(frozen=True, eq=False)
class Draws:
    """Random single-shot galleries.

    Attributes:
        kept: R×J integers: the picture each group keeps in each repeat.
        position: R×G integers: each picture's place in the repeat's shuffle.
    """

    kept: np.ndarray
    position: np.ndarray


def draw_galleries(identities: Identities, repeats: int, seed: int) -> Draws:
    """Draws one gallery per repeat.

    Each repeat shuffles the whole gallery and every identity keeps the first of its pictures. Where that
    picture is junk to a query, `sampled_cmc` takes the identity's next one in the same shuffle, so that
    each picture that is not junk is equally likely for every query. The draws depend on the seed, the
    number of repeats and the order of the gallery alone: two methods are compared on the same draws.
    """
    random = np.random.default_rng(seed)
    groups = len(identities.sizes)
    kept = np.empty((repeats, groups), dtype=np.int64)
    position = np.empty((repeats, len(identities.labels)), dtype=np.int64)
    for repeat in range(repeats):
        order = random.permutation(len(identities.labels))
        _, first = np.unique(identities.labels[order], return_index=True)
        kept[repeat] = order[first[:groups]]
        position[repeat, order] = np.arange(len(order))
    return Draws(kept, position)


def sampled_cmc(
    distances: np.ndarray, draws: Draws, own: int, positives: np.ndarray, max_rank: int
) -> np.ndarray:
    """The single-shot CMC of one query, averaged over drawn galleries.

    Args:
        distances: G distances.
        draws: The galleries.
        own: The query's own group.
        positives: Indices of the query's positives, at least 1.
        max_rank: K.

    Returns:
        K float64 shares of the draws with a match within rank 1 to K.
    """
    match = positives[draws.position[:, positives].argmin(axis=1)]
    beats = distances[draws.kept] <= distances[match][:, None]
    beats[:, own] = False
    return (beats.sum(axis=1)[:, None] < np.arange(1, max_rank + 1)).mean(axis=0)
