"""Recipes: the training of each row of the paper's tables, and of the controls that a gain is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from intact_fast.config.options import Config
from intact_fast.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """One way to train, as changes of a configuration.

    Attributes:
        description: What it is, in a few words.
        changes: Values by the dotted names of options.
        defaults: Values of options that the configuration leaves at 0 or none.
        trains: ``generator`` runs Algorithm 1, ``critic`` fine-tunes C alone, ``nothing`` evaluates the shared C.
    """

    description: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    trains: Literal["generator", "critic", "nothing"] = "generator"


_NO_ASSOCIATION = {"loss.lambda_dis": 0.0}
# what a row's name says must hold whatever the rows have in common
_R_TO_D = {"association.direction": "r-to-d", "association.bridge": True, "association.predictor": "phi"}
_WITHOUT_D = {**_NO_ASSOCIATION, "loss.lambda_g": 0.0}
_G_ALONE = {"critic.query": "off"}
_WITH_C_Q = {"critic.query": "joint"}
_AVERAGE = {"generator.ema_decay": 0.97}
_FEATURE = {"loss.lambda_f": 1.0, **_AVERAGE}


_NOTHING: dict[str, Any] = {}


def _paper(description: str, changes: Mapping[str, Any], defaults: Mapping[str, Any] = _NOTHING) -> Recipe:
    """Train the paper's terms alone, whatever the configuration has beyond them."""
    return Recipe(description, {**_G_ALONE, "loss.lambda_f": 0.0, **changes}, defaults)


RECIPES: dict[str, Recipe] = {
    "lr": Recipe("LR queries without SR: the frozen C alone", trains="nothing"),
    "critic-mlr": Recipe(
        "no SR: C fine-tuned on pictures of which half are degraded",
        {"critic.degraded": 0.5, "critic.keep_classifier": True, "critic.learning_rate": 3e-4},
        trains="critic",
    ),
    "sole-sr": _paper("MSE alone", {**_NO_ASSOCIATION, "loss.lambda_g": 0.0, "loss.lambda_c": 0.0}),
    "mse+id": _paper("MSE and identity", {**_NO_ASSOCIATION, "loss.lambda_g": 0.0}),
    "mse+id+gan": _paper("MSE, identity and GAN (Eq. 4)", _NO_ASSOCIATION),
    "intact": _paper("MSE, identity, GAN and association, from f_c to f_d, with the bridge", _R_TO_D),
    "d-to-r": _paper("association from f_d to f_c (Fig. 5 b)", {**_R_TO_D, "association.direction": "d-to-r"}),
    "common-space": _paper(
        "f_c and f_d in a common space (Fig. 5 a)", {**_R_TO_D, "association.direction": "common-space"}
    ),
    "no-bridge": _paper("association without L_e (Fig. 5 d)", {**_R_TO_D, "association.bridge": False}),
    "feature-matching": _paper(
        "control: L_dis with the running mean of f_d(x_h) in place of φ(f_c), weighted as in intact",
        {**_R_TO_D, "association.predictor": "mean"},
    ),
    "intact-f_d": _paper("L_dis trains G through f_d alone", {**_R_TO_D, "association.dis_gradient": "f_d"}),
    "intact-f_c": _paper("L_dis trains G through f_c alone", {**_R_TO_D, "association.dis_gradient": "f_c"}),
    "intact+floor": _paper(
        "L_dis trains G only while it is larger than on HR pictures",
        {**_R_TO_D, "association.dis_floor": "hr"},
    ),
    "intact+skip": _paper(
        "skip connections and a global residual in G",
        {**_R_TO_D, "generator.skip": "add", "generator.global_residual": True},
    ),
    "intact-skip": _paper(
        "G without skip connections and global residual, as the paper's",
        {**_R_TO_D, "generator.skip": "none", "generator.global_residual": False},
    ),
    "intact+average": _paper("an averaged G is evaluated", {**_R_TO_D, "generator.ema_decay": 0.97}),
    "intact+crop": _paper("pad-and-crop by 4 pixels", {**_R_TO_D, "data.pad": 4, "training.f_c_table": False}),
    "intact+gallery": _paper(
        "gallery pictures that are natively low-resolution pass through G, too",
        {**_R_TO_D, "evaluation.gallery": "auto"},
    ),
    "intact+wide-r": _paper("trained on r from 2 to 8", {**_R_TO_D, "data.factors": (2, 3, 4, 6, 8)}),
    "feature": Recipe("MSE and feature term, no labels", {**_WITHOUT_D, **_G_ALONE, "loss.lambda_c": 0.0}, _FEATURE),
    "mse+id+feature": Recipe("MSE, identity and feature term", {**_WITHOUT_D, **_G_ALONE}, _FEATURE),
    "light": Recipe(
        "the light G: MSE, identity and feature term", {**_WITHOUT_D, **_G_ALONE, "generator.arch": "light"}, _FEATURE
    ),
    "query-critic": Recipe(
        "C_q alone, no G: identity and feature term", {**_WITHOUT_D, **_WITH_C_Q, "generator.arch": "none"}, _FEATURE
    ),
    "light+query-critic": Recipe(
        "the light G and C_q: MSE, identity and feature term",
        {**_WITHOUT_D, **_WITH_C_Q, "generator.arch": "light"},
        _FEATURE,
    ),
    "small+query-critic": Recipe(
        "the configuration's own G and C_q: MSE, identity and feature term", {**_WITHOUT_D, **_WITH_C_Q}, _FEATURE
    ),
    "small+query-critic+intact": Recipe(
        "C_q and feature term on top of INTACT's terms", {**_R_TO_D, **_WITH_C_Q}, _FEATURE
    ),
    "small+query-critic+gan": Recipe(
        "control: MSE, identity, feature term, GAN and C_q, without association",
        {**_NO_ASSOCIATION, **_WITH_C_Q},
        _FEATURE,
    ),
    "small+query-critic+feature-matching": Recipe(
        "control: C_q and feature term on top of feature-matching's terms",
        {**_R_TO_D, **_WITH_C_Q, "association.predictor": "mean"},
        _FEATURE,
    ),
    "intact+update-d": _paper(
        "L_dis trains D, too (section 3.2's sentence)",
        {**_R_TO_D, "association.dis_updates_discriminator": True},
        _AVERAGE,
    ),
    "projection": _paper(
        "MSE, identity and the GAN of a projection discriminator D(x, f_c(x_h)), without φ",
        {**_NO_ASSOCIATION, "discriminator.condition": "own"},
        _AVERAGE,
    ),
    "projection-other": _paper(
        "control: D of projection, given f_c of another picture",
        {**_NO_ASSOCIATION, "discriminator.condition": "other"},
        _AVERAGE,
    ),
}
"""By name. The rows of the paper first, then controls, then what goes beyond it (off in preset `paper`)."""

