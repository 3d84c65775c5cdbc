"""Recipes are changes of one configuration, and the tables name them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from intact_fast.config.checks import check_config
from intact_fast.config.command_line import to_dict
from intact_fast.config.options import AssociationConfig
from intact_fast.config.presets import CPU, FAST, PAPER
from intact_fast.errors import UserError
from intact_fast.experiments.paper_tables import TABLES
from intact_fast.experiments.recipes import CONTROLS, RECIPES, SAME_AS, apply, find_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_changes_what_it_names_and_can_run(name: str) -> None:
    changed: set[str] = set()
    # whatever the rows have in common, a row is what its name says
    otherwise = AssociationConfig(direction="common-space", bridge=False, predictor="mean")
    trained = replace(CPU, critic=replace(CPU.critic, query="joint"), loss=replace(CPU.loss, lambda_f=0.5))
    for preset in (PAPER, FAST, CPU, trained, replace(PAPER, association=otherwise)):
        base = replace(preset, critic=replace(preset.critic, init=Path("C")))
        before, after = to_dict(base), to_dict(apply(name, base))
        changed |= {
            f"{section}.{option}"
            for section, options in after.items()
            if isinstance(options, dict)
            for option, value in options.items()
            if value != before[section][option]
        }
        if preset.association != otherwise or "association.direction" in RECIPES[name].changes:
            check_config(apply(name, base))
    assert changed == set(RECIPES[name].changes) | set(RECIPES[name].defaults)


def test_the_rows_differ_in_one_loss_after_the_other() -> None:
    weights = {name: apply(name, PAPER).loss for name in ("sole-sr", "mse+id", "mse+id+gan", "intact")}
    assert [(w.lambda_c > 0, w.lambda_g > 0, w.lambda_dis > 0) for w in weights.values()] == [
        (False, False, False),
        (True, False, False),
        (True, True, False),
        (True, True, True),
    ]


def test_what_goes_beyond_the_paper_is_off_in_its_preset() -> None:
    for name in ("intact+skip", "intact+average", "intact+crop", "intact+wide-r"):
        assert apply(name, PAPER) != PAPER
    assert apply("intact", PAPER) == PAPER


def test_tables_and_controls_name_recipes() -> None:
    for number, table in TABLES.items():
        names = {recipe for _, recipe in table.rows}
        assert names <= RECIPES.keys(), number
        for figures in table.figures.values():
            assert figures.keys() == names
    assert set(CONTROLS) | set(SAME_AS.values()) <= RECIPES.keys()


@pytest.mark.parametrize(
    ("name", "weight"), [("mse+id", "lambda_c"), ("mse+id+gan", "lambda_g"), ("no-bridge", "lambda_dis")]
)
def test_a_term_without_weight_is_refused_where_the_recipe_is_about_it(name: str, weight: str) -> None:
    base = replace(PAPER, loss=replace(PAPER.loss, **{weight: 0.0}))
    with pytest.raises(UserError, match=rf"--loss\.{weight.replace('_', '-')} 0: recipe {re.escape(name)}"):
        apply(name, base)
    assert apply("sole-sr", base)


def test_a_default_leaves_what_the_user_chose() -> None:
    base = replace(PAPER, loss=replace(PAPER.loss, lambda_f=3.0), generator=replace(PAPER.generator, ema_decay=0.999))
    for given, (weight, decay) in ((base, (3.0, 0.999)), (PAPER, (1.0, 0.97))):
        config = apply("small+query-critic", given)
        assert (config.loss.lambda_f, config.generator.ema_decay) == (weight, decay)


def test_rows_on_top_of_one_another_differ_in_what_they_name() -> None:
    best, gan, intact, matching = (
        apply(f"small+query-critic{name}", CPU) for name in ("", "+gan", "+intact", "+feature-matching")
    )
    assert replace(best, loss=intact.loss) == intact
    assert replace(gan, loss=intact.loss) == intact
    assert replace(matching, association=intact.association) == intact
    own, other = (apply(name, CPU) for name in ("projection", "projection-other"))
    assert replace(own, discriminator=other.discriminator) == other


def test_names() -> None:
    assert find_recipe("sr+id") == "mse+id"
    assert find_recipe("r-to-d") == "intact"
    with pytest.raises(UserError, match="--recipes magic: no such recipe; use some of lr"):
        find_recipe("magic")
