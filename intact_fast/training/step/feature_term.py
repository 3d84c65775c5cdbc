"""The feature term: what a critic sees of a picture, and how far it is from what C sees of the HR one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from intact_fast.config.options import FeatureForm, LossConfig
from intact_fast.losses import cosine_feature_loss, feature_loss
from intact_fast.models import OSNet


class Seen(NamedTuple):
    """A critic's view of N pictures, float32."""

    f_c: Tensor
    """N×512."""
    feature_map: Tensor | None
    """The last feature map, N×C×H/16×W/16; None where no term needs it."""


def needs_map(weights: LossConfig) -> bool:
    """Whether the feature term compares feature maps."""
    return weights.feature == "map" and weights.lambda_f != 0


def look(critic: OSNet, pictures: Tensor, with_map: bool) -> Seen:
    """Let a critic look at pictures (N×3×H×W)."""
    if not with_map:
        return Seen(critic.embed(pictures).float(), None)
    feature_map = critic.feature_map(pictures)
    return Seen(critic.embed_map(feature_map).float(), feature_map.float())


def feature_term(form: FeatureForm, query: Seen, target: Seen) -> Tensor:
    """L_f of super-resolved pictures.

    Args:
        form: As ``loss.feature``.
        query: What the critic of the queries sees of G's pictures.
        target: What C sees of the HR pictures; a constant here.

    Returns:
        Scalar, unweighted.
    """
    if form == "cosine":
        return cosine_feature_loss(query.f_c, target.f_c)
    loss = feature_loss(query.f_c, target.f_c)
    if form == "map":
        assert query.feature_map is not None
        assert target.feature_map is not None
        loss = loss + feature_loss(query.feature_map, target.feature_map)
    return loss
