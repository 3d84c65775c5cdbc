"""``intact-fast experiments`` on a tiny data set: rows share C and the split, are kept, and go on."""

from __future__ import annotations

import json
import os
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import another_process_in, write_picture_folder
from experiments.tiny_table import TINY
from intact_fast.cli import main
from intact_fast.commands import experiments as command
from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.evaluator import Evaluation, SharedFeatures
from intact_fast.experiments import table_runs
from intact_fast.experiments.results import RowResult
from intact_fast.experiments.table_runs import TableRuns
from intact_fast.training import run
from intact_fast.training.distributed.process import Interrupted
from intact_fast.training.intact import IntactTask


def experiments(*arguments: object) -> int:
    return main(["experiments", *(str(a) for a in arguments)])


def options_of(pictures: Path, runs: Path) -> list[object]:
    return [*TINY, "--unseen", 6, "--data.root", pictures, "--runs", runs, "--name", "table"]


@pytest.fixture
def options(picture_folder: Callable[..., Path], tmp_path: Path) -> list[object]:
    return options_of(picture_folder(), tmp_path / "runs")


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `pictures`, and a table of `lr` and `mse+id` in `runs`; for reading."""
    folder = tmp_path_factory.mktemp("finished")
    options = options_of(write_picture_folder(folder / "pictures"), folder / "runs")
    assert experiments("--recipes", "lr", "mse+id", *options) == 0
    return folder


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> list[object]:
    """Options of a copy of the finished table."""
    shutil.copytree(finished_folder / "runs", tmp_path / "runs")
    return options_of(finished_folder / "pictures", tmp_path / "runs")


def test_a_table_with_controls(options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiments("--table", 5, *options) == 0
    folder = tmp_path / "runs" / "table"
    names = {path.parent.name for path in folder.glob("*/result.json")}
    rows = ("intact", "no-bridge", "lr", "critic-mlr", "mse+id+gan", "feature-matching")
    assert names == {f"{row}-2-seed0" if row == "critic-mlr" else f"{row}-seed0" for row in rows}
    assert (folder / "critic-seed0" / "checkpoints" / "critic.pt").is_file()
    trained = [p for p in folder.glob("*/checkpoints/critic.pt") if "critic" not in p.parts[-3]]
    assert not trained, "every row takes the shared critic"
    text = (folder / "table5.md").read_text(encoding="utf-8")
    assert "Without (Fig. 5 d) (`no-bridge`)" in text
    assert "r = 6 (not in the split: all queries)" in text
    assert text.index("Without (Fig. 5 d)") < text.index("With (Fig. 5 c)"), "in the table's order"
    plain = json.loads((folder / "table5.json").read_text(encoding="utf-8"))
    assert plain.keys() == set(rows)
    assert "validation/r2" in plain["intact"]["health"][0]
    capsys.readouterr()


def test_a_finished_training_is_given_back_before_the_evaluation(
    options: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a second row ended for want of memory, as reference cycles kept the first one's networks and graphs."""
    trainings: list[weakref.ref[IntactTask]] = []

    class Cyclic(IntactTask):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.myself = self
            trainings.append(weakref.ref(self))

    alive: list[bool] = []
    original = TableRuns._evaluate

    def looking(rows: TableRuns, *arguments: Any) -> Evaluation:
        alive.append(trainings[-1]() is not None)
        return original(rows, *arguments)

    monkeypatch.setattr(run, "IntactTask", Cyclic)
    monkeypatch.setattr(TableRuns, "_evaluate", looking)
    assert experiments("--recipes", "sole-sr", *options) == 0
    assert alive == [False]


