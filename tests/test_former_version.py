"""Files of the version before options got their present names: they load, and a run goes on from them.

``former_version/`` holds what that version wrote for a tiny run: configuration, split, and the names and shapes of its
checkpoint's tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from intact_fast import SRReID, UserError
from intact_fast.config.command_line import from_yaml, parse_config
from intact_fast.config.options import Config
from intact_fast.data.manifest import Manifest
from intact_fast.files import read_checkpoint
from intact_fast.models import build_osnet
from intact_fast.serving.gallery import Gallery
from intact_fast.training.checkpoint_models import model_of_checkpoint, read_training_checkpoint
from intact_fast.training.run import Run
from training_cases import SINGLE_PROCESS

FORMER = Path(__file__).parent / "former_version"


def former_text(root: Path, runs: Path) -> str:
    text = (FORMER / "config.yaml").read_text(encoding="utf-8")
    return text.replace("ROOT", str(root)).replace("RUNS", str(runs))


def assert_read(config: Config) -> None:
    assert config.data.interpolation == "bicubic"
    assert config.critic.learning_rate == 0.001
    assert config.optimiser.generator_learning_rate == 0.0003
    assert config.association.direction == "r-to-d"
    assert config.training.step == "shared"


def test_a_configuration_is_read() -> None:
    assert_read(from_yaml(former_text(Path("data"), Path("runs")), "config.yaml"))


@pytest.mark.parametrize("written", ["--optimiser.lr-generator", "--optimiser.lr_generator"])
def test_a_command_line_is_understood(written: str) -> None:
    options = f"--preset cpu --data.kernel bicubic --critic.lr=0.001 {written} 0.0003 --training.form shared"
    assert_read(parse_config([*options.split(), "--association.form", "r-to-d"], "p", "d"))


def test_a_manifest_keeps_its_hash_and_its_words(tmp_path: Path) -> None:
    manifest = Manifest.load(FORMER / "manifest.jsonl")
    assert manifest.header.interpolation == "bicubic"
    manifest.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == (FORMER / "manifest.jsonl").read_text()


@pytest.fixture
def former_run(tmp_path: Path, picture_folder: Callable[..., Path]) -> Path:
    """The folder of a run whose files are in the former words; its names and shapes are the former ones already."""
    text = former_text(picture_folder(), tmp_path / "runs")
    config = from_yaml(text, "config.yaml")
    Run(config, SINGLE_PROCESS).train()
    folder = config.runs / config.name
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    for path in (folder / "checkpoints").rglob("iteration_*.pt"):
        checkpoint = read_checkpoint(path, "x")
        for rank in checkpoint["ranks"]:
            del rank["arithmetic"]
        torch.save({**checkpoint, "config": text}, path)
    return folder


def test_a_run_goes_on(former_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = read_checkpoint(former_run / "checkpoints" / "iteration_00000006.pt", "x")
    former: dict[str, Any] = json.loads((FORMER / "checkpoint.json").read_text())
    assert sorted(checkpoint) == former["checkpoint"]
    state = checkpoint["state"]
    own = {name: list(value.shape) for name, value in state["networks"].items() if not name.startswith("critic.")}
    assert own == former["networks"]
    assert {role: len(o["state"]) for role, o in state["optimisers"].items()} == former["optimisers"]
    assert sorted(state["step"]) == former["step"]
    assert (former_run / "manifest.jsonl").read_text() == (FORMER / "manifest.jsonl").read_text()

    config = from_yaml(former_text(tmp_path / "pictures", tmp_path / "runs"), "config.yaml")
    longer = replace(config, training=replace(config.training, iterations=7))
    Run(longer, SINGLE_PROCESS).train()
    assert "Resuming INTACT at iteration 6" in capsys.readouterr().out
    assert (former_run / "checkpoints" / "iteration_00000007.pt").is_file()


def test_a_checkpoint_is_served(former_run: Path) -> None:
    path = former_run / "checkpoints" / "iteration_00000006.pt"
    assert model_of_checkpoint(read_training_checkpoint(path), path).interpolation == "bicubic"


def test_a_model_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    SRReID(build_osnet("osnet_x0_25", 3), None, (48, 32), "bicubic").save_pretrained(path)
    with safe_open(path, "pt") as file:
        configuration = json.loads(file.metadata()["intact_fast"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    configuration["options"]["kernel"] = configuration["options"].pop("interpolation")
    save_file(tensors, path, metadata={"intact_fast": json.dumps(configuration)})
    assert SRReID.from_pretrained(path).interpolation == "bicubic"


def test_an_index_is_named_with_its_remedy(tmp_path: Path) -> None:
    header = {"folder": str(tmp_path.resolve()), "identity": "model", "names": ["a.jpg", "b.jpg"]}
    tensors = {"features": torch.eye(2), "stamps": torch.zeros(2, 2, dtype=torch.int64)}
    file = tmp_path / "gallery.safetensors"
    save_file(tensors, file, metadata={"intact_fast_gallery": json.dumps(header)})
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"an index is a folder now: give --index .*gallery\.lance"):
        Gallery.open(file)
    assert file.read_bytes() == before
