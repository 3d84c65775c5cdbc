"""``intact-fast embed``, as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet as pq
import pytest
import torch

from commands.command_cases import error_of, run
from conftest import write_picture
from intact_fast import SRReID

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for i in range(12):
        write_picture(folder / str(i % 2) / f"p{i}_c{i % 3}.png", seed=i)
    return folder


def rows_of(place: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(place).to_pylist()
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def embed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    status, printed, error = run(capsys, "embed", *arguments, "--json")
    assert status == 0, error
    return json.loads(printed)


def test_a_file_holds_features_and_columns_and_is_read_back(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    arguments = (pictures, out, "--model", model_file, "--columns-pattern", r"p(?P<person>\d+)_c(?P<camera>\d)")
    assert embed(capsys, *arguments, "--part-rows", 5)["computed"] == 12
    rows = rows_of(out)
    assert rows["1/p7_c1.png"]["person"] == "7"
    files = [pictures / path for path in rows]
    features = SRReID.from_pretrained(model_file, fold=True)(files)
    torch.testing.assert_close(torch.tensor([row["feature"] for row in rows.values()]), features, atol=1e-5, rtol=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.parquet"]
    # a later call computes what is new, and drops what has gone
    write_picture(pictures / "new.png", seed=20)
    (pictures / "0" / "p0_c0.png").unlink()
    assert embed(capsys, *arguments) == {"rows": 12, "computed": 1, "dropped": 1, "unreadable": [], "target": str(out)}
    assert rows_of(out).keys() == (rows.keys() | {"new.png"}) - {"0/p0_c0.png"}
    before = out.stat().st_mtime_ns
    assert embed(capsys, *arguments)["computed"] == 0
    assert out.stat().st_mtime_ns == before

    query = ("search", "--query", pictures / "new.png", "--model", model_file, "--json", "--top", 20)
    status, printed, error = run(capsys, *query, "--gallery", pictures)
    (wanted,) = json.loads(printed)["matches"].values()
    index = ("--index", tmp_path / "x.lance")
    for computed in (12, 0):
        status, printed, error = run(capsys, *query, "--gallery", out, *index)
        assert status == 0, error
        found = json.loads(printed)
        assert found["computed"] == computed
    (matches,) = found["matches"].values()
    assert [match["path"] for match in matches] == [str(Path(match["path"]).relative_to(pictures)) for match in wanted]
    assert matches[1]["camera"] in "012"
    # what was dropped from the file is dropped from the gallery
    pq.write_table(pq.read_table(out).slice(0, 3), out)
    assert json.loads(run(capsys, *query, "--gallery", out, *index)[1])["gallery"] == 3


def test_other_systems_read_and_write_such_files(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    assert embed(capsys, pictures, out, "--model", model_file, "--part-rows", 5)["rows"] == 12
    assert sorted(path.name for path in out.iterdir()) == [f"part-00000{i}.parquet" for i in range(3)]
    theirs = tmp_path / "theirs.parquet"
    duckdb.sql(f"COPY (SELECT path, feature FROM '{out}/*.parquet' WHERE path LIKE '0/%') TO '{theirs}'")
    query = ("search", "--query", pictures / "0" / "p2_c2.png", "--model", model_file, "--json", "--gallery", theirs)
    for index in ((), ("--index", tmp_path / "x.lance"), ("--index", tmp_path / "x.lance")):
        status, printed, error = run(capsys, *query, *index)
        assert status == 0, error
        assert json.loads(printed)["gallery"] == 6
        assert next(iter(json.loads(printed)["matches"].values()))[0]["path"] == "0/p2_c2.png"
    assert json.loads(printed)["computed"] == 0


@pytest.mark.parametrize("out", ["out.parquet", "parts"])
def test_columns_of_written_rows_follow_their_source(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    arguments = (pictures, tmp_path / out, "--model", model_file, "--part-rows", 5)
    embed(capsys, *arguments, "--columns-pattern", r"_c(?P<camera>\d)")
    before = rows_of(tmp_path / out)
    table = tmp_path / "columns.csv"
    table.write_text("path,camera,time\n0/p0_c0.png,hall,20240131_235959\n1/p1_c1.png,,\n")
    assert embed(capsys, *arguments, "--columns", table)["computed"] == 0
    rows = rows_of(tmp_path / out)
    told = {
        "0/p0_c0.png": {"camera": "hall", "time": datetime(2024, 1, 31, 23, 59, 59)},
        "1/p1_c1.png": {"camera": None},
    }
    # rows that the table does not name stay, and no feature is touched
    assert rows == {path: row | told.get(path, {}) for path, row in before.items()}
    # an index of these files follows, too
    search = ("search", "--query", pictures / "0" / "p0_c0.png", "--gallery", tmp_path / out, "--model", model_file)
    index = ("--index", tmp_path / "x.lance", "--json", "--top", 1)
    assert json.loads(run(capsys, *search, *index)[1])["computed"] == 12
    embed(capsys, *arguments, "--columns-pattern", r"(?P<camera>p0)")
    for computed in (1, 0):
        found = json.loads(run(capsys, *search, *index)[1])
        assert (found["computed"], found["matches"].popitem()[1][0]["camera"]) == (computed, "p0")


def test_most_rows_stay_where_the_folder_is_mounted_in_part(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    arguments = (pictures, out, "--model", model_file)
    embed(capsys, *arguments)
    before = out.read_bytes()
    for path in sorted(pictures.rglob("*.png"))[1:]:
        path.unlink()
    error = error_of(capsys, "embed", *arguments)
    assert f"{pictures}: lacks 11 of the 12 pictures in {out}, which stays as it is" in error
    assert out.read_bytes() == before
    assert embed(capsys, *arguments, "--drop-vanished")["rows"] == len(rows_of(out)) == 1


def test_an_embedding_goes_on_after_kill_9(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    arguments = ["embed", pictures, out, "--model", model_file, "--part-rows", 1, "--threads", 1]
    command = [sys.executable, "-m", "intact_fast.cli", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    parts = tmp_path / ".out.parquet.parts"
    while not (parts.is_dir() and len(list(parts.glob("part-*"))) >= 3):
        assert process.poll() in (None, 0)
        time.sleep(0.002)
        if out.exists():
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert embed(capsys, *arguments[1:])["computed"] <= 9
    assert len(rows_of(out)) == 12
    assert not parts.exists()


def test_two_processes_share_the_parts(pictures: Path, tmp_path: Path, model_file: Path) -> None:
    (pictures / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out.parquet"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "intact_fast.cli", "embed", str(pictures), str(out), "--model", str(model_file)),
        *("--device", "cpu", "--part-rows", "2", "--json"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert '"rows": 12' in done.stdout, done.stderr
    assert done.stdout.count('"rows"') == 1
    assert done.stderr.count("bad.png: unreadable picture") == 1
    assert len(rows_of(out)) == 12


def test_mistakes_are_one_line(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    pq.write_table(pyarrow.table({"a": [1]}), out)
    model = ("--model", model_file)
    before = out.read_bytes()
    assert "a Parquet file, but none of ours" in error_of(capsys, "embed", pictures, out, *model)
    assert "lacks a column path or feature" in error_of(capsys, "search", "--query", pictures, "--gallery", out, *model)
    assert out.read_bytes() == before
    assert "name it x.parquet, or a folder" in error_of(capsys, "embed", pictures, model_file, *model)
    assert "--part-rows 0: must be 1 or more" in error_of(capsys, "embed", pictures, out, *model, "--part-rows", 0)
    out.unlink()
    embed(capsys, pictures, out, *model)
    assert "made with" in error_of(capsys, "embed", pictures, out, *model, "--mode", "always")
    assert "made with" in error_of(capsys, "search", "--query", pictures, "--gallery", out, *model, "--mode", "always")
    assert "no such" in error_of(capsys, "search", "--query", pictures, "--gallery", tmp_path / "no.parquet", *model)


def test_what_is_not_ours_in_the_folder_of_parts_stays(
    pictures: Path, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = tmp_path / ".out.parquet.parts" / "notes.txt"
    beside.parent.mkdir()
    beside.write_text("mine")
    assert embed(capsys, pictures, tmp_path / "out.parquet", "--model", model_file)["computed"] == 12
    assert beside.read_text() == "mine"
    assert list(beside.parent.iterdir()) == [beside]
