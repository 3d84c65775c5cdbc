"""Features that rows share: computed once, by one process, and never taken for those of something else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from intact_fast.config.options import Config, DataConfig
from intact_fast.data.manifest import Entry
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.evaluator import SharedFeatures
from intact_fast.experiments.kept_features import KeptFeatures, Origin, digest_of_files
from intact_fast.experiments.measured import Measured
from intact_fast.experiments.table_runs import TableRuns
from intact_fast.models import build_osnet
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.distributed.process import Process

ORIGIN = Origin("c0ffee", "5eed", "b00c", (256, 128), "bilinear", 1, 128, "cpu")

# computes features of 1s until it is told to end
ANOTHER = """
import sys
from pathlib import Path
import torch
from intact_fast.evaluation.evaluator import SharedFeatures
from intact_fast.experiments.kept_features import KeptFeatures, Origin
from intact_fast.training.distributed.process import Process

def compute():
    print("in", flush=True)
    sys.stdin.readline()
    return SharedFeatures(torch.ones(2, 512), {})

process = Process(0, 1, torch.device("cpu"), None)
origin = Origin("c0ffee", "5eed", "b00c", (256, 128), "bilinear", 1, 128, "cpu")
KeptFeatures(Path(sys.argv[1]), process, concurrent=True).obtain(origin, compute)
"""


def kept(folder: Path, concurrent: bool = False) -> KeptFeatures:
    return KeptFeatures(folder, Process(0, 1, torch.device("cpu"), None), concurrent)


def drawn(seed: int, *views: str) -> Callable[[], SharedFeatures]:
    def compute() -> SharedFeatures:
        generator = torch.Generator().manual_seed(seed)
        gallery = torch.randn(5, 512, generator=generator)
        return SharedFeatures(gallery, {"hr": torch.randn(3, 512, generator=generator)} if views else {})

    return compute


def refused() -> SharedFeatures:
    raise AssertionError("computed again")


@pytest.mark.parametrize("views", [("hr",), ()])
def test_features_are_computed_once(tmp_path: Path, views: tuple[str, ...]) -> None:
    first = kept(tmp_path).obtain(ORIGIN, drawn(0, *views))
    again = kept(tmp_path).obtain(ORIGIN, refused)
    assert torch.equal(again.gallery_features, first.gallery_features)
    assert again.query_features.keys() == first.query_features.keys() == set(views)
    assert all(torch.equal(again.query_features[view], first.query_features[view]) for view in views)


@pytest.mark.parametrize(
    "change",
    [
        {"critic": "0ther"},
        {"manifest": "0ther"},
        {"pictures": "0ther"},
        {"size": (128, 64)},
        {"interpolation": "bicubic"},
        {"enlarge": 2},
        {"batch_size": 64},
        {"device": "cuda"},
        {"left_out": ("a.jpg",)},
        {"versions": ("0ther",)},
    ],
)
def test_features_of_something_else_are_not_taken(tmp_path: Path, change: dict[str, object]) -> None:
    kept(tmp_path).obtain(ORIGIN, drawn(0))
    other = kept(tmp_path).obtain(replace(ORIGIN, **change), drawn(1))  # type: ignore[arg-type]
    assert torch.equal(other.gallery_features, drawn(1)().gallery_features)
    assert torch.equal(kept(tmp_path).obtain(ORIGIN, refused).gallery_features, drawn(0)().gallery_features)


def break_(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def misname(path: Path) -> None:
    save_file({"something": torch.ones(1)}, path)


@pytest.mark.parametrize("damage", [break_, misname])
def test_what_cannot_be_read_is_computed_again(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    kept(tmp_path).obtain(ORIGIN, drawn(0))
    (path,) = (tmp_path / "features").glob("*.safetensors")
    damage(path)
    again = kept(tmp_path).obtain(ORIGIN, drawn(1))
    assert torch.equal(again.gallery_features, drawn(1)().gallery_features)
    assert f"{path.name}: not readable" in capsys.readouterr().err
    assert torch.equal(kept(tmp_path).obtain(ORIGIN, refused).gallery_features, again.gallery_features)


def test_features_that_cannot_be_written_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "features").write_text("no folder")
    features = kept(tmp_path).obtain(ORIGIN, drawn(0))
    assert torch.equal(features.gallery_features, drawn(0)().gallery_features)
    assert "cannot be written" in capsys.readouterr().err


def test_a_changed_or_missing_picture_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    rows = [Entry("a.jpg", 0, 0, "gallery", False, None), Entry("b.jpg", 1, 0, "gallery", False, None)]
    found = [digest_of_files(tmp_path, rows)]
    (tmp_path / "b.jpg").write_bytes(b"two")
    found.append(digest_of_files(tmp_path, rows))
    (tmp_path / "b.jpg").write_bytes(b"other")
    found.append(digest_of_files(tmp_path, rows))
    assert digest_of_files(tmp_path, rows) == found[-1]
    assert len(set(found)) == 3


def test_a_failed_computation_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> SharedFeatures:
        raise UserError("a picture is missing")

    with pytest.raises(UserError, match="a picture is missing"):
        kept(tmp_path, concurrent=True).obtain(ORIGIN, failing)
    assert not list((tmp_path / "features").glob("*.safetensors"))
    kept(tmp_path, concurrent=True).obtain(ORIGIN, drawn(0))


def test_processes_beside_each_other_wait_for_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", ANOTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        found: list[SharedFeatures] = []
        waiting = threading.Thread(
            target=lambda: found.append(kept(tmp_path, concurrent=True).obtain(ORIGIN, refused)), daemon=True
        )
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        other.stdin.write("end\n")
        other.stdin.close()
        waiting.join(60)
        assert other.wait() == 0
    assert torch.equal(found[0].gallery_features, torch.ones(2, 512))
    assert "Another process computes" in capfd.readouterr().out


def test_features_without_unreadable_pictures_are_others(tmp_path: Path, picture_folder: Callable[..., Path]) -> None:
    """Pictures that are left out have no rows: the files and what is made of them both count."""
    root = picture_folder(identities=4)
    config = Config(data=DataConfig(dataset="folder", root=root), runs=tmp_path, name="table")
    skipping = replace(config, evaluation=replace(config.evaluation, skip_corrupt=True))
    manifest = obtain_manifest(config.data)
    model = SRReID(build_osnet("osnet_x0_25", 2), None, (48, 32))
    table = TableRuns(config, Process(0, 1, torch.device("cpu"), None), Measured())
    whole = table._origin(model, manifest, skipping)
    assert whole == table._origin(model, manifest, config)
    name = manifest.split("gallery")[0].path
    (root / name).write_bytes(b"no picture")
    damaged = table._origin(model, manifest, skipping)
    assert damaged.left_out == (name,)
    assert damaged.pictures != whole.pictures
    assert damaged != table._origin(model, manifest, config)
