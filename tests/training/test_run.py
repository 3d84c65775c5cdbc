"""Whole runs on a tiny data set: what they leave behind, and that resuming changes nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import another_process_in
from intact_fast import SRReID
from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.critic import CriticTask
from intact_fast.training.distributed.process import Interrupted, Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run
from intact_fast.training.step.shared import Record

SINGLE_PROCESS = Process(0, 1, torch.device("cpu"), None)


def final_state(config: Config) -> dict[str, Any]:
    latest = CheckpointStore(config.runs / config.name / "checkpoints", 1).latest()
    assert latest is not None
    return read_checkpoint(latest, "--x")


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    """Bit for bit, through nested dictionaries and lists."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@pytest.fixture
def config(tiny_config: Config, picture_folder: Callable[..., Path]) -> Config:
    picture_folder()
    return tiny_config


def test_a_run_leaves_everything_behind(config: Config) -> None:
    evaluation = Run(config, SINGLE_PROCESS).execute()
    assert evaluation is not None
    folder = config.runs / config.name
    assert {p.name for p in folder.iterdir()} == {
        ".lock",
        "config.yaml",
        "manifest.jsonl",
        "model.safetensors",
        "metrics.jsonl",
        "evaluation.json",
        "notes.json",
        "report.md",
        "report.html",
        "samples",
        "tensorboard",
        "checkpoints",
    }
    served = SRReID.from_pretrained(folder / "model.safetensors")
    gallery = [config.data.root / row.path for row in evaluation.gallery_entries]
    features = served(gallery, mode="never", normalize=False)
    torch.testing.assert_close(features, evaluation.gallery_features, rtol=1e-4, atol=1e-5)
    assert served.lr_height == 34, "pictures of 48 rows, r from 2 on"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["iteration"] for r in records if r["task"] == "INTACT" and "loss/mse" in r] == [2, 4]
    assert {
        "loss/dis_hr",
        "loss/dis_sr",
        "association/r2",
        "association/std_f_e",
        "gradient/fake_dis",
    } <= set(next(r for r in records if r["iteration"] == 4 and "loss/mse" in r))
    assert {"validation/r2", "validation/r2_ridge"} <= set(records[-1])
    # of 2 held-out people, 4 queries and 4 gallery pictures
    assert served.thresholds is not None
    for view in ("hr", "lr", "sr"):
        measured = served.thresholds.views[view]
        assert (measured.matches, measured.non_matches, measured.people, measured.steps) == (8, 8, 2, ())
    report = (folder / "report.md").read_text()
    assert "INTACT" in report
    assert f"Measured on {served.thresholds.data}" in report
    assert "A gain here shows super-resolution and identity supervision at work, not yet the association" in report
    assert "φ explained R² = " in report
    figures = json.loads((folder / "evaluation.json").read_text())
    assert figures["rows"].keys() == {"HR queries (upper bound)", "LR queries without SR", "INTACT"}
    assert figures["model_thresholds"] == served.thresholds.to_plain()
    # 6 test identities, 2 pictures in the LR camera
    assert figures["queries"] == 12
    for name in ("triptychs.png", "ranked_lists.png", "curves.png", "similarities.png"):
        assert f"](samples/{name})" in report
        assert Image.open(folder / "samples" / name).size[0] > 100
    assert list(folder.glob("tensorboard/INTACT/events*"))
    assert (folder / "checkpoints" / "best.pt").is_file()


def test_a_blind_run_scores_corrupted_queries(config: Config) -> None:
    blind = replace(config, data=replace(config.data, degradation="blind", backend="pillow"))
    evaluation = Run(blind, SINGLE_PROCESS).execute()
    folder = config.runs / config.name
    assert list(evaluation.names.values())[3:] == ["LR queries, corrupted", "INTACT, corrupted"]
    assert "| INTACT, corrupted |" in (folder / "report.md").read_text()
    (validated,) = (
        record
        for record in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        if "validation/corrupted_mAP" in record
    )
    assert 0 <= validated["validation/corrupted_rank1"] <= 1
    # a clean training of the same people is another one, and is tested on the same corrupted queries
    kept = replace(config, name="clean", data=replace(config.data, manifest=folder / "manifest.jsonl"))
    assert obtain_manifest(kept.data).hash == evaluation.manifest_hash


