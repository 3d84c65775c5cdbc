"""Damaged and hostile files through every command that reads them: a right result or one line, and nothing runs."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.chaos import hostile_tables
from benchmarks.chaos.cases import Case, Outcome, refused, tried
from benchmarks.chaos.corpus import SERVED, Corpus, make_corpus
from benchmarks.chaos.mutations import SystemTouch, Touch, changed, damaged, picture_bombs
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import TINY, run_command
from tests.data.damaged_files import damaged_files

PICTURES, PICTURES_A_FOLDER = 2000, 250
WEIGHTS, TABLES = 220, 280


def run(trial: Trial) -> list[Promise]:
    """Try everything; counts are scaled by the trial's share."""
    corpus = make_corpus(trial.folder)
    return [
        tried(
            "a damaged picture of any of eight formats is read, or named in one line, by every command",
            list(picture_cases(trial, corpus)),
        ),
        tried("a small file that claims a gigapixel is refused by name", list(bomb_cases(trial, corpus))),
        tried("a file of weights that is damaged or lies gives one line", list(weight_cases(trial, corpus))),
        tried(
            "a manifest, table, configuration, index or record that is damaged or lies gives one line",
            list(hostile_tables.cases(trial, corpus, trial.count(TABLES))),
        ),
        tried("no pickle runs its code, whichever command loads it", list(pickle_cases(trial, corpus))),
    ]


def picture_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Folders of damaged pictures, each through every command; the whole ones tell how many rows there should be."""
    contents = damaged_files(trial.count(PICTURES), trial.seed)
    number = 0
    while batch := [content for _, content in zip(range(PICTURES_A_FOLDER), contents, strict=False)]:
        folder = trial.folder / f"damaged{number}"
        folder.mkdir()
        for i, content in enumerate(batch):
            (folder / f"{i // 8 + 1:04d}_cam{i % 2 + 1}_{i:04d}.jpg").write_bytes(content)
        # every one of them, so that each role has pictures that can be read
        for path in corpus.pictures.iterdir():
            shutil.copy(path, folder / f"9{path.name}")
        yield from _of_folder(folder, len(batch) + len(list(corpus.pictures.iterdir())), number, trial, corpus)
        number += 1


def _of_folder(folder: Path, count: int, number: int, trial: Trial, corpus: Corpus) -> Iterator[Case]:
    model = ("--model", corpus.model, *SERVED)
    data = ("--data.dataset", "folder", "--data.root", folder, "--data.threads", "1")
    out = trial.folder / f"out{number}"
    skip = ("--data.skip-corrupt", "--evaluation.skip-corrupt")

    def counts(*names: str) -> Callable[[Outcome], str | None]:
        return lambda outcome: _counts(outcome, names, count)

    query = next(corpus.pictures.iterdir())
    backend = ("pillow", "dali")[number % 2]
    # what a loader's process does would be seen by nobody
    loader = ("--data.backend", backend, *(("--data.threads", "0") if backend == "pillow" else ()))
    train = [*TINY, *data, *loader, *skip, "--runs", out / "runs", "--data.val-fraction", "0"]
    of_size = ("--data.height", "48", "--data.width", "32")
    for name, arguments, needs in (
        ("enhance", ["enhance", folder, out / "enhanced", *model, "--json"], counts("written", "unreadable")),
        ("embed", ["embed", folder, out / "features", *model, "--json"], counts("rows", "unreadable")),
        ("search among", ["search", "--query", query, "--gallery", folder, *model, "--json"], counts()),
        ("search for", ["search", "--query", folder, "--gallery", corpus.pictures, *model, "--json"], counts()),
        ("prepare", ["prepare", "folder", *data, "--out", out / "split.jsonl"], counts()),
        ("evaluate", ["evaluate", "--critic", corpus.critic, *data, *of_size, "--evaluation.skip-corrupt"], counts()),
        ("evaluate all", ["evaluate", "--critic", corpus.critic, *data, *of_size], counts()),
        (
            "calibrate",
            ["calibrate", corpus.model, *data, "--out", out / "t.json", "--rates", "0.5", "--evaluation.skip-corrupt"],
            counts(),
        ),
        (f"train, {backend}", ["train", *train], counts()),
    ):
        yield Case(f"{name}, folder {number}", lambda words=arguments: run_command(*words), needs)


def _counts(outcome: Outcome, names: Sequence[str], wanted: int) -> str | None:
    """Say where the pictures that were read and those that were named are not all."""
    if not names:
        return None
    if "{" not in outcome.said:
        return f"status {outcome.status}: {outcome.said[-200:]!r}"
    told = json.loads(outcome.said[outcome.said.index("{") : outcome.said.rindex("}") + 1])
    found = sum(len(value) if isinstance(value, list) else value for value in (told[name] for name in names))
    return None if found == wanted else f"{found} of {wanted} pictures read or named"


def bomb_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Every bomb alone through every command."""
    model = ("--model", corpus.model, *SERVED)
    for kind, content in picture_bombs().items():
        folder = trial.folder / f"bomb-{kind}"
        shutil.copytree(corpus.pictures, folder)
        bomb = folder / f"0009_cam1_0.{kind.rpartition('.')[2]}"
        bomb.write_bytes(content)
        data = ("--data.dataset", "folder", "--data.root", folder, "--data.threads", "1")
        out = trial.folder / f"out-{kind}"

        def refused(outcome: Outcome, bomb: Path = bomb) -> str | None:
            return None if outcome.status in (1, 2) and bomb.name in outcome.said else f"not named: {outcome.said!r}"

        for name, arguments, needs in (
            ("enhance", ["enhance", bomb, out / "x.png", *model], refused),
            ("embed", ["embed", folder, out / "features", *model], refused),
            ("search", ["search", "--query", bomb, "--gallery", folder, *model], refused),
            ("prepare", ["prepare", "folder", *data, "--out", out / "split.jsonl"], lambda outcome: None),
            *(
                (backend, ["train", *TINY, *data, "--runs", out / backend, "--data.backend", backend], refused)
                for backend in ("pillow", "dali")
                # the first look at all pictures is the same for each kind
                if kind in ("jpg", "png")
            ),
        ):
            yield Case(f"{name} {bomb.name} ({kind})", lambda words=arguments: run_command(*words), needs)


