"""The commands besides `train` in their smallest form, and whether two calls of one left the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch

from benchmarks.chaos.children import Board, Children, end_of, run_undisturbed, start
from benchmarks.chaos.equal_runs import files_of, leftovers
from intact_fast import SRReID
from intact_fast.cli import main
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.gallery import Gallery, update

_COLUMNS = ["path", "hash", "feature"]


@dataclass(frozen=True)
class Command:
    """A command that writes into a folder.

    Attributes:
        name: As a promise names it.
        words: Of the command line, for the folder.
        differences: Between what it left in an undisturbed folder and in another one.
        kills: How many it is worth.
        at_once: Kills of one folder before the command is let finish.
        prepare: Called in each child first.
        set_up: Puts into a folder what is there before the command.
        replaces: Whether what is complete is replaced by the same command; else it is refused.
        unreadable: What of what was there before cannot be read, after a call that failed; None where nothing was.
    """

    name: str
    words: Callable[[Path], Sequence[object]]
    differences: Callable[[Path, Path], list[str]]
    kills: int = 10
    at_once: int = 5
    prepare: Callable[[Board], None] = lambda board: None
    set_up: Callable[[Path], object] = lambda out: None
    replaces: bool = True
    unreadable: Callable[[Path], list[str]] | None = None

    def begin(self, out: Path, log: Path, further: Callable[[Board], None] = lambda board: None) -> Children:
        """Start it in a child, which prints into a log."""
        words = [str(word) for word in self.words(out)]

        def prepare(board: Board) -> None:
            self.prepare(board)
            further(board)

        return start(lambda: main(words), log, out, prepare=prepare)

    def run_undisturbed(self, out: Path, log: Path) -> int:
        """Run it in a new folder, and import here what it needs; how many changes of files it makes."""
        words = [str(word) for word in self.words(out)]
        out.mkdir(parents=True)
        self.set_up(out)
        return run_undisturbed(lambda: main(words), log, out, self.prepare).board.changes

    def faults_of_half(self, out: Path, log: Path) -> list[str]:
        """Say what is wrong with what a call that failed, or was killed, has left."""
        look = self.unreadable
        return [] if look is None else _in_child(lambda: look(out), log)

    def faults_of_end(self, whole: Path, out: Path, log: Path) -> list[str]:
        """Let it end, and say what is wrong with what is there then."""
        last = self.begin(out, log)
        (status,) = last.wait()
        said = end_of(last.log)
        if status != 0 and (self.replaces or "exists already" not in said):
            return [f"status {status}: {said}"]
        return [*_in_child(lambda: self.differences(whole, out), log), *leftovers(out)]


def _in_child(look: Callable[[], list[str]], log: Path) -> list[str]:
    """Look in a child: Lance's threads do not survive the fork of a process that has read a table."""
    answer = log.with_suffix(".json")

    def write() -> int:
        answer.write_text(json.dumps(look()), encoding="utf-8")
        return 0

    (status,) = start(write, log, log).wait()
    if status != 0:
        return [f"not to be looked at: {end_of(log)}"]
    found: list[str] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def commands(folder: Path, pictures: Path) -> list[Command]:
    """Give the commands that need no training.

    Args:
        folder: Takes what they share.
        pictures: People that `draw_pictures` has drawn.
    """
    train, test, model = pictures / "train", pictures / "test", folder / "model.safetensors"
    _model().save_pretrained(model)
    served = ("--model", model, "--device", "cpu", "--engine", "torch", "--threads", 1, "--batch-size", 4)
    search = ("search", "--query", sorted(test.iterdir())[0], *served)
    before = folder / "before.lance"
    _index_a_former_gallery(train, folder / "former", before, search)
    return [
        Command(
            "prepare",
            lambda out: ("prepare", "folder", "--data.root", pictures, "--out", out / "split.jsonl"),
            _of_files,
            replaces=False,
        ),
        Command(
            "export",
            lambda out: ("export", "--model", model, "--out", out / "m.safetensors"),
            _of_files,
            replaces=False,
        ),
        Command("enhance --overwrite", lambda out: ("enhance", test, out, *served, "--overwrite"), _of_files),
        Command("embed", lambda out: ("embed", test, out / "x.parquet", *served, "--part-rows", 3), _of_rows),
        Command(
            "search --index",
            lambda out: (*search, "--gallery", train, "--index", out / "x.lance"),
            _of_galleries,
            kills=20,
            prepare=_commit_often,
            set_up=lambda out: shutil.copytree(before, out / "x.lance"),
            unreadable=_unreadable_rows,
        ),
    ]


def _model() -> SRReID:
    """Make a tiny module."""
    torch.manual_seed(0)
    return SRReID(build_osnet("osnet_x0_25", 5), Generator((4, 4, 4, 4), skip="add"), (48, 32), lr_height=40)


def _index_a_former_gallery(gallery: Path, former: Path, index: Path, search: Sequence[object]) -> None:
    """Index a gallery as it was before: a quarter of its pictures are missing, others were replaced or are gone now."""
    shutil.copytree(gallery, former)
    paths = sorted(former.iterdir())
    for path in paths[: len(paths) // 4]:
        path.unlink()
    for path in paths[-len(paths) // 4 :]:
        os.utime(path, (0, 0))
    shutil.copy2(paths[-1], former / "gone.jpg")
    words = [str(word) for word in (*search, "--gallery", former, "--index", index)]
    log = index.with_suffix(".log")
    (status,) = start(lambda: main(words), log, index).wait()
    assert status == 0, log.read_text()


def _commit_often(board: Board) -> None:
    """Let an update of a gallery commit three pictures at a time, and count its steps."""
    update.COMMIT = 3
    for name in ("append", "delete_paths", "tidy", "remember_unreadable"):
        original = getattr(Gallery, name)

        def counted(self: Gallery, *arguments: object, original: Callable[..., None] = original) -> None:
            board.count()
            original(self, *arguments)
            board.count()

        setattr(Gallery, name, counted)


def _of_files(whole: Path, out: Path) -> list[str]:
    names, others = files_of(whole), files_of(out)
    found = [f"{name}: on one side alone" for name in sorted(names ^ others)]
    return found + [name for name in sorted(names & others) if (whole / name).read_bytes() != (out / name).read_bytes()]


def _of_rows(whole: Path, out: Path) -> list[str]:
    """Compare embedded rows; their order is that in which parts were written."""
    found = [f"{name}: on one side alone" for name in sorted(files_of(whole) ^ files_of(out))]
    tables = [pq.read_table(folder / "x.parquet").sort_by("path") for folder in (whole, out)]
    return found if tables[0].equals(tables[1]) else [*found, "other rows"]


def _unreadable_rows(out: Path) -> list[str]:
    paths = Gallery.open(out / "x.lance").table(_COLUMNS)["path"].to_pylist()
    return [] if len(set(paths)) == len(paths) > 0 else [f"{len(paths)} rows of {len(set(paths))} pictures"]


def _of_galleries(whole: Path, out: Path) -> list[str]:
    tables = [Gallery.open(folder / "x.lance").table(_COLUMNS).sort_by("path") for folder in (whole, out)]
    return [] if tables[0].equals(tables[1]) else ["other rows"]
