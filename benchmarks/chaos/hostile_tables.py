"""Hostile manifests, tables, configurations, indexes, records and MATLAB files, each through commands that read it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.cases import Case, Outcome, refused
from benchmarks.chaos.corpus import SERVED, Corpus
from benchmarks.chaos.mutations import changed, damaged, json_bombs, yaml_bombs
from benchmarks.chaos.promise import Trial
from benchmarks.chaos.tiny_runs import run_command
from intact_fast.json_text import to_json

TABLE = "path,pid,camera,split\n"
_Made = tuple[str, list[object]]


def cases(trial: Trial, corpus: Corpus, count: int) -> Iterator[Case]:
    """Give so many files, the kinds in turn, and every bomb of YAML and JSON once."""
    rng = trial.draw()
    makers = _Makers(trial.folder / "tables", corpus, rng)
    kinds = (
        *(makers.manifest, makers.table, makers.columns, makers.configuration, makers.index, makers.thresholds),
        *(makers.protocol, makers.record, makers.onnx, makers.notes),
    )
    for number in range(count):
        name, words = kinds[number % len(kinds)](number)
        yield _case(f"{name} {number}", words)
    mark = trial.folder / "yaml-mark"
    for name, text in yaml_bombs(mark).items():
        words = makers.report_of(f"yaml {name}", "config.yaml", text)
        yield _case(f"config.yaml: {name}", words, lambda outcome: refused(outcome) or _marked(mark))
    for number, (name, text) in enumerate(json_bombs().items()):
        yield _case(f"manifest: {name}", makers.report_of(f"manifest {name}", "manifest.jsonl", text), refused)
        kept = ("notes.json", "metrics.jsonl")[number % 2]
        yield _case(f"{kept}: {name}", makers.report_of(f"{kept} {name}", kept, text))
        yield _case(f"thresholds: {name}", makers.search_with(f"thresholds {name}", text), refused)


def _case(name: str, words: list[object], needs: Callable[[Outcome], str | None] = lambda outcome: None) -> Case:
    return Case(name, partial(run_command, *words), needs)


def _marked(mark: Path) -> str | None:
    return "it ran" if mark.exists() else None


def with_hash(lines: list[Any]) -> str:
    """Write a manifest whose hash is right, whatever stands in it."""
    first, *rest = lines
    if isinstance(first, dict):
        header = {name: value for name, value in first.items() if name not in ("hash", "format")}
        digest = hashlib.sha256()
        for line in (header, *rest):
            digest.update(to_json(line, sort_keys=True).encode() + b"\n")
        first = {**first, **({"hash": digest.hexdigest()} if "hash" in first else {})}
    return "\n".join(json.dumps(line) for line in (first, *rest)) + "\n"


class _Makers:
    """Writes hostile files of each kind, and says which command reads it."""

    def __init__(self, folder: Path, corpus: Corpus, rng: random.Random) -> None:
        folder.mkdir()
        self._folder, self._corpus, self._rng = folder, corpus, rng
        self._manifest = [
            json.loads(line) for line in (corpus.run / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        self._picture = next(corpus.pictures.iterdir())
        self._served = ("--model", corpus.model, *SERVED)
        self._data = ("--data.dataset", "folder", "--data.root", corpus.pictures, "--data.threads", "1")
        self._made = 0

    def _damaged(self, text: str) -> bytes:
        content = text.encode()
        return damaged(content, self._rng) if self._rng.random() < 0.3 else content

    def manifest(self, number: int) -> _Made:
        path = self._folder / f"split{number}.jsonl"
        path.write_bytes(self._damaged(with_hash(changed(self._manifest, self._rng, self._rng.randint(1, 3)))))
        out = self._folder / f"made{number}"
        critic = ("--critic", self._corpus.critic, "--data.height", "48", "--data.width", "32", "--device", "cpu")
        return "manifest", self._rng.choice(
            [
                ["prepare", "folder", *self._data, "--data.manifest", path, "--out", f"{out}.jsonl"],
                ["evaluate", *critic, *self._data, "--data.manifest", path],
                ["calibrate", self._corpus.model, *self._data, "--data.manifest", path, "--out", f"{out}.json"],
            ]
        )

    def table(self, number: int) -> _Made:
        """A data set's table: cells of other kinds, other separators, bytes that are no text."""
        root = self._folder / f"set{number}"
        shutil.copytree(self._corpus.pictures, root)
        rows = [[path.name, path.name[:4], path.name[8], ""] for path in sorted(self._corpus.pictures.iterdir())]
        cells = [
            "../x.png",
            "/etc/passwd",
            "",
            '"',
            "-1",
            "9" * 400,
            "1e9",
            "\x00",
            "a\nb",
            "=1+1",
            "test",
            "😀",
            "nan",
        ]
        for _ in range(self._rng.randint(1, 4)):
            row = self._rng.choice(rows)
            row[self._rng.randrange(4)] = self._rng.choice(cells)
        text = TABLE + "".join(
            self._rng.choice(",;\t").join(row) + "\n" if not i else ",".join(row) + "\n" for i, row in enumerate(rows)
        )
        (root / "pictures.csv").write_bytes(self._damaged(text))
        data = ("--data.dataset", "folder", "--data.root", root)
        return "table", ["prepare", "folder", *data, "--out", self._folder / f"made{number}.jsonl"]

    def columns(self, number: int) -> _Made:
        """A table of columns for `embed`, as CSV or Parquet."""
        path = self._folder / f"columns{number}.{self._rng.choice(('csv', 'parquet'))}"
        cells = ["2024-01-01", "99999999999999999", "x", "", "1", "\x00", '"', "-1", "1e400"]
        lines = ["path,camera,time"] + [
            f"{p.name},{self._rng.choice(cells)},{self._rng.choice(cells)}" for p in self._corpus.pictures.iterdir()
        ]
        path.write_bytes(self._damaged("\n".join(lines)))
        out = self._folder / f"made{number}"
        return "columns", ["embed", self._corpus.pictures, out, *self._served, "--columns", path]

    def configuration(self, number: int) -> _Made:
        import yaml

        values = yaml.safe_load((self._corpus.run / "config.yaml").read_text(encoding="utf-8"))
        text = yaml.safe_dump(changed(values, self._rng, self._rng.randint(1, 3)))
        return "configuration", self.report_of(f"config{number}", "config.yaml", self._damaged(text))

    def index(self, number: int) -> _Made:
        """A gallery of which one file has other bytes."""
        place = self._folder / f"index{number}.lance"
        shutil.copytree(self._corpus.index, place)
        chosen = self._rng.choice(sorted(path for path in place.rglob("*") if path.is_file()))
        chosen.write_bytes(damaged(chosen.read_bytes() or b"\0", self._rng))
        words = ["search", "--query", self._picture, "--gallery", self._corpus.pictures, *self._served]
        return "index", [*words, "--index", place]

    def thresholds(self, number: int) -> _Made:
        step = {"rate": 0.1, "similarity": 0.5, "false_match_rate": 0.1, "true_match_rate": 0.9}
        view = {"matches": 9, "non_matches": 999, "people": 9, "steps": [step]}
        found = {"data": "x", "views": {"hr": view, "sr": view, "lr": view}}
        digest = hashlib.sha256(self._corpus.model.read_bytes()).hexdigest()
        whole = {"intact_fast": "thresholds", "version": 1, "model": "m", "digest": digest, "thresholds": found}
        text = self._damaged(json.dumps(changed(whole, self._rng)))
        return "thresholds", self.search_with(f"thresholds{number}", text)

    def search_with(self, name: str, text: bytes | str) -> list[object]:
        path = self._folder / f"{name}.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        words = ["search", "--query", self._picture, "--gallery", self._corpus.pictures, *self._served]
        return [*words, "--accept", "0.1", "--thresholds", path]

    def protocol(self, number: int) -> _Made:
        """The new protocol's file of CUHK03, or its release: bytes changed, or arrays of other kinds."""
        from scipy.io import savemat

        root = self._folder / f"cuhk{number}"
        pictures = root / "images_detected"
        pictures.mkdir(parents=True)
        names = [f"{p // 2 + 1}_{p:03d}_{v}_01.png" for p in range(1, 9) for v in (1, 2)]
        for name in names:
            shutil.copy(self._picture, pictures / name)
        rows: dict[str, Any] = {
            "filelist": np.array([[name] for name in names], dtype=object),
            "train_idx": np.arange(1, 9)[:, None],
            "query_idx": np.array([[9], [11], [13]]),
            "gallery_idx": np.array([[10], [12], [14]]),
        }
        if self._rng.random() < 0.5:
            rows[self._rng.choice(list(rows))] = self._rng.choice(
                [np.zeros((3, 3)), np.array(["x"]), np.array([[10**9]]), np.array([[-5]]), np.zeros(0), {"a": 1}]
            )
        path = root / "cuhk03_new_protocol_config_detected.mat"
        savemat(path, rows, do_compression=self._rng.random() < 0.5)
        if self._rng.random() < 0.7:
            path.write_bytes(damaged(path.read_bytes(), self._rng))
        words = ["prepare", "cuhk03", "--data.root", root, "--data.cuhk03-protocol", "new"]
        return "protocol", [*words, "--out", self._folder / f"made{number}.jsonl"]

    def record(self, number: int) -> _Made:
        """What an extraction of CUHK03 leaves beside its pictures."""
        root = self._folder / f"record{number}"
        pictures = root / "images_detected"
        pictures.mkdir(parents=True)
        for person in range(1, 9):
            for view in (1, 2):
                shutil.copy(self._picture, pictures / f"1_{person:03d}_{view}_01.png")
        whole = {"pictures": 16, "testsets": [[[1, 1], [1, 2], [1, 3]]]}
        pictures.with_suffix(".json").write_bytes(self._damaged(json.dumps(changed(whole, self._rng))))
        return "record", ["prepare", "cuhk03", "--data.root", root, "--out", self._folder / f"made{number}.jsonl"]

    def onnx(self, number: int) -> _Made:
        """A graph's file where a model file is meant: its metadata are read by nobody."""
        import onnx

        empty = onnx.helper.make_graph([], "g", [], [])
        model = onnx.helper.make_model(empty)
        entry = model.metadata_props.add()
        entry.key, entry.value = "intact_fast", self._rng.choice(["[" * 9999, '{"size": [1e999]}', "x" * 10**5])
        path = self._folder / f"model{number}{self._rng.choice(('.onnx', '.safetensors', '.pt'))}"
        path.write_bytes(damaged(model.SerializeToString(), self._rng))
        out = self._folder / f"made{number}.png"
        return "ONNX", ["enhance", self._picture, out, "--model", path, "--device", "cpu"]

    def notes(self, number: int) -> _Made:
        """What a run keeps for its report."""
        file = self._rng.choice(("notes.json", "metrics.jsonl"))
        text = (self._corpus.run / file).read_text(encoding="utf-8")
        if file == "notes.json":
            plain = json.dumps(changed(json.loads(text), self._rng))
        else:
            plain = "\n".join(json.dumps(changed(json.loads(line), self._rng)) for line in text.splitlines())
        return file, self.report_of(f"notes{number}", file, self._damaged(plain))

    def report_of(self, name: str, file: str, content: bytes | str) -> list[object]:
        """Copy the run with one file replaced."""
        self._made += 1
        folder = self._folder / f"run{self._made}"
        shutil.copytree(self._corpus.run, folder, copy_function=_link)
        (folder / file).unlink()
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["report", folder, "--device", "cpu", "--data.root", self._corpus.pictures]


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)
