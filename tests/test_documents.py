"""What README and docs/ show: links lead somewhere, commands parse, Python runs, sentences are short."""

from __future__ import annotations

import importlib
import re
import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import write_picture
from intact_fast import SRReID, UserError
from intact_fast.cli import COMMANDS, main
from intact_fast.commands import experiments
from intact_fast.commands.evaluate import EvaluateOptions
from intact_fast.config.checks import check_config
from intact_fast.config.command_line import parse_config, parse_options
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.gallery import Identity
from intact_fast.serving.thresholds import Threshold, Thresholds, ViewThresholds, write_thresholds

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RESULTS.md", "CHANGELOG.md")),
        ROOT / "benchmarks" / "records" / "README.md",
        ROOT / "examples" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
LANGUAGES = {"sh", "python", "text", "yaml", "bibtex", "csv", "{toctree}"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), flags=re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> list[str]:
    return [name for name in NAMES if blocks(name, language)]


def prose_of(name: str) -> str:
    return re.sub(r"^```.*?^```", "", read(name), flags=re.DOTALL | re.MULTILINE)


# links


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as a forge does."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(name)):
        if re.match(r"\w+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name}: {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{name}: {target}"


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (ROOT / name).parent.joinpath(target.partition("#")[0]).resolve()
        for name in NAMES
        for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(name))
    }
    for page in (ROOT / "docs").rglob("*.md"):
        assert page in linked or page == ROOT / "docs" / "index.md", f"{page}: no page leads there"


# commands


def shell_lines(name: str) -> Iterator[str]:
    """Give each command of a page, with the variables of its block in place."""
    for block in blocks(name, "sh"):
        variables: dict[str, str] = {}
        # a value in quotes may go on over lines
        text = re.sub(r'="[^"]*"', lambda match: match[0].replace("\n", " "), block.replace("\\\n", " "))
        for line in text.splitlines():
            for variable, value in variables.items():
                line = line.replace(f"${variable}", value)
            assigned = re.fullmatch(r'([A-Z]+)="?([^"]*)"?', line.strip())
            if assigned:
                variables[assigned[1]] = assigned[2]
            else:
                yield line


def commands(name: str) -> Iterator[tuple[str, list[str]]]:
    """Give the name and the arguments of each of our commands on a page."""
    for line in shell_lines(name):
        words = shlex.split(line, comments=True)
        if "-m" in words and "intact_fast.train" in words:
            yield "train", words[words.index("intact_fast.train") + 1 :]
        elif words[:1] == ["intact-fast"]:
            yield words[1], words[2:]
        elif words[:2] == ["make", "train"] and any(word.startswith("ARGS=") for word in words):
            yield "train", shlex.split(next(word for word in words if word.startswith("ARGS=")).removeprefix("ARGS="))


def ends_before(arguments: list[str]) -> bool:
    return "--help" in arguments or "…" in arguments