def test_interrupted_and_resumed_equals_unbroken(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = replace(config, name="unbroken", training=replace(config.training, iterations=5))
    Run(unbroken, SINGLE_PROCESS).execute()

    broken = replace(unbroken, name="broken")
    original = IntactTask.step

    def step(self: IntactTask, batch: Any, iteration: int, detailed: bool) -> Record:
        if iteration == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch, iteration, detailed)

    monkeypatch.setattr(IntactTask, "step", step)
    with pytest.raises(Interrupted):
        Run(broken, SINGLE_PROCESS).execute()
    assert final_state(broken)["iteration"] == 3
    monkeypatch.undo()
    Run(broken, SINGLE_PROCESS).execute()

    expected, found = final_state(unbroken), final_state(broken)
    for state in (expected, found):
        assert "name: " in state.pop("config")
    assert_equal(expected, found)


def test_figures_of_a_run_that_stopped_between_two_records(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The means of a record are over all iterations since the last one, those before the stop too."""
    training = replace(config.training, iterations=4, log_every=4, checkpoint_every=0)
    critic = replace(config.critic, iterations=4)
    whole, broken = (replace(config, name=name, training=training, critic=critic) for name in ("whole", "broken"))
    Run(whole, SINGLE_PROCESS).train()
    for task in (CriticTask, IntactTask):
        original = task.step

        def step(self: Any, batch: Any, iteration: int, detailed: bool, original: Any = original) -> Record:
            if iteration == 1:
                signal.raise_signal(signal.SIGTERM)
            return original(self, batch, iteration, detailed)

        monkeypatch.setattr(task, "step", step)
        with pytest.raises(Interrupted):
            Run(broken, SINGLE_PROCESS).train()
        monkeypatch.undo()
    Run(broken, SINGLE_PROCESS).train()
    lines = [
        [json.loads(line) for line in (config.runs / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "broken")
    ]
    for line in (*lines[0], *lines[1]):
        line.pop("img_per_s", None)
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "recipe", [{}, {"erased": 0.5, "half_size": 0.75, "ema_decay": 0.5}], ids=["plain", "whole-recipe"]
)
def test_interrupted_critic_resumes_to_the_same_critic(config: Config, recipe: dict[str, float]) -> None:
    def critic(name: str) -> dict[str, Any]:
        return read_checkpoint(config.runs / name / "checkpoints" / "critic.pt", "--x")

    config = replace(
        config,
        critic=replace(config.critic, iterations=4, **recipe),
        training=replace(config.training, iterations=1, log_every=1, checkpoint_every=2),
    )
    for name in ("whole", "resumed"):
        Run(replace(config, name=name), SINGLE_PROCESS).execute()
    checkpoints = config.runs / "resumed" / "checkpoints"
    before = critic("resumed")
    last = read_checkpoint(checkpoints / "critic" / "iteration_00000004.pt", "--x")["state"]
    assert_equal(before["state_dict"], dict(last["average" if recipe else "critic"]))
    (checkpoints / "critic.pt").unlink()
    (checkpoints / "critic" / "iteration_00000004.pt").unlink()
    Run(replace(config, name="resumed"), SINGLE_PROCESS).execute()
    assert_equal(before, critic("resumed"))
    assert_equal(critic("whole"), critic("resumed"))


def test_the_critics_pictures_lose_rectangles(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    step = CriticTask.step

    def noting(task: CriticTask, batch: Batch, iteration: int, detailed: bool) -> Record:
        seen.append((batch.x_h == 0).all(dim=1).flatten(1).any(dim=1))
        return step(task, batch, iteration, detailed)

    monkeypatch.setattr(CriticTask, "step", noting)
    for share in (0.0, 1.0):
        Run(
            replace(config, name=f"{share}", critic=replace(config.critic, erased=share)), SINGLE_PROCESS
        ).train_critic()
    assert [bool(x.any()) for x in seen] == [False, False, True, True]
    assert all(x.all() for x in seen[2:])


def test_other_settings_under_the_same_name_are_refused(config: Config) -> None:
    config = replace(config, training=replace(config.training, iterations=1))
    Run(config, SINGLE_PROCESS).execute()
    other = replace(config, loss=replace(config.loss, lambda_g=0.5))
    with pytest.raises(UserError, match=r"--name default: .* other settings \(--loss\.lambda-g\).* another --name"):
        Run(other, SINGLE_PROCESS).execute()


def test_more_iterations_may_be_asked_for(config: Config) -> None:
    Run(replace(config, training=replace(config.training, iterations=1)), SINGLE_PROCESS).execute()
    Run(replace(config, training=replace(config.training, iterations=2)), SINGLE_PROCESS).execute()
    assert final_state(config)["iteration"] == 2


def test_changed_split_is_refused(config: Config) -> None:
    config = replace(config, training=replace(config.training, iterations=1))
    Run(config, SINGLE_PROCESS).execute()
    folder = config.runs / config.name
    (folder / "manifest.jsonl").unlink()
    extra = sorted(config.data.root.iterdir())[0]
    extra.rename(extra.with_name(extra.name.replace("_0.jpg", "_9.jpg")))
    with pytest.raises(UserError, match="trained on another split"):
        Run(config, SINGLE_PROCESS).execute()


def test_another_split_given_by_name_is_refused(config: Config, tmp_path: Path) -> None:
    """A run went on with its own, and the user had another one's figures."""
    config = replace(config, training=replace(config.training, iterations=1))
    Run(config, SINGLE_PROCESS).execute()
    own = config.runs / config.name / "manifest.jsonl"
    other = tmp_path / "other.jsonl"
    obtain_manifest(replace(config.data, split_seed=1)).save(other)
    with pytest.raises(UserError, match=r"--data\.manifest \S+other\.jsonl: another split than"):
        Run(replace(config, data=replace(config.data, manifest=other)), SINGLE_PROCESS).execute()
    assert Run(replace(config, data=replace(config.data, manifest=own)), SINGLE_PROCESS).execute() is not None


def test_a_critic_that_was_replaced_is_refused(config: Config, tmp_path: Path) -> None:
    """A checkpoint brings its own C; the figures of a run must not be those of a C that is gone."""
    config = replace(config, training=replace(config.training, iterations=1))
    Run(config, SINGLE_PROCESS).execute()
    critic = tmp_path / "critic.pt"
    own = config.runs / config.name / "checkpoints" / "critic.pt"
    critic.write_bytes(own.read_bytes())
    given = replace(config, name="given", critic=replace(config.critic, checkpoint=critic))
    Run(given, SINGLE_PROCESS).execute()
    other = torch.load(critic, weights_only=True)
    other["state_dict"]["conv1.conv.weight"] += 1
    torch.save(other, critic)
    with pytest.raises(UserError, match=r"--critic\.checkpoint \S+: another C than this run was started with"):
        Run(given, SINGLE_PROCESS).execute()


def test_failed_validation_still_saves(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Run, task: IntactTask, iteration: int) -> float:
        raise UserError("a picture vanished")

    monkeypatch.setattr(Run, "_validate", broken)
    with pytest.raises(UserError, match="vanished"):
        Run(config, SINGLE_PROCESS).execute()
    assert final_state(config)["iteration"] == config.training.iterations


def test_signal_in_the_critics_last_iteration_stops_the_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    original = CriticTask.step

    def step(self: CriticTask, batch: Any, iteration: int, detailed: bool) -> Record:
        if iteration == config.critic.iterations - 1:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batch, iteration, detailed)

    monkeypatch.setattr(CriticTask, "step", step)
    with pytest.raises(Interrupted):
        Run(config, SINGLE_PROCESS).execute()
    assert not list((config.runs / config.name / "checkpoints").glob("iteration_*.pt"))


