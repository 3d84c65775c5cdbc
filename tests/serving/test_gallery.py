"""The gallery: what survives a crash, what is computed again, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lance
import pyarrow
import pytest
import torch

from conftest import write_picture
from intact_fast import SRReID, UserError
from intact_fast.models import build_osnet
from intact_fast.serving.gallery import Gallery, Identity, Update, update_gallery
from intact_fast.serving.gallery.columns import PatternColumns, read_pattern
from intact_fast.serving.gallery.computing import compute_rows
from intact_fast.serving.gallery.engine import engine_errors
from intact_fast.serving.gallery.store import KEY
from intact_fast.serving.picture_reading import Unreadable, list_pictures

IDENTITY = Identity("m.safetensors", "0" * 64, "mode=auto")


@pytest.fixture
def model() -> SRReID:
    torch.manual_seed(0)
    return SRReID(build_osnet("osnet_x0_25", 5), None, (48, 32), batch_size=2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(5):
        write_picture(tmp_path / "in" / f"{i}_c{i % 2}.jpg", seed=i)
    return tmp_path / "in"


def update(
    gallery: Gallery,
    model: SRReID,
    folder: Path,
    source: PatternColumns | None = None,
    unreadable: Unreadable | None = None,
) -> Update:
    return update_gallery(gallery, model, folder, list_pictures(folder).pictures, unreadable or Unreadable(), source)


def test_a_gallery_follows_its_folder_wherever_that_lies(model: SRReID, pictures: Path, tmp_path: Path) -> None:
    place = tmp_path / "g.lance"
    assert update(Gallery.open(place, IDENTITY), model, pictures) == Update(5, 0, 0)
    moved = pictures.rename(tmp_path / "elsewhere")
    gallery = Gallery.open(tmp_path / "g.lance", Identity("renamed.safetensors", IDENTITY.digest, IDENTITY.settings))
    assert update(gallery, model, moved) == Update(0, 5, 0)
    write_picture(moved / "0_c0.jpg", seed=10)
    os.utime(moved / "0_c0.jpg", ns=(1, 1))
    (moved / "1_c1.jpg").unlink()
    assert update(gallery, model, moved) == Update(1, 3, 2)
    table = gallery.table(["path", "width", "height", "hash", "file_time"])
    assert sorted(table["path"].to_pylist()) == ["0_c0.jpg", "2_c0.jpg", "3_c1.jpg", "4_c0.jpg"]
    assert set(table["width"].to_pylist()) == {24}
    assert len(set(table["hash"].to_pylist())) == 4


def test_an_interrupted_update_goes_on(
    model: SRReID, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intact_fast.serving.gallery.update.COMMIT", 2)
    done = []

    def interrupt(count: int) -> None:
        done.append(count)
        if sum(done) >= 4:
            raise KeyboardInterrupt

    gallery, listed = Gallery.open(tmp_path / "g.lance", IDENTITY), list_pictures(pictures).pictures
    with pytest.raises(KeyboardInterrupt):
        update_gallery(gallery, model, pictures, listed, Unreadable(), None, interrupt)
    assert update(Gallery.open(tmp_path / "g.lance", IDENTITY), model, pictures) == Update(1, 4, 0)


_ADDING = """
import sys, torch
from intact_fast.serving.gallery import Gallery, Identity
gallery = Gallery.open(sys.argv[1], Identity("m.safetensors", "0" * 64, "mode=auto"), 64)
for part in range(10_000):
    gallery.add([f"{part}/{i}.jpg" for i in range(50)], torch.randn(50, 64))
    print(part, flush=True)