def weight_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Checkpoints, C and model files: some bytes or some values are others."""
    rng = trial.draw()
    whole: dict[str, tuple[bytes, Any]] = {
        name: (path.read_bytes(), torch.load(path, weights_only=True))
        for name, path in (("checkpoint", corpus.checkpoint), ("critic", corpus.critic))
    }
    tensors, text = load_file(corpus.model), _configuration(corpus.model)
    for number in range(trial.count(WEIGHTS)):
        kind = ("checkpoint", "critic", "model")[number % 3]
        path = trial.folder / f"weights{number}{'.safetensors' if kind == 'model' else '.pt'}"
        if kind == "model":
            if rng.random() < 0.3:
                path.write_bytes(damaged(corpus.model.read_bytes(), rng))
            else:
                plain = json.dumps(changed(json.loads(text), rng, rng.randint(1, 2)))
                save_file(tensors, path, {"intact_fast": plain})
        elif rng.random() < 0.3:
            path.write_bytes(damaged(whole[kind][0], rng))
        else:
            torch.save(
                changed(whole[kind][1], rng, rng.randint(1, 3)), path, _use_new_zipfile_serialization=rng.random() < 0.7
            )
        arguments = _loading(kind, path, trial.folder / f"made{number}", corpus, rng)
        yield Case(f"{arguments[0]} {kind} {number}", lambda words=arguments: run_command(*words))
    yield from _lying_weights(trial, corpus)


def _configuration(model: Path) -> str:
    content = model.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]["intact_fast"]


def _loading(kind: str, path: Path, out: Path, corpus: Corpus, rng: random.Random) -> list[object]:
    """Choose a command that loads such a file."""
    picture = next(corpus.pictures.iterdir())
    data = ("--data.root", corpus.pictures, "--data.threads", "1", "--device", "cpu")
    search = ["search", "--query", picture, "--gallery", corpus.pictures, *SERVED, "--top", "1"]
    of_critic = ("--data.dataset", "folder", "--data.height", "48", "--data.width", "32")
    choices: dict[str, list[list[object]]] = {
        "checkpoint": [
            ["evaluate", "--checkpoint", path, "--data.dataset", "folder", *data],
            ["export", "--checkpoint", path, "--out", f"{out}.safetensors"],
        ],
        "critic": [
            ["evaluate", "--critic", path, *data, *of_critic],
            [*search, "--model", corpus.model, "--critic", path],
        ],
        "model": [["enhance", picture, f"{out}.png", "--model", path, *SERVED], [*search, "--model", path]],
    }
    return rng.choice(choices[kind])


def _lying_weights(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Files that claim what they do not hold, and networks of a terabyte."""
    critic = torch.load(corpus.critic, weights_only=True)
    one = torch.zeros(1)
    made: dict[str, Any] = {
        "an expanded classifier": {**critic, "classifier.weight": one.expand(10**9, 512)},
        "an expanded weight": {"state_dict": {**critic["state_dict"], "fc.0.weight": one.expand(512, 10**9)}},
        "a meta tensor": {"state_dict": {**critic["state_dict"], "fc.0.weight": torch.empty(512, 128, device="meta")}},
        "enlarged a million times": {**critic, "enlarge": 10**6},
    }
    nested: Any = {"conv1.conv.weight": one}
    for _ in range(30):
        nested = {"a": nested, "b": nested}
    made["a dictionary in many places"] = nested
    for name, content in made.items():
        path = trial.folder / f"{name}.pt"
        torch.save(content, path)
        arguments = _loading("critic", path, trial.folder / name, corpus, random.Random(0))
        yield Case(name, lambda words=arguments: run_command(*words), refused)
    tensors, plain = load_file(corpus.model), json.loads(_configuration(corpus.model))
    for name, part, value in (
        ("C of a billion people", ("critic", "num_classes"), 10**9),
        ("G of a million channels", ("generator", "widths"), [10**6] * 4),
        ("G of a billion blocks", ("generator", "blocks_per_group"), 10**9),
        ("pictures of a million rows", ("options", "size"), [10**6, 10**6]),
    ):
        lying = json.loads(json.dumps(plain))
        lying[part[0]][part[1]] = value
        path = trial.folder / f"{name}.safetensors"
        save_file(tensors, path, {"intact_fast": json.dumps(lying)})
        arguments = _loading("model", path, trial.folder / name, corpus, random.Random(0))
        yield Case(name, lambda words=arguments: run_command(*words), refused)
    for name, content in (("a header of a terabyte", _terabyte()), ("a ZIP bomb", _zip_bomb(corpus.critic))):
        path = trial.folder / f"{name}.pt"
        path.write_bytes(content)
        for kind in ("critic", "model", "checkpoint"):
            arguments = _loading(kind, path, trial.folder / f"{name}-{kind}", corpus, random.Random(0))
            yield Case(f"{name} as {kind}", lambda words=arguments: run_command(*words), refused)


