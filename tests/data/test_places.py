"""What a manifest or a table names lies below the folder that the user gives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from conftest import write_picture
from intact_fast.config.options import DataConfig
from intact_fast.data.blind import Corruption
from intact_fast.data.datasets import read_folder
from intact_fast.data.manifest import Entry, Header, Manifest, Source
from intact_fast.data.places import require_inside
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError

HEADER = Header("folder", 0, "bilinear", None, None, None)


def entry(path: str) -> Entry:
    return Entry(path, 1, 1, "gallery", False, None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_picture(tmp_path / "root" / "sub" / "a.png", 0)
    write_picture(tmp_path / "elsewhere" / "b.png", 1)
    return tmp_path / "root"


@pytest.mark.parametrize(
    "path", ["../elsewhere/b.png", "sub/../../elsewhere/b.png", "/etc/passwd", "link/../b.png", "../root-2/a.png"]
)
def test_what_leads_out_of_the_root_is_refused(root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent / "elsewhere" / "inner")
    (root.parent / "elsewhere" / "inner").mkdir()
    with pytest.raises(
        UserError, match=r"^--data\.root .*root: the manifest's .* lies outside; give a folder"
    ) as caught:
        require_inside([entry("sub/a.png"), entry(path)], root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["sub/a.png", "sub/../sub/a.png", "linked/b.png", "b.png", "..a.png", "ROOT/sub/a.png"]
)
def test_what_stays_inside_is_taken_and_so_are_the_owner_s_links(root: Path, path: str) -> None:
    """A folder of a data set, and single pictures, may be links into another disk."""
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "b.png").symlink_to(root.parent / "elsewhere" / "b.png", 1)
    require_inside([entry(path.replace("ROOT", str(root)))], root)


def test_a_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    require_inside([entry("sub/../sub/a.png"), entry(str(root / "sub" / "a.png"))], tmp_path / "link")


def test_a_source_that_the_user_names_is_inside(root: Path) -> None:
    wandering = [entry("../elsewhere/b.png")]
    require_inside(wandering, root, (f"folder:{root.parent / 'elsewhere'}",))
    with pytest.raises(UserError, match="lies outside"):
        require_inside(wandering, root, ("folder",))


def test_a_manifest_is_looked_at_before_a_picture_is_read(root: Path, tmp_path: Path) -> None:
    entries = tuple(
        Entry(f"{folder}{pid}_{camera}.png", pid, camera, split, split == "query", 2 if split == "query" else None)
        for split, folder in (("train", ""), ("query", ""), ("gallery", "../elsewhere/"))
        for pid in (1, 2)
        for camera in (1, 2)
    )
    Manifest(HEADER, entries).save(tmp_path / "split.jsonl")
    config = DataConfig(dataset="folder", root=root, manifest=tmp_path / "split.jsonl")
    with pytest.raises(UserError, match=r"the manifest's \.\./elsewhere/1_1\.png lies outside"):
        obtain_manifest(config)
    assert obtain_manifest(config, reads=("train", "query")).entries == entries


@pytest.mark.parametrize("path", ["../elsewhere/b.png", "sub/../../elsewhere/b.png", "ELSEWHERE/b.png", "out/../b.png"])
def test_a_table_that_leads_out_is_refused(root: Path, path: str) -> None:
    inner = root.parent / "elsewhere" / "inner"
    inner.mkdir()
    (root / "out").symlink_to(inner)
    named = path.replace("ELSEWHERE", str(root.parent / "elsewhere"))
    (root / "pictures.csv").write_text(f"path,pid\n{named},1\n")
    with pytest.raises(UserError, match=r"pictures\.csv, line 2: .* lies outside --data\.root"):
        read_folder(root)


def test_a_table_may_name_what_the_owner_linked(root: Path) -> None:
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "pictures.csv").write_text("path,pid\nlinked/b.png,1\nsub/../sub/a.png,2\n")
    assert [picture.path for picture in read_folder(root).pictures] == ["linked/b.png", "sub/a.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pid": "1"}, "line 2.pid is '1', not a whole number"),
        ({"pid": 2**70}, "line 2: pid is "),
        ({"r": 0}, "line 2: r is 0; it should be 1 to 10,000"),
        ({"split": "tests"}, "line 2.split is 'tests', not one of train"),
        ({"path": "a\0b"}, "line 2: path .* is no name of a file"),
        ({"corruption": {"factor": 10**9, "filter": "area"}}, r"line 2\.corruption: factor is 1000000000"),
        ({"corruption": {"factor": 2.0, "filter": "area", "blur_x": 90.0, "motion": 99.0}}, None),
        ({"corruption": {"factor": 20.0, "filter": "area", "motion": 99.0}}, "factor times blur or motion is 1980"),
        ({"corruption": {"factor": 2.0, "filter": "area", "noise": "poisson"}}, "noise_level is 0"),
        ({"corruption": {"factor": 2.0, "filter": "area", "jpeg": 0}}, "jpeg is 0; it should be 1 to 100"),
        ({"corruption": {"factor": 2.0, "filter": "area", "noise_seed": -1}}, "noise_seed is -1"),
        ({"corruption": {"factor": 2.0, "filter": "none"}}, "line 2.corruption.filter is 'none', not one of bilinear"),
    ],
)
def test_values_that_no_manifest_has_are_named(tmp_path: Path, changes: dict[str, object], message: str | None) -> None:
    from benchmarks.chaos.hostile_tables import with_hash
    from intact_fast.json_text import from_json

    Manifest(HEADER, (entry("a.png"),)).save(tmp_path / "m.jsonl")
    first, line = map(from_json, (tmp_path / "m.jsonl").read_text().splitlines())
    if isinstance(drawn := changes.get("corruption"), dict):
        changes = {"corruption": {**asdict(Corruption(2.0, "area")), **drawn}}
    (tmp_path / "m.jsonl").write_text(with_hash([first, {**line, **changes}]))
    if message is None:
        assert Manifest.load(tmp_path / "m.jsonl").entries[0].corruption is not None
        return
    with pytest.raises(UserError, match=rf"^manifest .*m\.jsonl: not a split manifest \(.*{message}"):
        Manifest.load(tmp_path / "m.jsonl")


def test_sources_of_a_manifest_have_types_too(tmp_path: Path) -> None:
    from benchmarks.chaos.hostile_tables import with_hash
    from intact_fast.json_text import from_json

    header = Header("folder", 0, "bilinear", None, None, None, (Source("viper", "viper", (1, 2)),))
    Manifest(header, (entry("a.png"),)).save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl").header == header
    first, line = map(from_json, (tmp_path / "m.jsonl").read_text().splitlines())
    first["sources"][0]["pids"] = "12"
    (tmp_path / "m.jsonl").write_text(with_hash([first, line]))
    with pytest.raises(UserError, match=r"line 1\.sources\[0\]\.pids is '12', not a list"):
        Manifest.load(tmp_path / "m.jsonl")
