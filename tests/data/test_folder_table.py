"""A table of one's own pictures, as spreadsheets and scripts save it."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.folder_cases import counted, people, pids, refusal, roles, touch
from intact_fast.data.datasets import read_folder

FILES = ("a.jpg", "b.jpg", "sub/Müller.jpg", "with,comma.jpg")
LINES = (("path", "pid", "camera"), ("a.jpg", "1", "1"), ("b.jpg", "1", "2"), ("sub/Müller.jpg", "2", "1"))
EXPECTED = {(1, 1, "all"): 1, (1, 2, "all"): 1, (2, 1, "all"): 1}


def write(root: Path, text: str, encoding: str = "utf-8", name: str = "pictures.csv") -> Path:
    touch(root, FILES)
    (root / name).write_bytes(text.encode(encoding))
    return root


def joined(separator: str = ",", end: str = "\r\n") -> str:
    return "".join(separator.join(line) + end for line in LINES)


def test_roles_of_a_table(tmp_path: Path) -> None:
    write(tmp_path, "path,pid,camera,split\na.jpg,0005,2,\nb.jpg,5,1,test\n")
    catalogue = read_folder(tmp_path)
    assert [(p.path, p.camera, p.subset) for p in catalogue.pictures] == [("a.jpg", 2, "all"), ("b.jpg", 1, "test")]
    assert set(pids(catalogue).values()) == {5}, "0005 and 5 are one person"
    assert "1 of 2 pictures have no split, so their people are halved at random" in catalogue.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators(tmp_path: Path, encoding: str, separator: str) -> None:
    assert counted(read_folder(write(tmp_path, joined(separator), encoding))) == EXPECTED


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n,,\n"])
def test_ends_of_lines(tmp_path: Path, end: str) -> None:
    assert counted(read_folder(write(tmp_path, joined(end=end)))) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "Path,PID,Camera\na.jpg,1,1\nb.jpg,1,2\nsub/Müller.jpg,2,1\n",
        ' path , "pid",camera \n a.jpg , 1 , 1 \n"b.jpg", "1", 2\nsub/Müller.jpg,2,1\n',
        "sep=;\npath;pid;camera\na.jpg;1;1\nb.jpg;1;2\nsub/Müller.jpg;2;1\n",
        "Path,Person ID,Cam ID\na.jpg,1,1\nb.jpg,1,2\nsub/Müller.jpg,2,1\n",
        "filename,person_id,camid\na.jpg,1,1\nb.jpg,1,2\nsub/Müller.jpg,2,1\n",
        "index,path,note,pid,camera\n0,a.jpg,,1,1\n1,b.jpg,x,1,2\n2,sub/Müller.jpg,,2,1\n",
        "camera,pid,path\n1,1,a.jpg\n2,1,b.jpg\n1,2,sub/Müller.jpg\n",
        "path,pid,camera\na.jpg,1.0,1.0\nb.jpg,1.0,2.0\nsub/Müller.jpg,2.0,1.0\n",
        "path,pid,camera\na.jpg,1,cam1\nb.jpg,1,C2\nsub/Müller.jpg,2,camera 1\n",
        "path,pid,camera\n./a.jpg,1,1\nb.jpg,1,2\nsub\\Müller.jpg,2,1\n",
        "path,pid,camera\na.jpg,1,1\nb.jpg,1,2\nsub/Mu\u0308ller.jpg,2,1\n",
        "path,pid,camera\na.jpg,1,1,,\nb.jpg,1,2\nsub/Müller.jpg,2,1\n",
        "\ufeff\npath,pid,camera\na.jpg,1,1\nb.jpg,1,2\nsub/Müller.jpg,2,1\n",
    ],
)
def test_tables_as_people_save_them(tmp_path: Path, text: str) -> None:
    assert counted(read_folder(write(tmp_path, text))) == EXPECTED


def test_absolute_paths_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "in"
    write(root, f"path,pid,camera\n{root}/a.jpg,1,1\n{root}/sub/../b.jpg,1,2\n")
    assert list(pids(read_folder(root))) == ["a.jpg", "b.jpg"]
    link = tmp_path / "link"
    link.symlink_to(root)
    assert list(pids(read_folder(link))) == ["a.jpg", "b.jpg"]


def test_case_of_the_table_s_name(tmp_path: Path) -> None:
    write(tmp_path, joined(), name="Pictures.CSV")
    assert counted(read_folder(tmp_path)) == EXPECTED
    touch(tmp_path, ("pictures.csv",))
    assert "stands beside pictures.csv; keep one of them" in refusal(tmp_path)


def test_words_of_roles_in_a_table(tmp_path: Path) -> None:
    write(tmp_path, "path,pid,camera,Split\na.jpg,1,1,TRAIN\nb.jpg,2,2,Probe\nsub/Müller.jpg,2,1,bounding_box_test\n")
    assert list(roles(read_folder(tmp_path)).values()) == ["train", "query", "gallery"]


@pytest.mark.parametrize("header", ["path,pid,camera", "path,pid,camera,split"])
def test_folders_give_roles_where_the_table_gives_none(tmp_path: Path, header: str) -> None:
    names = people("Train", range(4)) + people("test", range(4, 8))
    touch(tmp_path, names)
    lines = [f"{name},{name[-15:-11]},{name[-7]}" for name in names]
    (tmp_path / "pictures.csv").write_text("\n".join([header, *lines]))
    assert set(roles(read_folder(tmp_path)).values()) == {"train", "test"}


def test_junk_and_hidden_copies_in_a_table(tmp_path: Path) -> None:
    copies = ("._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/a.jpg")
    touch(tmp_path, copies)
    lines = [f"{copy},1,1\n" for copy in copies]
    write(
        tmp_path,
        "path,pid,camera\n" + "".join(lines) + "a.jpg,1,1\nb.jpg,-1,1\nsub/Müller.jpg,-1.0,2\n",
    )
    catalogue = read_folder(tmp_path)
    assert list(pids(catalogue)) == ["a.jpg"]
    assert "left out 2 junk pictures (identity -1)" in catalogue.notes
    assert len(catalogue.left_out.hidden) == 3


def test_repeated_lines(tmp_path: Path) -> None:
    write(tmp_path, "path,pid,camera\na.jpg,1,1\n./a.jpg,01,1\nb.jpg,1,2\n")
    catalogue = read_folder(tmp_path)
    assert list(pids(catalogue)) == ["a.jpg", "b.jpg"]
    assert "1 lines repeat a picture, and count once" in catalogue.warnings[0]


def test_a_table_without_cameras(tmp_path: Path) -> None:
    write(tmp_path, "path,pid\na.jpg,1\nb.jpg,2\n")
    catalogue = read_folder(tmp_path)
    assert [picture.camera for picture in catalogue.pictures] == [0, 0]
    assert catalogue.notes[0].startswith("identity by the table pictures.csv (utf-8, commas); no camera ids, so that")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,camera\na.jpg,1\n", "pictures.csv: no column pid in its first line 'path,camera'; the header is path,"),
        ("a.jpg,1,1\n", "no column path, pid in its first line 'a.jpg,1,1'"),
        ("", "no column path, pid"),
        ("path,pid,camera\n", "lists no picture; add a line for each"),
        ("path,pid,pid,camera\na.jpg,1,1,1\n", "two columns pid; remove or rename one"),
        ("path,person,identity,camera\na.jpg,1,1,1\n", "person and identity could both be pid; call one pid"),
        ("path,pid,camera\na.jpg,1,left\n", "line 2: camera 'left'"),
        ("path,pid,camera\na.jpg,1,\n", "line 2: camera ''"),
        ("path,pid,camera\na.jpg,1,nan\n", "line 2: camera 'nan'"),
        ("path,pid,camera\na.jpg,1,-1\n", "line 2: camera '-1'"),
        ("path,pid,camera\na.jpg,1," + "9" * 5000 + "\n", "line 2: camera '999"),
        ("path,pid,camera\na.jpg,,1\n", "line 2: no pid; give the identity of a.jpg"),
        ("path,pid,camera\na.jpg,nan,1\n", "line 2: no identity (nan)"),
        ("path,pid,camera\na.jpg,-3,1\n", "line 2: identity -3 is negative"),
        ("path,pid,camera\na.jpg,1.2e+18,1\n", "line 2: identity 1.2e+18 has lost digits"),
        ("path,pid,camera\n\n\nmissing.jpg,1,1\n", "line 4: no file "),
        ("path,pid,camera\n,1,1\n", "line 2: no path"),
        (
            "path,pid,camera\nhttps://x.org/a.jpg,1,1\n",
            "line 2: https://x.org/a.jpg is an address; give paths of files",
        ),
        ("path,pid,camera\n.,1,1\n", "is a folder; give a line for each picture in it"),
        (
            "path,pid,phase\na.jpg,1,train\nb.jpg,2,Test\n",
            "the column phase holds roles; call it split, or take it out",
        ),
        ("PAR1\n", "pictures.csv: is a Parquet file; open it and save it as CSV UTF-8"),
        ("PK\x03\x04\n", "is a workbook of Excel or LibreOffice, or a ZIP archive; open it"),
        ("path,pid,camera\nC:\\data\\a.jpg,1,1\n", r"line 2: C:\data\a.jpg is a path of Windows; give paths relative"),
        ("path,pid,camera\n/etc/passwd,1,1\n", "line 2: /etc/passwd lies outside --data.root"),
        (
            "path,pid,camera,split\na.jpg,1,1,exam\n",
            "line 2: split 'exam'; use one of train, val, query, gallery, test",
        ),
        ("path,pid,camera\nwith,comma.jpg,1,1\n", "line 2: 4 columns where the header has 3; put a path with a ','"),
        ("path,pid,camera\na.jpg,1,1\na.jpg,2,1\n", "line 3: a.jpg has identity 2, and 1 in "),
        ("path,pid,camera\na.jpg,0,1\n./a.jpg,1,1\n", "line 3: ./a.jpg has identity 1, and 0 in "),
        ("path,pid,camera\na.jpg,1,1\na.jpg,1,2\n", "line 3: a.jpg has camera 2, and 1 in "),
        ("path,pid,camera,split\na.jpg,1,1,train\na.jpg,1,1,test\n", "line 3: a.jpg has split test, and train in "),
        ('path,pid,camera\n"a.jpg,1,1\nb.jpg,1,2\n', "line 3: the path goes on over lines ('a.jpg,1,1"),
        ('path,pid,camera\n"a.jpg,1,1\n' + "x" * 140_000, "no line of a table (field larger than field limit"),
    ],
)
def test_mistakes_in_a_table(tmp_path: Path, text: str, message: str) -> None:
    line = refusal(write(tmp_path, text))
    assert "pictures.csv" in line
    assert message in line


def test_undecodable_tables(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "pictures.csv").write_bytes(b"path,pid,camera\nM\x81ller.jpg,1,1\n")
    assert "pictures.csv: neither UTF-8 nor cp1252; save it as CSV UTF-8" in refusal(tmp_path)
    (tmp_path / "pictures.csv").write_bytes("path,pid,camera\n李.jpg,1,1\n".encode("gbk"))
    assert "correct the path, or save the table as UTF-8 (it was read as cp1252)" in refusal(tmp_path)
    (tmp_path / "pictures.csv").unlink()
    (tmp_path / "pictures.csv").mkdir()
    assert "pictures.csv: is no file" in refusal(tmp_path)


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    notes = read_folder(write(tmp_path, "path,pid,viewpoint,phase\na.jpg,1,2,x\n")).notes
    assert "columns that are not read: viewpoint, phase" in notes


def test_numbers_with_a_decimal_comma(tmp_path: Path) -> None:
    (picture,) = read_folder(write(tmp_path, "path;pid;camera\na.jpg;7,0;2,0\n")).pictures
    assert (picture.pid, picture.camera) == (7, 2)
