"""Names of files that are no Unicode, or that the locale cannot write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from intact_fast.data.manifest import Manifest
from intact_fast.errors import UserError
from intact_fast.file_names import native_name, plain_path, portable_name
from intact_fast.models import Generator, build_osnet
from intact_fast.serving.gallery.store import check_place
from intact_fast.serving.sr_reid import SRReID

NAMES = [
    name.replace(b"PERSON", b"%04d" % person)
    for person in range(1, 5)
    for name in (b"PERSON_c1_\xff.png", "PERSON_c2_é.png".encode())
]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose own name is no Unicode, with pictures and a model."""
    folder = tmp_path_factory.mktemp("names") / os.fsdecode(b"caf\xe9")
    (folder / "pictures").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        Image.new("RGB", (16, 32), (20 * number, 90, 10)).save(folder / "pictures" / os.fsdecode(name), "PNG")
    torch.manual_seed(0)
    critic = build_osnet("osnet_x0_25", num_classes=2)
    SRReID(critic, Generator((4, 8)), (32, 16)).save_pretrained(folder / "model.safetensors")
    return folder


def run(place: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "intact_fast.cli", *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, env=os.environ | (environment or {}), check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def found(printed: str) -> dict[bytes, list[bytes]]:
    matches = json.loads(printed)["matches"]
    return {os.fsencode(query): [os.fsencode(m["path"]) for m in listed] for query, listed in matches.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back(name: bytes) -> None:
    native = os.fsdecode(name)
    assert native_name(portable_name(native)) == native
    assert json.loads(json.dumps(portable_name(native))) == portable_name(native)


def test_plain_path(tmp_path: Path) -> None:
    plain, odd = tmp_path / "é.txt", tmp_path / os.fsdecode(b"\xe9.txt")
    for path in (plain, odd):
        path.write_text(path.suffix, encoding="utf-8")
    with plain_path(plain) as given:
        assert given == plain
    with plain_path(odd) as given:
        assert (given.suffix, given.read_text(encoding="utf-8")) == (".txt", ".txt")
        assert str(given).isascii()
    assert not given.exists()
    assert odd.exists()


def test_search_keeps_every_name(place: Path, tmp_path: Path) -> None:
    """An index that one locale made serves another, and every page and picture is written."""
    options = ("search", "--query", "pictures", "--gallery", "pictures", "--model", "model.safetensors")
    kept = ("--index", str(tmp_path / "index.lance"))
    pages = ("--html", os.fsdecode(b"\xff.html"), "--picture", os.fsdecode(b"\xff.png"))
    first = run(place, *options, *kept, *pages, "--json")
    assert {Path(os.fsdecode(name)).name for name in found(first)} == set(map(os.fsdecode, NAMES))
    again = run(place, *options, *kept, environment=C_LOCALE)
    assert "(0 of them new)" in again
    assert r"pictures/0001_c1_\xff.png" in again
    page = (place / os.fsdecode(b"\xff.html")).read_bytes().decode("utf-8")
    assert r"0002_c2_\u00e9.png" in page


def test_an_index_has_a_name_in_unicode() -> None:
    with pytest.raises(UserError, match=r"Lance takes names in UTF-8 alone; give the index another place$"):
        check_place(os.fsdecode(b"caf\xe9/index.lance"))


def test_enhance_keeps_every_name(place: Path) -> None:
    run(place, "enhance", "pictures", os.fsdecode(b"out\xff"), "--model", "model.safetensors")
    assert sorted(os.listdir(os.fsencode(place / os.fsdecode(b"out\xff")))) == sorted(NAMES)


@pytest.fixture(scope="module")
def manifests(place: Path) -> tuple[Path, Path]:
    """A split that two locales make."""
    options = ("prepare", "folder", "--data.root", "pictures", "--data.val-fraction", "0")
    run(place, *options, "--out", "utf8.jsonl")
    run(place, *options, "--out", "c.jsonl", environment=C_LOCALE)
    return place / "utf8.jsonl", place / "c.jsonl"


def test_a_split_is_the_same_in_every_locale(place: Path, manifests: tuple[Path, Path]) -> None:
    here, there = manifests
    assert here.read_bytes() == there.read_bytes()
    paths = {entry.path for entry in Manifest.load(here).entries}
    assert paths <= set(map(os.fsdecode, NAMES))
    assert all((place / "pictures" / path).is_file() for path in paths)