def test_a_failed_training_is_given_back_as_well(
    options: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is kept, whose traceback holds the frames that hold the networks."""
    trainings: list[weakref.ref[IntactTask]] = []
    alive: list[list[bool]] = []

    class Watched(IntactTask):
        def __init__(self, *arguments: Any) -> None:
            alive.append([training() is not None for training in trainings])
            super().__init__(*arguments)
            trainings.append(weakref.ref(self))

    def diverged(*arguments: object) -> float:
        raise UserError("diverged")

    monkeypatch.setattr(run, "IntactTask", Watched)
    monkeypatch.setattr(run.Run, "_validate", diverged)
    assert experiments("--recipes", "sole-sr", "mse+id", *options) == 2
    assert alive == [[], [False]]
    assert "2 of 2 rows cannot be run as it is: sole-sr-seed0, mse+id-seed0" in capsys.readouterr().err


def test_finished_rows_are_kept_and_others_run(
    finished: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("result.json")}
    measured: list[str] = []
    original = TableRuns._result

    def counting(rows: TableRuns, recipe: str, *arguments: object) -> RowResult:
        measured.append(recipe)
        return original(rows, recipe, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TableRuns, "_result", counting)
    assert experiments("--recipes", "lr", "mse+id", "sole-sr", "--json", *finished) == 0
    assert measured == ["sole-sr"]
    assert all(path.read_bytes() == content for path, content in results.items())
    # more iterations: the training goes on, and the row is measured again
    assert experiments("--recipes", "mse+id", *finished, "--training.iterations", 3) == 0
    assert measured == ["sole-sr", "mse+id"]
    assert "Resuming INTACT at iteration 2" in capsys.readouterr().out
    assert experiments("--recipes", "mse+id", *finished, "--training.iterations", 1) == 2
    assert "INTACT was trained for 3 iterations already, 1 are asked for" in capsys.readouterr().err
    # another rate is measured, and nothing is trained
    assert experiments("--recipes", "sole-sr", *finished, "--unseen", 6, 8) == 0
    assert measured == ["sole-sr", "mse+id", "sole-sr"]
    assert "r = 8 (not in the split: all queries)" in (tmp_path / "runs" / "table" / "recipes.md").read_text(
        encoding="utf-8"
    )


def test_rows_are_scored_by_other_rules_and_with_test_time_options(finished: list[object], tmp_path: Path) -> None:
    """From the features that are there; nothing is trained again."""
    other = {"multi-shot Rank-1", "multi-shot mAP", "cosine Rank-1", "cosine mAP", "cosine multi-shot Rank-1"}
    assert experiments("--recipes", "lr", "mse+id", *finished, "--evaluation.test-time", "flip", "cosine") == 0
    table = tmp_path / "runs" / "table"
    lr, trained = (json.loads((table / f"{row}-seed0" / "result.json").read_text()) for row in ("lr", "mse+id"))
    assert lr["further"] == {}
    assert list(trained["further"]) == ["sr+flip", "sr+cosine", "sr+flip+cosine"]
    for figures in (trained["figures"], trained["upper"], trained["further"]["sr+flip"]):
        assert other < figures.keys()
    cosine = trained["further"]["sr+cosine"]
    assert cosine["Rank-1"] == trained["figures"]["cosine Rank-1"]
    assert cosine["multi-shot Rank-1"] == trained["figures"]["cosine multi-shot Rank-1"]
    assert "cosine Rank-1" not in cosine
    assert "MSE and identity: `sr+flip+cosine`" in (table / "recipes.md").read_text(encoding="utf-8")


def test_later_rows_take_what_c_gives_from_where_it_is_kept(
    options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def figures(name: str) -> dict[str, Any]:
        result = json.loads((tmp_path / "runs" / name / "mse+id-seed0" / "result.json").read_text())
        return {key: result[key] for key in ("figures", "upper", "rank1", "unseen")}

    assert experiments("--recipes", "mse+id", *options, "--name", "alone") == 0
    # the C of critic-mlr is its own
    assert experiments("--recipes", "lr", "critic-mlr", *options) == 0
    assert len(list((tmp_path / "runs" / "table" / "features").glob("*.safetensors"))) == 1
    computed: list[int] = []
    original = table_runs.features_of_critic

    def counting(*arguments: Any, **named: Any) -> SharedFeatures:
        computed.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(table_runs, "features_of_critic", counting)
    assert experiments("--recipes", "lr", "mse+id", *options) == 0
    assert figures("table") == figures("alone")
    assert computed == []
    assert experiments("--recipes", "sole-sr", *options, "--evaluation.batch-size", 3) == 0
    assert len(computed) == 1
    root = options[options.index("--data.root") + 1]
    assert isinstance(root, Path)
    for picture in root.rglob("*.jpg"):
        os.utime(picture, (1, 1))
    assert experiments("--recipes", "mse+id+gan", *options, "--evaluation.batch-size", 3) == 0
    assert len(computed) == 2


def test_json_is_alone_on_stdout(options: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert experiments("--recipes", "lr", "--json", *options) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"lr"}


def test_a_table_says_that_it_is_transductive(options: list[object], tmp_path: Path) -> None:
    assert experiments("--recipes", "lr", "--data.unlabelled", "gallery", *options) == 0
    text = (tmp_path / "runs" / "table" / "recipes.md").read_text(encoding="utf-8")
    assert "- transductive: the gallery's own pictures trained" in text


def test_a_table_can_be_moved(
    finished: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (tmp_path / "runs" / "table" / "mse+id-seed0" / "result.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    at = finished.index("--runs")
    relative = [*finished[: at + 1], "runs", *finished[at + 2 :]]
    assert experiments("--recipes", "lr", "mse+id", *relative) == 0
    moved = tmp_path / "elsewhere" / "runs"
    moved.parent.mkdir()
    (tmp_path / "runs").rename(moved)
    assert experiments("--recipes", "lr", "mse+id", *finished[: at + 1], moved, *finished[at + 2 :]) == 0
    assert (moved / "table" / "mse+id-seed0" / "result.json").read_bytes() == before
    # and a training goes on there
    longer = [*finished[: at + 1], moved, *finished[at + 2 :], "--training.iterations", 3]
    assert experiments("--recipes", "critic-mlr", "mse+id", *longer) == 0
    capsys.readouterr()


def test_a_table_can_be_made_longer(options: list[object], tmp_path: Path) -> None:
    """C's learning rate runs through one cycle, so that a longer `critic-mlr` is another training."""
    recipes = ("--recipes", "critic-mlr", "mse+id")
    assert experiments(*recipes, *options) == 0
    assert experiments(*recipes, *options, "--training.iterations", 3) == 0
    names = {path.name for path in (tmp_path / "runs" / "table").glob("critic-mlr*")}
    assert names == {"critic-mlr-2-seed0", "critic-mlr-3-seed0"}


def test_a_critic_of_another_split_is_refused(
    finished: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    critic = tmp_path / "runs" / "table" / "critic-seed0" / "checkpoints" / "critic.pt"
    own = [*finished, "--name", "own", "--critic.checkpoint", critic]
    assert experiments("--recipes", "lr", *own) == 0
    capsys.readouterr()
    assert experiments("--recipes", "lr", *own, "--seeds", 2) == 2
    assert re.search(r"--critic\.checkpoint .* was trained on \d of the 6 test identities", capsys.readouterr().err)
    root = finished[finished.index("--data.root") + 1]
    folder = ("--data.dataset", "folder", "--data.root", root, "--data.val-fraction", 0.4)
    size = ("--data.height", 48, "--data.width", 32, "--arch", "osnet_x0_25")
    evaluate = ["evaluate", "--critic", critic, *folder, *size]
    assert main([str(a) for a in evaluate]) == 0
    assert main([str(a) for a in [*evaluate, "--data.split-seed", 1]]) == 2
    assert "--critic " in capsys.readouterr().err


def test_results_of_another_split_are_not_taken(
    options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No option has changed, but what the data holds; the user is told, and removes the split."""
    assert experiments("--recipes", "lr", *options) == 0
    folder, pictures = tmp_path / "runs" / "table", tmp_path / "pictures"
    result = folder / "lr-seed0" / "result.json"
    before = json.loads(result.read_text())["manifest"]
    critic = ("--critic.checkpoint", folder / "critic-seed0" / "checkpoints" / "critic.pt")
    (pictures / "0000_cam1_new.jpg").write_bytes((pictures / "0000_cam1_0.jpg").read_bytes())
    assert experiments("--recipes", "lr", *options) == 2
    assert "is another split than now" in capsys.readouterr().err
    (folder / "splits" / "seed0.jsonl").unlink()
    critic_row = [*options, *critic]
    assert experiments("--recipes", "lr", *critic_row) == 0
    assert json.loads(result.read_text())["manifest"] != before
    capsys.readouterr()


def test_a_table_in_use_is_refused(options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with another_process_in(tmp_path / "runs" / "table"):
        assert experiments("--recipes", "lr", *options) == 2
    assert "--name table: another process works in" in capsys.readouterr().err
    assert experiments("--recipes", "lr", *options) == 0
    capsys.readouterr()


def test_a_finished_table_is_shown_without_its_critic(
    finished: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    critic = tmp_path / "runs" / "table" / "critic-seed0" / "checkpoints" / "critic.pt"
    given = ("--recipes", "lr", *finished, "--name", "given", "--critic.checkpoint", critic)
    assert experiments(*given) == 0
    critic.unlink()
    assert experiments(*given) == 0
    capsys.readouterr()


def test_each_seed_is_another_split_with_another_critic(
    options: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiments("--recipes", "lr", "intact+wide-r", "--seeds", 2, *options) == 0
    folder = tmp_path / "runs" / "table"
    first, second = (Manifest.load(folder / "splits" / f"seed{seed}.jsonl") for seed in (0, 1))
    assert first.labels.keys() != second.labels.keys()
    assert (folder / "critic-seed1" / "checkpoints" / "critic.pt").is_file()
    # what a recipe trains on does not change what it is tested on
    assert Manifest.load(folder / "intact+wide-r-seed1" / "manifest.jsonl").hash == second.hash
    assert "± " in (folder / "recipes.md").read_text(encoding="utf-8")
    capsys.readouterr()


def test_another_split_in_the_same_folder_is_refused(
    finished: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiments("--recipes", "lr", *finished, "--data.factors", 3) == 2
    assert "is another split than now; use another --name" in capsys.readouterr().err


def test_an_interrupted_table_is_no_success(
    finished: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: object) -> RowResult:
        raise Interrupted

    monkeypatch.setattr(TableRuns, "run", stopped)
    assert experiments("--recipes", "lr", "sole-sr", "--seeds", 2, *finished) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    plain = json.loads((tmp_path / "runs" / "table" / "recipes.json").read_text(encoding="utf-8"))
    assert plain["lr"]["seeds"] == [0], "what there was is still there"


def test_a_seed_is_the_same_whichever_are_asked_for(options: list[object], tmp_path: Path) -> None:
    assert experiments("--recipes", "lr", "--seeds", 2, *options) == 0
    assert experiments("--recipes", "lr", "--seed", 1, *options, "--name", "one") == 0
    of_two, alone = (
        json.loads((tmp_path / "runs" / name / "lr-seed1" / "result.json").read_text()) for name in ("table", "one")
    )
    assert alone["seed"] == of_two["seed"] == 1
    assert alone["manifest"] == of_two["manifest"]
    assert alone["rank1"] == of_two["rank1"]


def test_a_critic_that_was_replaced_is_refused(
    finished: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept rows would be of the old one, new ones of the new one."""
    own = tmp_path / "runs" / "table" / "critic-seed0" / "checkpoints" / "critic.pt"
    critic = tmp_path / "critic.pt"
    critic.write_bytes(own.read_bytes())
    given = ("--recipes", "lr", *finished, "--name", "given", "--critic.checkpoint", critic)
    assert experiments(*given) == 0
    for file, again in ((critic, given), (own, ("--recipes", "lr", *finished))):
        other = torch.load(file, weights_only=True)
        other["state_dict"]["conv1.conv.weight"] += 1
        torch.save(other, file)
        assert experiments(*again) == 2
        assert f"{file}: another C than --name" in capsys.readouterr().err


def test_a_recipe_that_adds_what_the_preset_has_is_left_out(
    options: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[list[str]] = []
    monkeypatch.setattr(command, "_run", lambda options, names, base: run.append(names))
    assert experiments("--recipes", "lr", "intact", "intact+skip", "intact-skip", *options) == 0
    assert run == [["lr", "intact", "intact-skip"]]
    assert "warning: intact+skip is intact here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "experiments needs --table, --recipes or --list"),
        (["--recipes", "magic"], "no such recipe"),
        (["--table", 1], "--dataset: table 1 has several"),
        (["--table", 3, "--seeds", 0], "--seeds 0: must be 1 or more"),
        (["--recipes", "lr", "--training.batch-size", 1], "--training.batch-size 1"),
        (["--recipes", "lr", "--unseen", 0], "--unseen (0,): rates must be 1 or more"),
        (["--recipes", "lr", "--dataset", "viper", "--data.dataset", "caviar"], "give one of the two"),
        (["--recipes", "lr", "--critic.init", "a", "--critic.checkpoint", "b"], "exclude each other"),
    ],
)
def test_mistakes(arguments: list[object], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiments(*arguments) == 2
    assert expected in capsys.readouterr().err


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert experiments("--list") == 0
    listed = capsys.readouterr().out
    assert "feature-matching" in listed
    assert "(also: sr+id)" in listed
