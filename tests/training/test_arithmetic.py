"""A run that goes on with another arithmetic says what changes; one that goes on as it was says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from intact_fast.config.options import Config
from intact_fast.training.arithmetic import arithmetic_of, describe_changes
from intact_fast.training.run import Run
from training_cases import CPU, SINGLE_PROCESS


def test_what_differs_is_said() -> None:
    now = arithmetic_of(CPU, None)
    assert describe_changes(now, now) == ""
    assert describe_changes({}, now) == "", "a checkpoint of a former version knows nothing of it"
    before = {**arithmetic_of(CPU, torch.bfloat16), "threads": "64"}
    assert describe_changes(before, now) == (
        f"precision bfloat16 before and float32 now, threads 64 before and {torch.get_num_threads()} now"
    )


@pytest.mark.parametrize("what", sorted(arithmetic_of(CPU, None)))
def test_each_part_of_a_machine_is_said_by_its_name(what: str) -> None:
    now = arithmetic_of(CPU, None)
    assert describe_changes({**now, what: "another"}, now) == f"{what} another before and {now[what]} now"


@pytest.mark.parametrize("then", ["bfloat16", "float32"])
def test_a_run_on_another_kind_of_machine(
    tiny_config: Config,
    picture_folder: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    then: str,
) -> None:
    """`auto` computes in what the processor computes: the settings are the same, and the arithmetic is not."""
    picture_folder()
    config = replace(tiny_config, training=replace(tiny_config.training, precision="auto", iterations=2))
    longer = replace(config, training=replace(config.training, iterations=3))
    for asked, has_bfloat16 in ((config, False), (longer, then == "bfloat16")):
        monkeypatch.setattr(
            "intact_fast.training.step.plan.computes_bfloat16", lambda device, answer=has_bfloat16: answer
        )
        Run(asked, SINGLE_PROCESS).train()
    said = [line for line in capsys.readouterr().out.splitlines() if "of another kind" in line]
    expected = [
        "The machine is of another kind: precision float32 before and bfloat16 now; the run goes on, and its last "
        "digits differ from those of an unbroken one."
    ]
    assert said == (expected if then == "bfloat16" else [])
