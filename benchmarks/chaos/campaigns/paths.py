"""Nothing leaves its place: names that lead out of a folder, files of others in the way, pages, and listeners."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import torch

from benchmarks.chaos.cases import Case, Outcome, refused, tried
from benchmarks.chaos.corpus import SERVED, Corpus, make_corpus, write_pictures
from benchmarks.chaos.hostile_tables import with_hash
from benchmarks.chaos.programs import children_of, command, output_of, start
from benchmarks.chaos.promise import Promise, Trial
from benchmarks.chaos.tiny_runs import TINY, run_command

HOSTILE_NAME = "\"'<img src=x onerror=alert(1)><script>alert(2)"
"""What a file may be called, and a page must show as text."""
_LISTENING = "0A"
_SECONDS = 120.0


def run(trial: Trial) -> list[Promise]:
    """Try everything; the share leaves out paths."""
    corpus = make_corpus(trial.folder)
    outside = trial.folder / "outside"
    write_pictures(outside, seed=1)
    return [
        tried(
            "a manifest, table or index that names a file outside its folder is refused, and the file is not opened",
            list(wandering_cases(trial, corpus, outside)),
        ),
        tried("links that the owner of a folder made in it are followed", list(link_cases(trial, corpus))),
        tried("a file that is not ours stays as it is", list(output_cases(trial, corpus))),
        tried("a page shows the name of a file as text", list(page_cases(trial, corpus))),
        listeners(trial, corpus),
    ]


def _options(corpus: Corpus, root: Path) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Options of the commands that take data, and of those that take a model."""
    data = ("--data.dataset", "folder", "--data.root", root, "--data.threads", "1")
    return data, ("--model", corpus.model, *SERVED)