def _terabyte() -> bytes:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    return len(header).to_bytes(8, "little") + header


def _zip_bomb(path: Path) -> bytes:
    """C's file with a storage of 2 GB that compresses to 2 MB."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
        for part in archive.infolist():
            if not part.filename.endswith("/data/0"):
                bomb.writestr(part.filename, archive.read(part))
        with bomb.open(next(n for n in archive.namelist() if n.endswith("/data/0")), "w") as storage:
            for _ in range(120):
                storage.write(bytes(2**24))
    return buffer.getvalue()


def pickle_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Pickles that would leave a mark, through every command that loads weights."""
    number = 0
    data = ("--data.root", corpus.pictures, "--data.threads", "1", "--device", "cpu")
    checkpoint = torch.load(corpus.checkpoint, weights_only=True)
    for kind, forms in ((Touch, ("zip", "legacy", "pickle")), (SystemTouch, ("in a checkpoint",))):
        for form in forms:
            mark, path = trial.folder / f"mark{number}", trial.folder / f"code{number}.pt"
            number += 1
            if form == "pickle":
                path.write_bytes(pickle.dumps(kind(mark)))
            else:
                content = {"x": kind(mark)} if form != "in a checkpoint" else {**checkpoint, "more": kind(mark)}
                torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
            run_folder = trial.folder / f"run{number}"
            shutil.copytree(corpus.run, run_folder)
            shutil.copy(path, run_folder / "checkpoints" / corpus.checkpoint.name)
            rng = random.Random(0)
            out = trial.folder / f"run-out{number}"
            commands: list[list[object]] = [
                *(_loading(loaded, path, out, corpus, rng) for loaded in ("checkpoint", "critic", "model") * 2),
                ["report", run_folder, "--device", "cpu"],
                ["calibrate", path, "--out", f"{out}.json", *data],
                ["embed", corpus.pictures, f"{out}-features", "--model", path, "--device", "cpu"],
                ["export", "--model", path, "--out", f"{out}.safetensors"],
                *(
                    ["train", *TINY, *data, "--runs", f"{out}-{o}", f"--critic.{o}", path]
                    for o in ("checkpoint", "init")
                ),
                ["train", *TINY, *data, "--runs", run_folder.parent, "--name", run_folder.name],
            ]

            def unmarked(outcome: Outcome, mark: Path = mark) -> str | None:
                return "it ran" if mark.exists() else refused(outcome)

            for arguments in commands:
                yield Case(
                    f"{arguments[0]} {kind.__name__} {form}", lambda words=arguments: run_command(*words), unmarked
                )
