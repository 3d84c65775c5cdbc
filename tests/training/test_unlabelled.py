"""Pictures without identities: which train, which are refused, and that whole runs with them go on as if unbroken."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import write_picture
from intact_fast.config.options import Config
from intact_fast.data.batches import NO_IDENTITY, Batch
from intact_fast.data.manifest import Manifest
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.distributed.process import Interrupted
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run
from intact_fast.training.step.feature_table import FeatureTable
from intact_fast.training.unlabelled import find_unlabelled, keep_list
from training_cases import SINGLE_PROCESS


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder tree of pictures, with what else lies in folders."""
    folder = tmp_path / "others"
    for number in range(5):
        write_picture(folder / f"{number % 2}" / f"{number}.png", 900 + number, (30, 40 + number))
    write_picture(folder / ".cache" / "hidden.png", 1)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def config(tiny_config: Config, picture_folder: Callable[..., Path], others: Path) -> Config:
    picture_folder()
    return replace(tiny_config, data=replace(tiny_config.data, unlabelled=others))


def manifest_of(config: Config) -> Manifest:
    return obtain_manifest(config.data)


def found_in(config: Config, said: list[str] | None = None, **changes: Any) -> list[Path]:
    config = replace(config, data=replace(config.data, **changes))
    say = (lambda text: None) if said is None else said.append
    return list(find_unlabelled(config, manifest_of(config), SINGLE_PROCESS, None, say).paths)


def test_the_pictures_of_a_folder_tree(config: Config, others: Path) -> None:
    said: list[str] = []
    expected = ["0/0.png", "0/2.png", "0/4.png", "1/1.png", "1/3.png"]
    assert found_in(config, said) == [others / name for name in expected]
    assert said == [
        f"--data.unlabelled {others}: left out 1 hidden files (hidden.png); 1 files that are no pictures (.txt)"
    ]


def test_the_gallery_where_it_is_asked_for(config: Config) -> None:
    manifest = manifest_of(config)
    transductive = replace(config, data=replace(config.data, unlabelled=Path("gallery")))
    found = find_unlabelled(transductive, manifest, SINGLE_PROCESS, None, print)
    gallery = [config.data.root / entry.path for entry in manifest.split("gallery")]
    assert list(found.paths) == gallery
    assert found.note == (
        f"transductive: the gallery's own {len(gallery)} pictures trained as well, without identities "
        "(--data.unlabelled gallery)"
    )


def test_test_pictures_are_refused_by_their_path(config: Config, others: Path) -> None:
    entry = manifest_of(config).split("query")[0]
    (others / "by another way.jpg").symlink_to(config.data.root / entry.path)
    with pytest.raises(UserError, match=rf"holds 1 of the split's test and validation pictures \({entry.path}\)"):
        found_in(config)
    with pytest.raises(UserError, match="of the split's test and validation pictures"):
        found_in(config, unlabelled=config.data.root)


def test_training_pictures_do_not_train_twice(config: Config, others: Path) -> None:
    entry = manifest_of(config).split("train")[0]
    (others / "again.jpg").symlink_to(config.data.root / entry.path)
    said: list[str] = []
    assert others / "again.jpg" not in found_in(config, said)
    assert said[-1] == f"--data.unlabelled {others}: 1 of its pictures are training pictures already"