"""


def test_nothing_committed_is_lost_by_kill_9(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ADDING, str(tmp_path / "g.lance")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        # anywhere inside a commit
        time.sleep(0.013)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    committed = 4 + len(rest)
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY, 64)
    assert len(gallery) in (50 * committed, 50 * (committed + 1))
    assert gallery.table(["feature"])["feature"].null_count == 0
    gallery.add(["0/0.jpg", "new.jpg"], torch.randn(2, 64), [{"camera": "7"}, {}])
    assert len(gallery) in (50 * committed + 1, 50 * (committed + 1) + 1)
    assert gallery.table(["path"], "camera = '7'")["path"].to_pylist() == ["0/0.jpg"]


def test_unreadable_pictures_are_remembered(
    model: SRReID, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "bad.jpg").write_bytes(b"no picture")
    for tried in (True, False):
        unreadable = Unreadable()
        found = update(Gallery.open(tmp_path / "g.lance", IDENTITY), model, pictures, unreadable=unreadable)
        assert ([path.name for path in unreadable.reasons], found.skipped) == ((["bad.jpg"], 0) if tried else ([], 1))
    assert "1 files that could not be read before are not tried again, such as bad.jpg" in capsys.readouterr().err
    write_picture(pictures / "bad.jpg", seed=3)
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    assert update(gallery, model, pictures) == Update(1, 5, 0)
    assert len(gallery.unreadable()) == 0


def test_progress_counts_pictures_that_cannot_be_read(model: SRReID, pictures: Path) -> None:
    for name in ("0_c0.jpg", "4_c0.jpg"):
        (pictures / name).write_bytes(b"no picture")
    done, unreadable = list[int](), Unreadable()
    paths = list_pictures(pictures).pictures
    tables = list(compute_rows(model, pictures, paths, None, unreadable, done.append, at_once=2))
    assert done == [2, 2, 1]
    assert [table["path"].to_pylist() for table in tables] == [["1_c1.jpg", "2_c0.jpg", "3_c1.jpg"]]
    assert {path.name for path in unreadable.reasons} == {"0_c0.jpg", "4_c0.jpg"}


def test_columns_of_known_pictures_are_brought_up_to_date(model: SRReID, pictures: Path, tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    update(gallery, model, pictures)
    before = dict(zip(*gallery.table(["path", "feature"]).to_pydict().values(), strict=True))
    assert update(gallery, model, pictures, read_pattern(r"_c(?P<camera>\d)")) == Update(0, 5, 0)
    rows = {row["path"]: row for row in gallery.table(["path", "camera", "width", "feature"]).to_pylist()}
    assert {name: row["camera"] for name, row in rows.items()} == {name: name[3] for name in before}
    assert all(row["feature"] == before[name] and row["width"] == 24 for name, row in rows.items())


def test_names_that_are_no_text(model: SRReID, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = [os.fsdecode(b"\xff\\x.png"), "back\\xff.png", "straße.png"]
    for i, name in enumerate(names):
        write_picture(folder / name, seed=i)
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY)
    assert update(gallery, model, folder).computed == 3
    assert update(gallery, model, folder) == Update(0, 3, 0)


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    place = tmp_path / "g.lance"
    Gallery.open(place, IDENTITY, 8).add(["a.jpg"], torch.ones(1, 8))
    other = Identity("other.safetensors", "1" * 64, "mode=auto")
    with pytest.raises(UserError, match=r"made with m\.safetensors .* this is other\.safetensors .* --rebuild"):
        Gallery.open(place, other, 8)
    assert len(Gallery.open(place)) == 1
    rebuilt = Gallery.open(place, other, 8, rebuild=True)
    assert (len(rebuilt), Gallery.open(place).identity) == (0, other)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file.safetensors", r"a file, which stays as it is; .* give --index .*file\.lance"),
        ("folder", r"name it .*folder\.lance"),
        ("other.lance", "a folder of other files"),
        ("foreign.lance", "a Lance table, but none of ours"),
        ("none.lance", "no such gallery"),
    ],
)
def test_other_things_are_left_alone(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"x")
    (tmp_path / "other.lance").mkdir()
    (tmp_path / "other.lance" / "notes.txt").write_text("x")
    lance.write_dataset(pyarrow.table({"a": [1]}), str(tmp_path / "foreign.lance"))
    with pytest.raises(UserError, match=message):
        Gallery.open(tmp_path / name, None if name == "none.lance" else IDENTITY, rebuild=name == "foreign.lance")


def test_small_parts_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intact_fast.serving.gallery.store._MANY_PARTS", 3)
    gallery = Gallery.open(tmp_path / "g.lance", IDENTITY, 8)
    for i in range(5):
        gallery.add([f"{i}.jpg"], torch.ones(1, 8))
    gallery.tidy()
    assert len(gallery.dataset.get_fragments()) == 1
    assert len(Gallery.open(tmp_path / "g.lance", IDENTITY)) == 5
    assert KEY.encode() in gallery.dataset.schema.metadata


def test_a_panic_of_the_engine_is_one_line() -> None:
    """Rust's are no Exception: a damaged index gave a traceback."""
    panic = type("PanicException", (BaseException,), {})
    said = r"^g\.lance: range end 9 out of range; make it anew$"
    with pytest.raises(UserError, match=said), engine_errors("g.lance", "make it anew"):
        raise panic("range end 9\n out of range")
    with pytest.raises(KeyboardInterrupt), engine_errors("g.lance"):
        raise KeyboardInterrupt