def wandering_cases(trial: Trial, corpus: Corpus, outside: Path) -> Iterator[Case]:
    """Names that lead out, in a manifest through every command that takes one, in a table and in an index."""
    lines = [json.loads(line) for line in (corpus.run / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    secret = next(outside.iterdir())
    names = (f"../outside/{secret.name}", str(secret), f"x/../../outside/{secret.name}", f"./../outside/{secret.name}")
    data, model = _options(corpus, corpus.pictures)
    critic = ("evaluate", "--critic", corpus.critic, "--data.height", "48", "--data.width", "32", "--device", "cpu")
    (corpus.pictures / "x").mkdir(exist_ok=True)
    for number, name in enumerate(names[: trial.count(len(names))]):
        split = trial.folder / f"wandering{number}.jsonl"
        row = next(i for i, line in enumerate(lines) if line.get("split") == "gallery")
        text = with_hash([*lines[:row], {**lines[row], "path": name}, *lines[row + 1 :]])
        split.write_text(text, encoding="utf-8")
        run_folder = trial.folder / f"wandering-run{number}"
        shutil.copytree(corpus.run, run_folder)
        (run_folder / "manifest.jsonl").write_text(text, encoding="utf-8")
        root = trial.folder / f"wandering-set{number}"
        shutil.copytree(corpus.pictures, root)
        (root / "pictures.csv").write_text(f"path,pid\n{name},1\n", encoding="utf-8")
        out = trial.folder / f"wandering-out{number}"
        of_table, _ = _options(corpus, root)
        for arguments in (
            [*critic, *data, "--data.manifest", split],
            ["prepare", "folder", *data, "--data.manifest", split, "--out", f"{out}.jsonl"],
            ["calibrate", corpus.model, *data, "--data.manifest", split, "--out", f"{out}.json"],
            ["export", "--model", corpus.model, "--out", f"{out}.pt2", "--manifest", split, "--root", corpus.pictures],
            ["train", *TINY, *data, "--data.manifest", split, "--runs", out],
            ["report", run_folder, "--device", "cpu", "--data.root", corpus.pictures],
            ["prepare", "folder", *of_table, "--out", f"{out}.jsonl"],
        ):
            yield Case(f"{arguments[0]} {name}", lambda words=arguments: run_command(*words), _outside(secret), outside)
        query = next(path for path in corpus.pictures.iterdir() if path.is_file())
        empty = trial.folder / f"empty{number}"
        empty.mkdir()
        for option in ("--html", "--picture"):
            file = f"{out}.{'html' if option == '--html' else 'png'}"
            index = trial.folder / f"wandering{number}{option}.lance"
            words = ["search", "--query", query, "--gallery", empty, *model, "--index", index, option, file]
            yield Case(
                f"search {option} {name}",
                lambda w=words, i=index, n=name: _search(corpus, i, n, w),
                _outside(secret),
                outside,
            )


def _search(corpus: Corpus, index: Path, name: str, words: list[object]) -> int:
    """Make an index that names a file elsewhere, and search it."""
    from intact_fast import SRReID
    from intact_fast.serving.gallery import Gallery, Identity

    model = SRReID.from_pretrained(corpus.model, engine="torch")
    settings = f"mode={model.mode} lr_height={model.lr_height} precision={model.computes_in}"
    Gallery.open(index, Identity.of_files([corpus.model], settings)).add([name], torch.ones(1, 512))
    return run_command(*words)


def _outside(secret: Path) -> Callable[[Outcome], str | None]:
    """Look whether the file's name is what was refused, and not something else."""

    def look(outcome: Outcome) -> str | None:
        errors = [line for line in outcome.said.splitlines() if line.startswith("error: ")]
        refused = outcome.status == 2 and errors and secret.name in errors[0]
        return None if refused else f"status {outcome.status}: {outcome.said[-200:]!r}"

    return look


def link_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """A root, a folder in it and single pictures may be links."""
    elsewhere = trial.folder / "another disk"
    shutil.copytree(corpus.pictures, elsewhere)
    roots = {name: trial.folder / f"linked {name}" for name in ("root", "folder", "pictures", "table")}
    roots["root"].symlink_to(elsewhere)
    for name in ("folder", "pictures", "table"):
        roots[name].mkdir()
    (roots["folder"] / "set").symlink_to(elsewhere)
    for path in elsewhere.iterdir():
        (roots["pictures"] / path.name).symlink_to(path)
    (roots["table"] / "set").symlink_to(elsewhere)
    rows = [f"set/{path.name},{path.name[:4]},{path.name[8]}" for path in elsewhere.iterdir() if path.is_file()]
    (roots["table"] / "pictures.csv").write_text("path,pid,camera\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for name, root in roots.items():
        data, model = _options(corpus, root)
        split = trial.folder / f"linked-{name}.jsonl"
        critic = ("--critic", corpus.critic, "--data.height", "48", "--data.width", "32", "--device", "cpu")
        query = next(path for path in elsewhere.iterdir() if path.is_file())
        for arguments in (
            ["prepare", "folder", *data, "--out", split],
            ["evaluate", *critic, *data, "--data.manifest", split],
            ["search", "--query", query, "--gallery", root, *model, "--html", f"{split}.html"],
        ):
            yield Case(f"{arguments[0]}, {name} linked", lambda words=arguments: run_command(*words), _succeeds)


def _succeeds(outcome: Outcome) -> str | None:
    return None if outcome.status == 0 else f"status {outcome.status}: {outcome.said[-200:]!r}"


def output_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Files of others where a command would write; each is there, and the same, afterwards."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data, model = _options(corpus, corpus.pictures)
    query = next(path for path in corpus.pictures.iterdir() if path.is_file())
    place = trial.folder / "not ours"
    place.mkdir()

    def other(name: str) -> Path:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"path": ["a"], "mine": [1]}), path)
        else:
            path.write_text("mine", encoding="utf-8")
        return path

    beside = other(".fresh.parquet.parts/notes.txt")
    for number, (file, arguments) in enumerate(
        (
            (other("x.png"), ["enhance", query, place / "x.png", *model]),
            (other(f"folder/{query.name}"), ["enhance", corpus.pictures, place / "folder", *model]),
            (other("x.safetensors"), ["export", "--model", corpus.model, "--out", place / "x.safetensors"]),
            (other("t.json"), ["calibrate", corpus.model, *data, "--out", place / "t.json"]),
            (other("split.jsonl"), ["prepare", "folder", *data, "--out", place / "split.jsonl"]),
            (other("x.parquet"), ["embed", corpus.pictures, place / "x.parquet", *model]),
            (other("parts/a.parquet"), ["embed", corpus.pictures, place / "parts", *model]),
            (beside, ["embed", corpus.pictures, place / "fresh.parquet", *model]),
            (other("runs/default/thesis.tex"), ["train", *TINY, *data, "--runs", place / "runs"]),
            (other("i.lance/a.txt"), _index(query, corpus, model, place / "i.lance")),
            (other("j.lance"), _index(query, corpus, model, place / "j.lance")),
            (other("link-target"), ["enhance", query, _link(place / "l.png", place / "link-target"), *model]),
        )
    ):
        before = hashlib.sha256(file.read_bytes()).hexdigest()

        def same(outcome: Outcome, file: Path = file, before: str = before) -> str | None:
            stays = file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == before
            if not stays:
                return f"{file.name} is another one: {outcome.said[-200:]!r}"
            # beside the parts of an output there is room
            return None if file == beside else refused(outcome)

        yield Case(f"{arguments[0]} {number}", lambda words=arguments: run_command(*words), same)