def test_init_is_noted_once_and_loaders_are_named(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    one = replace(config, training=replace(config.training, iterations=1))
    Run(one, SINGLE_PROCESS).execute()
    critic = one.runs / one.name / "checkpoints" / "critic.pt"
    capsys.readouterr()
    initialised = replace(one, name="init", critic=replace(one.critic, init=critic))
    Run(initialised, SINGLE_PROCESS).execute()
    said = capsys.readouterr().out
    assert (one.runs / "init" / "report.md").read_text().count("its classifier starts fresh with 6 identities") == 1
    for name in ("critic", "INTACT"):
        assert f"{name}: 16 training pictures of 4 identities, read by pillow" in said


def test_two_processes_do_not_share_a_folder(config: Config) -> None:
    folder = config.runs / config.name
    with (
        another_process_in(folder),
        pytest.raises(UserError, match=r"--name .*: another process works in .*; wait for it, or use another"),
    ):
        Run(config, SINGLE_PROCESS).train_critic()
    # what the killed one and half a write left behind does not make the folder somebody else's
    (folder / ".config.yaml.1.tmp").touch()
    assert Run(config, SINGLE_PROCESS).train_critic().is_file()


def test_a_checkpoint_that_a_killed_run_had_no_time_to_drop_is_dropped(config: Config) -> None:
    config = replace(config, training=replace(config.training, keep_checkpoints=1))
    Run(config, SINGLE_PROCESS).execute()
    checkpoints = config.runs / config.name / "checkpoints"
    kept = sorted(path.name for path in checkpoints.glob("iteration_*.pt"))
    shutil.copy(checkpoints / kept[-1], checkpoints / "iteration_00000001.pt")
    Run(config, SINGLE_PROCESS).execute()
    assert sorted(path.name for path in checkpoints.glob("iteration_*.pt")) == kept


def test_an_unreadable_newest_checkpoint_gives_way_to_the_one_before(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on from there as one that was never broken, of C too, and keeps the broken file."""
    config = replace(config, critic=replace(config.critic, iterations=4))
    Run(config, SINGLE_PROCESS).execute()
    unbroken = final_state(config)
    checkpoints = config.runs / config.name / "checkpoints"
    newest = checkpoints / "iteration_00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    (checkpoints / "critic.pt").write_bytes(b"")
    (checkpoints / "critic" / "iteration_00000004.pt").write_bytes(b"")
    capsys.readouterr()
    Run(config, SINGLE_PROCESS).execute()
    said = capsys.readouterr().out.replace("\n", "")
    assert "iteration_00000004.pt is no readable checkpoint; it is iteration_00000004.pt.unreadable now" in said
    assert "Resuming INTACT at iteration 2" in said
    assert "critic.pt is no readable checkpoint; it is critic.pt.unreadable now, and C is trained again" in said
    assert "Resuming critic at iteration 2" in said
    assert_equal(unbroken, final_state(config))
    assert (checkpoints / "iteration_00000004.pt.unreadable").is_file()


def test_a_full_disk_keeps_the_last_state_and_the_run_goes_on(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    save, full = torch.save, True

    def save_until_full(state: Any, path: Path) -> None:
        if full and isinstance(state, dict) and state.get("iteration") == 4:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, path)

    Run(replace(config, name="unbroken"), SINGLE_PROCESS).execute()
    monkeypatch.setattr(torch, "save", save_until_full)
    with pytest.raises(UserError, match=r"iteration_00000004\.pt: cannot be written \(No space left on device\); make"):
        Run(config, SINGLE_PROCESS).execute()
    assert final_state(config)["iteration"] == 2
    full = False
    Run(config, SINGLE_PROCESS).execute()
    expected, found = final_state(replace(config, name="unbroken")), final_state(config)
    for state in (expected, found):
        del state["config"]
    assert_equal(expected, found)
