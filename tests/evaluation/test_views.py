"""Names of rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact_fast.config.options import Config
from intact_fast.evaluation.views import HR, LR, SR, had_association, name_of_served, of_corrupted
from intact_fast.models import Generator, LightGenerator, build_osnet
from intact_fast.serving.sr_reid import SRReID


@pytest.mark.parametrize(
    ("arch", "query", "without", "with_association"),
    [
        ("paper", False, "SR queries (G)", "INTACT"),
        ("paper", True, "SR queries (G and C_q)", "INTACT (G and C_q)"),
        ("light", False, "SR queries (light G)", "INTACT (light G)"),
        ("light", True, "SR queries (light G and C_q)", "INTACT (light G and C_q)"),
        ("none", True, "SR queries (C_q alone, no G)", "SR queries (C_q alone, no G)"),
        ("none", False, "SR queries (C alone, no G)", "SR queries (C alone, no G)"),
    ],
)
def test_the_row_is_named_by_what_serves_it(arch: str, query: bool, without: str, with_association: str) -> None:
    generators = {"paper": Generator((4, 4, 4, 4)), "light": LightGenerator(8, 1, 4), "none": None}
    critics = [build_osnet("osnet_x0_25", 2) for _ in range(1 + query)]
    model = SRReID(critics[0], generators[arch], (48, 32), query_critic=critics[-1] if query else None)
    assert name_of_served(model, association=False) == without
    assert name_of_served(model, association=True) == with_association


def test_the_association_took_part_where_it_has_a_weight_and_predicts() -> None:
    config = Config()
    assert had_association(config)
    assert not had_association(replace(config, loss=replace(config.loss, lambda_dis=0.0)))
    assert not had_association(replace(config, association=replace(config.association, predictor="mean")))


def test_rows_of_corrupted_queries() -> None:
    assert of_corrupted(HR) == []
    (lr,), (sr,) = of_corrupted(LR), of_corrupted(replace(SR, name="INTACT"))
    assert (lr.key, lr.name, lr.variant, lr.served) == ("lr-corrupted", "LR queries, corrupted", "corrupted", False)
    assert (sr.key, sr.name, sr.variant, sr.served) == ("sr-corrupted", "INTACT, corrupted", "corrupted", True)
