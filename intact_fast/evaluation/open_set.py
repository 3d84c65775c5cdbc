"""Open-set identification: how often a search finds its person, and how often it names somebody for a stranger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intact_fast.evaluation.verification import PairSimilarities
from intact_fast.serving.thresholds import RATES, supports


@dataclass(frozen=True)
class Identification:
    """A threshold of the best similarity of a search.

    The terms are those of ISO/IEC 19795-1 and of NIST's FRTE 1:N:

    * FPIR(N, T), the false-positive identification rate: the share of non-mated searches that return one or more
      candidates above the threshold T. Each query is such a search once, with its person left out of the gallery.
    * FNIR(N, 1, T), the false-negative identification rate: the share of mated searches, whose person is in the
      gallery, in which that person is not the first candidate, or not above T.
    * DIR, the detection and identification rate at rank 1: 1 - FNIR(N, 1, T).

    Both grow or shrink with the number N of people in the gallery. A false match at the similarity of the best match
    is taken for the first candidate, as in the ranking.

    Attributes:
        rate: FPIR that may be reached.
        similarity: The smallest such threshold, a cosine.
        false_positive_rate: FPIR that it has, at most ``rate``.
        detection_rate: DIR that it has.
    """

    rate: float
    similarity: float
    false_positive_rate: float
    detection_rate: float


def identifications(pairs: PairSimilarities, rates: Sequence[float] = RATES) -> list[Identification]:
    """Find the smallest thresholds whose FPIR is not above those asked for, and their DIR.

    Rates at which the queries are too few to expect ten false positives are left out.

    Args:
        pairs: From `pair_similarities`.
        rates: FPIR, above 0 and below 1.
    """
    strangers, count = np.sort(pairs.best_non_matches), len(pairs.best_non_matches)
    first = pairs.best_matches > pairs.best_non_matches
    result = []
    for rate in rates:
        if not supports(rate, count):
            continue
        # the first search for a stranger that must stay without a candidate
        limit = strangers[-1 - math.floor(rate * count)]
        false_positive = float(np.mean(pairs.best_non_matches > limit))
        detected = float(np.mean(first & (pairs.best_matches > limit)))
        result.append(Identification(rate, float(limit), false_positive, detected))
    return result