SAME_AS = {"sr+id": "mse+id", "r-to-d": "intact", "bridge": "intact"}
"""Other names: Table 2's SR+ID is Table 3's MSE+ID, and INTACT is the last row of Tables 4 and 5."""

CONTROLS = ("lr", "critic-mlr", "mse+id+gan", "feature-matching")
"""What INTACT is measured against, whatever the table."""


def find_recipe(name: str) -> str:
    """Resolve other names of a recipe to its own.

    Raises:
        UserError: There is none.
    """
    name = SAME_AS.get(name, name)
    if name not in RECIPES:
        raise UserError(f"--recipes {name}: no such recipe; use some of {', '.join([*RECIPES, *SAME_AS])}")
    return name


def apply(name: str, base: Config) -> Config:
    """Change a configuration to the one that a recipe trains with.

    Raises:
        UserError: A term of the loss that the recipe is about has no weight.
    """
    recipe, config = RECIPES[name], base
    defaults = {name: value for name, value in recipe.defaults.items() if not _value(base, name)}
    for dotted, value in {**defaults, **recipe.changes}.items():
        section, option = dotted.split(".")
        changed = replace(getattr(config, section), **{option: value})
        config = replace(config, **{section: changed})
    if recipe.trains == "generator":
        for weight in ("lambda_c", "lambda_g", "lambda_dis"):
            if f"loss.{weight}" not in recipe.changes and getattr(config.loss, weight) == 0:
                option = f"--loss.{weight.replace('_', '-')} 0"
                raise UserError(f"{option}: recipe {name} has that term; leave one of the two out")
    return config


def _value(config: Config, dotted: str) -> Any:
    section, option = dotted.split(".")
    return getattr(getattr(config, section), option)
