"""The examples: short, listed, and each run on tiny inputs."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_picture, write_picture_folder
from intact_fast import SRReID, UserError
from intact_fast.config.options import DiscriminatorConfig, GeneratorConfig
from intact_fast.config.presets import PRESETS
from intact_fast.data.manifest import Manifest
from intact_fast.data.synthetic import SyntheticSpec, write_synthetic
from intact_fast.evaluation.ranking import evaluate_ranking
from intact_fast.evaluation.reranking import Reranking
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def options(text: str, **paths: Path) -> list[str]:
    return shlex.split(text.format(**paths))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, the OSNet that was its critic, and two people's pictures: LR of one camera, HR of the other."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    critic, generator = build_osnet("osnet_x0_25", 5), Generator((4, 4), blocks_per_group=1)
    SRReID(critic, generator, (48, 32), lr_height=40).save_pretrained(folder / "model.safetensors")
    torch.save(critic.state_dict(), folder / "osnet.pth")
    for pid in (1, 2):
        write_picture(folder / "lr" / f"{pid:04d}_cam1_0.png", seed=pid, size=(12, 24))
        write_picture(folder / "hr" / f"{pid:04d}_cam2_0.png", seed=pid, size=(32, 64))
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_listed_with_its_command(script: Path) -> None:
    text, listed = script.read_text(encoding="utf-8"), (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    command = f"python examples/{script.name}"
    assert f"    {command} " in text
    assert f"[`{script.name}`]({script.name})" in listed
    assert f"`{command} " in listed


def test_seven_scripts() -> None:
    assert len(SCRIPTS) == 7


def test_train_on_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("train_on_a_folder")
    cpu = PRESETS["cpu"]
    tiny = replace(
        cpu,
        device="cpu",
        generator=GeneratorConfig(widths=(4, 4, 6, 6), skip="add", global_residual=True),
        discriminator=DiscriminatorConfig(widths=(4, 4, 6, 8), hidden=10),
        data=replace(cpu.data, height=48, width=32, backend="pillow", threads=0),
        critic=replace(cpu.critic, batch_size=4),
        training=replace(cpu.training, batch_size=4),
    )
    monkeypatch.setitem(module.PRESETS, "cpu", tiny)
    folder = write_picture_folder(tmp_path / "crops")
    command = options("{folder} --runs {runs} --name own --critic-iterations 2", folder=folder, runs=tmp_path)
    module.main([*command, "--iterations", "2"])
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "own" / "evaluation.json").read_text(encoding="utf-8"))["rows"]["INTACT"]
    assert f"sr: Rank-1 {figures['Rank-1']:.1f}, mAP {figures['mAP']:.1f}" in printed
    assert str(tmp_path / "own" / "model.safetensors") in printed
    assert Manifest.load(tmp_path / "own" / "manifest.jsonl").header.dataset == "folder"
    assert SRReID.from_pretrained(tmp_path / "own" / "model.safetensors").size == (48, 32)
    with pytest.raises(UserError, match=r"--training\.iterations 0"):
        module.main([*command, "--iterations", "0"])


def test_swap_a_torchreid_extractor(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low, high = sorted((files / "lr").iterdir()), sorted((files / "hr").iterdir())
    command = options("--osnet {f}/osnet.pth --generator {f}/model.safetensors", f=files)
    example("swap_a_torchreid_extractor").main([*command, "--lr", *map(str, low), "--hr", *map(str, high)])
    printed = capsys.readouterr().out
    assert "features (2, 512); a picture with fewer than 40 rows is LR" in printed
    model = SRReID.from_pretrained(files / "model.safetensors", normalize=False)
    tables = printed.replace("*", "").split("\nEuclidean distances")[1:]
    for table, query in zip(tables, (model(low), model(low, mode="never")), strict=True):
        rows = [[float(value) for value in line.split()[1:]] for line in table.splitlines()[2:4]]
        np.testing.assert_allclose(rows, torch.cdist(query, model(high)).numpy(), atol=0.006)
    assert printed.count("*") >= 4


def test_search_and_draw(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = example("search_and_draw").main
    queries = [str(path) for path in sorted((files / "lr").iterdir())]
    command = options("--model {f}/model.safetensors --gallery {f}/hr --out {out}", f=files, out=tmp_path / "out")
    main([*command, "--top", "2", "--query", *queries])
    first, second = capsys.readouterr().out, tmp_path / "out" / "matches.png"
    assert "2 gallery pictures, 2 of them new, 0 unreadable" in first
    model = SRReID.from_pretrained(files / "model.safetensors")
    gallery = sorted((files / "hr").iterdir())
    similarities = (model(queries) @ model(gallery).T).numpy()
    for query, row, line in zip(queries, similarities, first.splitlines(), strict=False):
        expected = ", ".join(f"{gallery[i].name} {row[i]:.2f}" for i in np.argsort(-row))
        assert line == f"{Path(query).name}: {expected}"
    with Image.open(second) as drawn:
        # each row holds the query, its SR and two matches
        assert drawn.width > 4 * 32
        assert drawn.height > 2 * 48
    main([*command, "--query", *queries])
    assert "0 of them new" in capsys.readouterr().out


def test_search_and_draw_names_what_is_wrong(files: Path, tmp_path: Path) -> None:
    main = example("search_and_draw").main
    command = options("--model {f}/model.safetensors --gallery {f}/nothing --query x.jpg", f=files)
    with pytest.raises(UserError, match="nothing: no such file or folder"):
        main([*command, "--out", str(tmp_path)])


def test_accept_or_none(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("accept_or_none")
    model = SRReID.from_pretrained(files / "model.safetensors")
    spec = SyntheticSpec(1, 6, height=32, width=16)
    monkeypatch.setattr(module, "write_synthetic", lambda root: write_synthetic(tmp_path, spec))
    with pytest.raises(UserError, match="has no thresholds; intact-fast calibrate measures them"):
        module.main(options("--model {f}/model.safetensors", f=files))
    printed = {}
    for name, limit in (("all", -1.0), ("none", 1.0)):
        view = ViewThresholds(10, 1000, 5, (Threshold(0.01, limit, 0.01, 0.5),))
        model.thresholds = Thresholds("drawn", {"sr": view})
        model.save_pretrained(tmp_path / f"{name}.safetensors")
        module.main(options("--model {f} --people 4", f=tmp_path / f"{name}.safetensors"))
        printed[name] = capsys.readouterr().out
    # two of the four people are in the gallery of two pictures
    assert "nobody (" not in printed["all"]
    found, wrong = map(int, re.search(r"(\d) of 2 people found\nwrong names: (\d) of 4", printed["all"]).groups())
    assert found + wrong == 4
    assert printed["none"].count(": nobody (") == 4
    assert "0 of 2 people found\nwrong names: 0 of 4 queries" in printed["none"]


def test_score_any_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("score_any_model")
    arrays = module.draw_features(people=12)
    for name, array in zip(module.NAMES, arrays, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    module.main([str(tmp_path), "--metric", "cosine"])
    first, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "12 queries, 120 gallery pictures, cosine distance"
    choices = [(protocol, rerank) for protocol in ("multi-shot", "single-shot") for rerank in ("no", "yes")]
    for (protocol, rerank), row in zip(choices, rows, strict=True):
        reranking = Reranking() if rerank == "yes" else None
        result = evaluate_ranking(*arrays, protocol=protocol, metric="cosine", reranking=reranking)
        figures = (result.cmc[0], result.cmc[4], result.mean_ap, result.mean_inp)
        assert row.split() == [protocol, rerank, *(f"{100 * figure:.1f}" for figure in figures)]
    (tmp_path / "query_pids.npy").unlink()
    with pytest.raises(UserError, match=r"not the arrays query, .*query_pids\.npy"):
        module.main([str(tmp_path)])


def test_score_any_model_draws_features(capsys: pytest.CaptureFixture[str]) -> None:
    example("score_any_model").main([])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert all(0 < float(value) < 100 for row in rows for value in row[2:])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_fused_operator(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    example("fused_operator").main(["--device", device])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("output                   (8, 16, 64, 32)")
    # the output, 2 statistics, the gradients of x and of 5 parameters
    assert len(lines) == 9
    assert all(float(line.split()[-1]) < 1e-3 for line in lines)


def test_export_and_run(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [str(path) for path in sorted((files / "lr").iterdir())]
    command = options("--model {f}/model.safetensors --out {out}", f=files, out=tmp_path / "new" / "query.onnx")
    example("export_and_run").main([*command, "--pictures", *pictures])
    printed = capsys.readouterr().out.splitlines()
    assert (tmp_path / "new" / "query.onnx").is_file()
    assert "pictures (2, 3, 48, 32) -> features (2, 512), pictures (2, 3, 48, 32)" in printed[0]
    differences = [float(line.split()[-3]) for line in printed[1:]]
    assert len(differences) == 2
    assert max(differences) < 1e-5


def test_export_and_run_without_onnxruntime(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    command = options("--model {f}/model.safetensors --out {out}/query.onnx", f=files, out=tmp_path)
    example("export_and_run").main(command)
    assert capsys.readouterr().out == ("skipped: onnxruntime is not installed; run pip install 'intact_fast[export]'\n")
    assert not (tmp_path / "query.onnx").exists()