@pytest.mark.parametrize("what", ["no folder", "empty"])
def test_nothing_to_train_on_is_refused(config: Config, tmp_path: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    message = {"no folder": "no such folder; give one", "empty": "holds no picture that does not train already"}[what]
    with pytest.raises(UserError, match=f"--data.unlabelled .*{what}: {message}"):
        found_in(config, unlabelled=folder)


def test_unreadable_ones_are_named_or_left_out(config: Config, others: Path) -> None:
    broken = others / "0" / "2.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"2\.png.* leave such unlabelled pictures out with --data\.skip-corrupt"):
        found_in(config)
    said: list[str] = []
    assert broken not in found_in(config, said, skip_corrupt=True)
    assert said[-1] == f"Skipping unreadable picture {broken}"


def test_a_list_that_is_kept_is_taken_as_it_is(config: Config, others: Path, tmp_path: Path) -> None:
    manifest = manifest_of(config)
    (others / "0" / os.fsdecode(b"caf\xe9.png")).write_bytes((others / "0" / "0.png").read_bytes())
    found = find_unlabelled(config, manifest, SINGLE_PROCESS, None, print)
    keep_list(found, config, tmp_path / "list.json")
    write_picture(others / "new.png", 3)
    assert find_unlabelled(config, manifest, SINGLE_PROCESS, tmp_path / "list.json", print) == found


def final_state(config: Config) -> dict[str, Any]:
    latest = CheckpointStore(config.runs / config.name / "checkpoints", 1).latest()
    assert latest is not None
    return read_checkpoint(latest, "--x")


def watch(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[Batch]:
    """Keep the batches that are trained on; ask to stop at an iteration."""
    seen: list[Batch] = []
    original = IntactTask.step

    def step(self: IntactTask, batch: Batch, iteration: int, detailed: bool) -> Any:
        seen.append(batch)
        if iteration == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch, iteration, detailed)

    monkeypatch.setattr(IntactTask, "step", step)
    return seen


def test_a_resumed_run_equals_an_unbroken_one(
    config: Config, others: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With strong augmentation, L_f and L_id, and though the folder has grown meanwhile."""
    config = replace(
        config,
        data=replace(config.data, augment="strong", val_fraction=0.0),
        loss=replace(config.loss, lambda_f=1.0, lambda_g=0.0, lambda_dis=0.0),
    )
    unbroken, broken = replace(config, name="unbroken"), replace(config, name="broken")
    with monkeypatch.context() as patch:
        seen = watch(patch)
        Run(unbroken, SINGLE_PROCESS).train()
    labels = torch.cat([batch.label for batch in seen])
    assert (labels == NO_IDENTITY).any()
    assert (labels >= 0).any()
    assert "24 training pictures of 6 identities and 5 without identities, read by pillow" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        watch(patch, stop_at=1)
        with pytest.raises(Interrupted):
            Run(broken, SINGLE_PROCESS).train()
    write_picture(others / "new.png", 77)
    Run(broken, SINGLE_PROCESS).train()
    expected, found = (final_state(run)["state"]["networks"] for run in (unbroken, broken))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    note = json.loads((config.runs / "broken" / "notes.json").read_text())
    assert f"5 pictures without identities trained as well (--data.unlabelled {others})" in note


def test_the_table_of_f_c_holds_them(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(
        config,
        data=replace(config.data, flip=False, val_fraction=0.0),
        loss=replace(config.loss, lambda_f=1.0, lambda_g=0.0, lambda_dis=0.0),
        # 29 pictures: the second epoch looks up
        training=replace(config.training, f_c_table=True, iterations=8),
    )
    tables: list[FeatureTable] = []
    original = FeatureTable.features

    def features(self: FeatureTable, batch: Batch, compute: Any) -> torch.Tensor:
        tables.append(self)
        return original(self, batch, compute)

    monkeypatch.setattr(FeatureTable, "features", features)
    Run(config, SINGLE_PROCESS).train()
    assert len(tables) == 8
    assert tables[0]._known[::2][24:].any()
    assert len(tables[0]._known) == 2 * (24 + 5)


@pytest.mark.parametrize("text", ['["../elsewhere/a.png"]', '["/etc/passwd"]', "[1]", '{"a": 1}', "[" * 5000])
def test_a_kept_list_that_leads_out_or_is_none_is_refused(config: Config, tmp_path: Path, text: str) -> None:
    (tmp_path / "unlabelled.json").write_text(text)
    with pytest.raises(UserError, match=r"unlabelled\.json: no list of pictures of a run \(.*use another --name"):
        find_unlabelled(config, manifest_of(config), SINGLE_PROCESS, tmp_path / "unlabelled.json", print)
