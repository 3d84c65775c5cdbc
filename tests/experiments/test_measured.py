"""Rows that are scored on held-out training identities, to choose by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.command_cases import TINY
from intact_fast.cli import main
from intact_fast.data.manifest import Entry, Header, Manifest
from intact_fast.errors import UserError
from intact_fast.experiments.measured import Measured

HEADER = Header("folder", 0, "bilinear", None, None, None)


def manifest(*splits: str) -> Manifest:
    entries = (Entry(f"{i}.jpg", i, i % 2, split, False, None) for i, split in enumerate(splits))  # type: ignore[arg-type]
    return Manifest(HEADER, tuple(entries))


def test_held_out_people_take_the_test_peoples_place() -> None:
    split = manifest("train", "val_query", "val_gallery", "query", "gallery")
    tested = Measured(held_out=True).tested(split)
    assert [(entry.pid, entry.split) for entry in tested.entries] == [(0, "train"), (1, "query"), (2, "gallery")]
    assert tested.hash != split.hash
    assert Measured().tested(split) is split
    with pytest.raises(UserError, match=r"^--held-out: .* give --data\.val-fraction more than 0$"):
        Measured(held_out=True).tested(manifest("train", "query", "gallery"))


def test_a_table_of_held_out_people_stands_beside_the_other(
    tmp_path: Path, picture_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        *TINY,
        "--data.val-fraction",
        0.4,
        "--data.root",
        picture_folder(),
        "--runs",
        tmp_path,
        "--name",
        "table",
    ]
    command = [str(word) for word in ("experiments", "--recipes", "lr", *options)]
    assert main([*command, "--held-out"]) == 0
    assert "held-out training identities" in capsys.readouterr().out
    assert {path.name for path in tmp_path.rglob("result*.json")} == {"result-held-out.json"}
    assert main(command) == 0
    held_out, tested = (
        json.loads((tmp_path / "table" / "lr-seed0" / f"result{end}.json").read_text()) for end in ("-held-out", "")
    )
    split = Manifest.load(tmp_path / "table" / "splits" / "seed0.jsonl")
    assert set(held_out["pid"]) == {entry.pid for entry in split.split("val_query")}
    assert set(tested["pid"]) == {entry.pid for entry in split.split("query")}
    assert "published" not in (tmp_path / "table" / "recipes-held-out.md").read_text(encoding="utf-8")