def _index(query: Path, corpus: Corpus, model: tuple[object, ...], place: Path) -> list[object]:
    return ["search", "--query", query, "--gallery", corpus.pictures, *model, "--index", place]


def _link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


class _Page(HTMLParser):
    """Counts what a name could bring into a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.found += [f"{tag} {name}" for name in own if name.startswith("on")]
        if tag in ("iframe", "object", "base", "embed") or (tag == "script" and "src" in own):
            self.found.append(tag)
        source = own.get("src") or "data:"
        if not re.match("data:|blob:", source):
            self.found.append(f"{tag} {source}")


def page_cases(trial: Trial, corpus: Corpus) -> Iterator[Case]:
    """Pages of a search and of a run whose files, folders and model have names of markup."""
    root = trial.folder / HOSTILE_NAME
    root.mkdir()
    for path in corpus.pictures.iterdir():
        if path.is_file():
            shutil.copy(path, root / f"{path.stem}{HOSTILE_NAME}.png")
    model = root.parent / f"{HOSTILE_NAME}.safetensors"
    shutil.copy(corpus.model, model)
    page = trial.folder / "search.html"
    runs = trial.folder / "page-runs"
    search = ["search", "--query", root, "--gallery", root, "--model", model, *SERVED]
    train = ["train", *TINY, "--data.root", root, "--runs", runs, "--name", "tiny"]

    def harmless(*pages: Path) -> Callable[[Outcome], str | None]:
        def look(outcome: Outcome) -> str | None:
            if outcome.status != 0:
                return outcome.said[-300:]
            found = [what for page in pages for what in _Page(page.read_text(encoding="utf-8")).found]
            return f"holds {found[:3]}" if found else None

        return look

    yield Case("search --html", lambda: run_command(*search, "--html", page), harmless(page))
    yield Case(
        "train", lambda: run_command(*train), harmless(runs / "tiny" / "report.html", runs / "tiny" / "report.md")
    )


def listeners(trial: Trial, corpus: Corpus) -> Promise:
    """Look, while two processes train, at which addresses they listen; torchrun, their parent, is PyTorch's own."""
    promise = Promise("the processes of a training on one machine listen on the loopback alone")
    arguments = [*TINY, "--data.root", corpus.pictures, "--runs", trial.folder / "group", "--training.iterations", "50"]
    group = start(command("intact_fast.train", arguments, processes=2), log=trial.folder / "group.log")
    seen: set[str] = set()
    begin = time.monotonic()
    while group.poll() is None and time.monotonic() - begin < _SECONDS:
        for worker in children_of(group.pid):
            seen |= listening(worker)
        time.sleep(0.1)
    # torchrun ends its processes, too
    group.terminate()
    output_of(group)
    promise.test(bool(seen), "no address was seen")
    beyond = sorted(address for address in seen if not is_loopback(address))
    promise.test(not beyond, f"listens on {', '.join(beyond)}")
    promise.figures = {"addresses": len(seen)}
    return promise


def listening(pid: int) -> set[str]:
    """Give the addresses, as the system writes them, on which a process listens."""
    found = set()
    try:
        sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
                cells = line.split()
                if cells[3] == _LISTENING and f"socket:[{cells[9]}]" in sockets:
                    found.add(cells[1].partition(":")[0])
    # it has ended meanwhile
    except OSError:
        return set()
    return found


def is_loopback(address: str) -> bool:
    """Say whether an address, as the system writes it, is reached from this machine alone."""
    if len(address) == 8:
        return address.endswith("7F")
    return address in ("00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
