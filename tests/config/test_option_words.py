"""The words of a command line before they are parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from intact_fast.commands.enhance import EnhanceOptions
from intact_fast.commands.evaluate import EvaluateOptions
from intact_fast.commands.experiments import ExperimentOptions
from intact_fast.commands.export import ExportOptions
from intact_fast.commands.prepare import PrepareOptions
from intact_fast.commands.report import ReportOptions
from intact_fast.commands.search import SearchOptions
from intact_fast.config.command_line import parse_config, parse_options, parse_own_options
from intact_fast.config.option_words import check_names, end_lists, option_names, value_of
from intact_fast.config.options import Config
from intact_fast.errors import UserError

EVERY_CLASS = (
    *(Config, EvaluateOptions, ExperimentOptions, ExportOptions),
    *(PrepareOptions, ReportOptions, SearchOptions, EnhanceOptions),
)


@dataclass(frozen=True)
class Sizes:
    factors: tuple[int, ...] = (2,)
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Options:
    source: Annotated[Path, tyro.conf.Positional]
    target: Annotated[Path, tyro.conf.Positional] = Path("out")
    views: tuple[Literal["hr", "lr"], ...] = ("hr",)
    names: tuple[str, ...] = ()
    quick: bool = False
    data: Sizes = field(default_factory=Sizes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--data.factors 2 3 a b", Options(Path("a"), Path("b"), data=Sizes((2, 3)))),
        ("a --data.factors 2 3 b", Options(Path("a"), Path("b"), data=Sizes((2, 3)))),
        ("--data.factors 4 a --quick b", Options(Path("a"), Path("b"), quick=True, data=Sizes((4,)))),
        ("--data.factors=2 3 a", Options(Path("a"), data=Sizes((2, 3)))),
        ("--data.factors 2 a --data.factors 3", Options(Path("a"), data=Sizes((3,)))),
        ("--data.shares 0.5 1e-3 a", Options(Path("a"), data=Sizes(shares=(0.5, 1e-3)))),
        ("--views lr hr a b", Options(Path("a"), Path("b"), views=("lr", "hr"))),
        ("--views lr -- a", Options(Path("a"), views=("lr",))),
        ("a --names x y", Options(Path("a"), names=("x", "y"))),
        ("a --data.factors -1 2", Options(Path("a"), data=Sizes((-1, 2)))),
    ],
)
def test_lists_end_where_a_word_is_no_value(line: str, expected: Options) -> None:
    assert parse_options(Options, "p", line.split()) == expected


def test_a_first_value_that_does_not_fit_is_the_lists() -> None:
    with pytest.raises(UserError, match=r"--data\.factors a: 'a' is no value of this option"):
        parse_options(Options, "p", ["--data.factors", "a"])


def test_a_class_without_positional_words_needs_none_of_it() -> None:
    words = ["--data.factors", "2", "3x"]
    assert end_lists(Config, words) == words
    with pytest.raises(UserError, match=r"--data\.factors.*3x"):
        parse_config(words, "p", "d")


@pytest.mark.parametrize("options_class", EVERY_CLASS, ids=lambda options_class: options_class.__name__)
def test_names_are_those_of_the_help(options_class: type, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(options_class, args=["--help"])
    lines = re.findall(r"^. (-.*?)(?:  |$)", capsys.readouterr().out, re.M)
    shown = {name for line in lines for name in re.findall(r"--[a-z][a-z0-9.-]*", line)}
    assert len(shown) > 5
    assert shown <= option_names(options_class)


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("--data.facters", "did you mean --data.factors?"),
        ("--data.jpeg_qualty=70", "did you mean --data.jpeg-quality?"),
        ("--lambda-dis", "did you mean --loss.lambda-dis?"),
        ("--no-data.flip", "did you mean --data.flip?"),
        ("--xyzzy", "--xyzzy: no such option; p --help lists all options"),
    ],
)
def test_misspelt_option(word: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=re.escape(suggestion)):
        parse_config([word, "1"], "p", "d")


def test_names_that_are_known() -> None:
    check_names(["--data.jpeg_quality=70", "--data.no-flip", "-1", "--", "--anything"], "p", Config)


def test_own_options_and_those_of_a_training() -> None:
    options, others = parse_own_options(ExperimentOptions, "p", ["--recipes", "lr", "intact", "--seed", "3"])
    assert (options.recipes, others) == (("lr", "intact"), ["--seed", "3"])
    with pytest.raises(UserError, match=r"--tabel: no such option \(did you mean --table"):
        parse_own_options(ExperimentOptions, "p", ["--tabel", "1"])


def test_complaints_are_one_line() -> None:
    for words, text in (
        (["--preset"], r"Missing value for argument '--preset'"),
        (["--seed", "1e3"], r"--seed 1e3: must be a whole number"),
        (["--critic.learning-rate", "fast"], r"--critic\.learning-rate fast: must be a number"),
        (["--preset", "slow"], r"invalid choice 'slow' for argument '--preset'"),
        (["--training.iterations", "many"], r"--training\.iterations many: must be a whole"),
        (["extra"], r"extra"),
    ):
        with pytest.raises(UserError, match=text) as caught:
            parse_config(words, "p", "d")
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith("; p --help describes all options")


def test_value_of() -> None:
    assert value_of(["--preset", "cpu", "--preset=fast"], "--preset") == "fast"
    assert value_of(["--preset", "--debug"], "--preset") is None
    assert value_of(["--preset"], "--preset") is None


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("folder", "--data.root", "", "--out", "m.jsonl"), "--data.root"),
        (("folder", "--data.root=", "--out", "m.jsonl"), "--data.root"),
        (("", "--out", "m.jsonl"), "an argument"),
    ],
)
def test_a_variable_that_is_not_set_is_no_value(words: tuple[str, ...], place: str) -> None:
    with pytest.raises(UserError, match=f"^{place}: is empty; give a value, or leave it out"):
        parse_options(PrepareOptions, "intact-fast prepare", words)


@pytest.mark.parametrize("words", [("--data.factors", "2,3"), ("--data.factors=2, 3",), ("--data.factors", "[2,3]")])
@pytest.mark.parametrize("options_class", [Config, PrepareOptions])
def test_numbers_of_a_list_stand_apart(options_class: type, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"separate the values by blanks, as in --data\.factors 2 3$"):
        parse_options(options_class, "intact-fast", words)
