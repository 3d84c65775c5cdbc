"""A small share of the campaign of bad files, and that a fault in it is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.chaos import hostile_tables
from benchmarks.chaos.campaigns import bad_files
from benchmarks.chaos.cases import Case, Outcome, outcomes_of, tried
from benchmarks.chaos.corpus import Corpus, make_corpus
from benchmarks.chaos.promise import Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(tmp_path_factory.mktemp("chaos"), 0.03, 1)


@pytest.fixture(scope="module")
def corpus(trial: Trial) -> Corpus:
    return make_corpus(trial.folder)


def test_files_of_weights(trial: Trial, corpus: Corpus) -> None:
    assert not tried("", list(bad_files.weight_cases(trial, corpus))).broken


def test_tables_and_configurations(trial: Trial, corpus: Corpus) -> None:
    cases = list(hostile_tables.cases(trial, corpus, 20))
    assert not tried("", [*cases[:20], *cases[20::6]]).broken


def test_pickles(trial: Trial, corpus: Corpus) -> None:
    assert not tried("", list(bad_files.pickle_cases(trial, corpus))[::7]).broken


def test_a_case_that_waits_hangs() -> None:
    assert Outcome(status=0, waited=1.0).fault() is None
    assert Outcome(status=0, waited=6.0).fault() == "waited for 6.0 s"


def test_a_fault_is_seen(tmp_path: Path) -> None:
    """A traceback, a program, a look where none may be, memory, and a process that ends."""

    def fail() -> int:
        raise TypeError("x")

    def start() -> int:
        return os.system("true")

    (tmp_path / "secret").write_text("x")
    cases = [
        Case("raises", fail),
        Case("starts", start),
        Case("opens", lambda: int(bool((tmp_path / "secret").read_text())), closed=tmp_path),
        Case("fills", lambda: int(len(bytearray(b"x") * (2**30 + 2**27)) < 0)),
        Case("ends", lambda: os.abort()),
        Case("says two errors", lambda: [print("error: a"), print("error: b")] and 2),
        Case("holds", lambda: 0),
    ]
    faults = [outcome.fault() for outcome in outcomes_of(cases)]
    for fault, words in zip(
        faults, ("TypeError: x", "os.system", "a look into", "MiB", "status -6", "2 errors"), strict=False
    ):
        assert fault is not None
        assert words in fault
    assert faults[-1] is None


def test_processes_share_cases_and_one_that_ends_is_followed_by_another() -> None:
    cases = [Case(str(number), lambda status=number: status) for number in (0, 1, 2, 1, 0)]
    cases.insert(2, Case("ends its process", lambda: os._exit(7)))
    outcomes = outcomes_of(cases, at_once=2)
    assert [outcome.status for outcome in outcomes] == [0, 1, None, 2, 1, 0]
    assert outcomes[2].fault() == "the process ended with status 7"