def parse(command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command line as the command does, and run nothing."""
    if command == "train":
        check_config(parse_config(arguments, "train", ""))
    elif command == "evaluate":
        parse_options(EvaluateOptions, "evaluate", arguments)
    elif command == "experiments":
        monkeypatch.setattr(experiments, "_run", lambda *_: None)
        assert experiments.main(arguments) == 0
    else:
        module = importlib.import_module(f"intact_fast.commands.{command}")
        monkeypatch.setattr(
            module,
            "run_command",
            lambda kind, program, given, run, default=None: parse_options(kind, program, given, default) and 0,
        )
        assert module.main(arguments) == 0


@pytest.mark.parametrize("name", [name for name in with_blocks("sh") if name != "CHANGELOG.md"])
def test_commands_parse(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for command, arguments in commands(name):
        assert command in COMMANDS or command == "--help", f"{name}: intact-fast {command}"
        if command == "--help" or ends_before(arguments):
            continue
        try:
            parse(command, arguments, monkeypatch)
        except (UserError, SystemExit) as error:
            pytest.fail(f"{name}: intact-fast {command} {shlex.join(arguments)}\n{error}")


# Python, and commands around a finished model


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", 5)
    measured = ViewThresholds(10**5, 10**6, 100, (Threshold(1e-3, 0.7, 1e-3, 0.8),))
    thresholds = Thresholds("made", dict.fromkeys(("hr", "lr", "sr"), measured))
    model = SRReID(critic, Generator((4, 4, 4, 4)), (48, 32), thresholds=thresholds)
    file = tmp_path / "runs" / "viper" / "model.safetensors"
    model.save_pretrained(file)
    model.save_pretrained(tmp_path / "best.safetensors")
    write_thresholds(tmp_path / "site.json", thresholds, str(file), Identity.of_files([file], "").digest)
    for name in ("osnet.pth", "osnet_x0_25_market1501.pth"):
        torch.save(critic.state_dict(), tmp_path / name)
    for number, name in enumerate(("a.jpg", "b.png", "crops/c.jpg", "gallery/d.jpg", "gallery/e.jpg")):
        write_picture(tmp_path / name, seed=number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(name: str) -> dict[str, Any]:
    """Run a page's blocks in order; gives the names that they define."""
    names: dict[str, Any] = {}
    for code in blocks(name, "python"):
        exec(compile(code, name, "exec"), names)
    return names


# the blocks of serving.md read what its commands write: below
@pytest.mark.parametrize("name", [name for name in with_blocks("python") if name != "docs/serving.md"])
def test_python_runs(name: str, user_files: Path) -> None:
    run_python(name)


def test_features_and_pictures_have_the_shapes_that_readme_says(user_files: Path) -> None:
    names = run_python("README.md")
    assert names["features"].shape == (2, 512)
    assert names["pictures"].shape == (1, 3, 48, 32)


def test_commands_and_python_of_serving_run(user_files: Path) -> None:
    for command, arguments in commands("docs/serving.md"):
        # a checkpoint and a split come from a training
        if command in ("enhance", "search", "export") and not {"--checkpoint", "--manifest"} & set(arguments):
            assert main([command, *arguments]) == 0, arguments
    for written in ("enhanced/c.jpg", "matches.png", "gallery.lance", "query.onnx", "gallery.pt2"):
        assert (user_files / written).exists()
    run_python("docs/serving.md")


@pytest.mark.parametrize("name", NAMES)
def test_no_block_escapes_the_tests(name: str) -> None:
    assert set(re.findall(r"^```(\S+)\n", read(name), flags=re.MULTILINE)) <= LANGUAGES


# prose


def sentences(name: str) -> list[str]:
    """Split the prose of a page into sentences; tables, headings and code do not count."""
    paragraphs: list[list[str]] = [[]]
    for line in prose_of(name).splitlines():
        stripped = line.strip()
        item = re.sub(r"^([-*+>]|\d+\.)\s+", "", stripped)
        if not stripped or stripped.startswith(("|", "#", "<", "!")):
            paragraphs.append([])
        else:
            if item != stripped:
                paragraphs.append([])
            paragraphs[-1].append(item)
    found = []
    for lines in paragraphs:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(lines))
        text = re.sub(r"`[^`]*`", "CODE", text)
        found += re.split(r"(?<=[.!?:])\s+(?=[A-Z*\"(])", text)
    return [sentence for sentence in found if len(sentence.split()) > 2]


@pytest.mark.parametrize("name", NAMES)
def test_sentences_are_short(name: str) -> None:
    lengths = sorted(len(sentence.split()) for sentence in sentences(name))
    if not lengths:
        return
    longest = max(sentences(name), key=lambda sentence: len(sentence.split()))
    assert lengths[-1] <= 40, longest
    assert lengths[round(0.9 * (len(lengths) - 1))] <= 26
    assert statistics.median(lengths) <= 14


def test_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 170
