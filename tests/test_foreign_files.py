from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import gzip
import pathlib
import pickle
import sys
import tarfile
import types
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from intact_fast.errors import UserError
from intact_fast.files import read_checkpoint
from intact_fast.foreign_files import describe_file

LISTS: collections.defaultdict[str, list[int]] = collections.defaultdict(list, a=[3])
PLAIN = [
    np.float64(0.9),
    np.bool_(True),
    np.str_("market1501"),
    np.arange(3.0),
    np.zeros((2, 2), ">f4"),
    np.array(["x", "yz"]),
    np.array([{"a": 1}, None], dtype=object),
    np.zeros(2, [("rank1", "f4"), ("pid", "i8")]),
    np.datetime64("2020-01-01"),
    np.random.default_rng(0).bit_generator.random_raw(3),
    argparse.Namespace(lr=0.1, root=pathlib.PurePosixPath("/data")),
    types.SimpleNamespace(epochs=60),
    pathlib.PurePosixPath("/data/market1501"),
    pathlib.PureWindowsPath("C:/data"),
    datetime.datetime(2020, 1, 2, 3, 4, 5),
    datetime.timedelta(hours=3),
    datetime.UTC,
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    frozenset([1, 2]),
    slice(1, 2),
    collections.Counter("aab"),
    torch.Size([2, 3]),
    torch.float16,
]


@pytest.mark.parametrize("former_format", [False, True])
def test_plain_values_beside_the_tensors_are_read(tmp_path: Path, former_format: bool) -> None:
    for number, value in enumerate(PLAIN):
        path = tmp_path / f"{number}.pth"
        content = {"x": torch.arange(3), "value": value}
        torch.save(content, path, _use_new_zipfile_serialization=not former_format)
        found = read_checkpoint(path, "--x")
        assert torch.equal(found["x"], torch.arange(3))
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found["value"], value)
        else:
            assert found["value"] == value


def test_paths_and_default_dictionaries_come_back_as_plain_ones(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(root=Path("/data")), "curves": LISTS}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth", "--x")
    assert found["args"].root == pathlib.PurePosixPath("/data")
    assert found["curves"] == {"a": [3]}


def imitate(name: str, bases: tuple[type, ...], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class of a library that is not installed."""
    module, _, own = name.rpartition(".")
    made = type(own, bases, {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))
    setattr(sys.modules[module], own, made)
    return made


def test_configurations_of_libraries_are_read_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        node = imitate("yacs.config.CfgNode", (dict,), context)(lr=0.1)
        node.__dict__["__immutable__"] = True
        omega = imitate("omegaconf.dictconfig.DictConfig", (), context)()
        omega.content = {"lr": 0.1}
        torch.save({"cfg": node, "omega": omega, "x": torch.zeros(1)}, tmp_path / "x.pth")
    assert "yacs" not in sys.modules
    found = read_checkpoint(tmp_path / "x.pth", "--x")
    assert found["cfg"] == {"lr": 0.1}
    assert found["omega"].content == {"lr": 0.1}


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"x": torch.arange(3)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    # the content counts, not the name
    (tmp_path / "x.safetensors").rename(tmp_path / "x.pth")
    assert torch.equal(read_checkpoint(tmp_path / "x.pth", "--x")["x"], torch.arange(3))


class Touch:
    """Would leave a mark if it were run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def saved(content: Any, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def scripted(path: Path) -> None:
    torch.jit.script(nn.Conv2d(3, 4, 1)).save(path)


def zipped(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "x")

    return write


def tarred(path: Path) -> None:
    torch.save({}, path.with_suffix(".pth"))
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_suffix(".pth"), "x.pth")


def cut(suffix: str = ".pth", former_format: bool = False) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        if suffix == ".safetensors":
            save_file({"x": torch.zeros(1000)}, path)
        else:
            torch.save({"x": torch.zeros(1000)}, path, _use_new_zipfile_serialization=not former_format)
        path.write_bytes(path.read_bytes()[:2000])

    return write


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("x.pth", lambda path: path.write_bytes(b""), "an empty file; copy or download it again"),
        ("x.pth", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "pointer of Git LFS"),
        ("x.pth", lambda path: path.write_text("\n<!DOCTYPE html><html>"), "a web page, as a download that failed"),
        ("x.pth", lambda path: path.write_text("lr: 0.1"), "a text file; give the file of the weights"),
        ("x.pth.gz", lambda path: path.write_bytes(gzip.compress(b"x")), "a compressed file; unpack it"),
        ("x.zip", zipped("osnet.pth"), "a ZIP archive; unpack it"),
        ("x.tar", tarred, "a tar archive; unpack it"),
        ("x.npz", lambda path: np.savez(path, x=np.zeros(3)), "an archive of NumPy arrays"),
        ("x.npy", lambda path: np.save(path, np.zeros(3)), "a NumPy array"),
        ("x.onnx", lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch"), "an ONNX graph"),
        ("x.bin", lambda path: path.write_bytes(b"\x01\x02\x03"), "a file of no known format"),
        ("x.pt", scripted, "a TorchScript archive"),
        ("x.pt2", zipped("x/archive_format"), "an archive of torch.export"),
        ("x.pkl", lambda path: path.write_bytes(pickle.dumps({"x": np.zeros(3)})), "a plain pickle"),
        ("x.pth", saved(nn.Conv2d(3, 4, 1)), r"a pickle of a whole module \(torch\.nn\.modules\.conv\.Conv2d\)"),
        ("x.pth", saved({"net": nn.Conv2d(3, 4, 1)}, _use_new_zipfile_serialization=False), "of a whole module"),
        ("x.pth", saved({"f": np.savez}), r"holds code \(numpy\.savez\), which is not run; save the weights alone"),
        ("x.pth", saved({"x": torch.zeros(3)}, pickle_protocol=4), "written with pickle protocol 4"),
        ("x.pth", cut(), "a broken file, whose end is missing"),
        ("x.pth", cut(former_format=True), "a broken file, whose end is missing"),
        ("x.safetensors", cut(".safetensors"), "a broken safetensors file"),
        ("x.pth", Path.mkdir, "is a folder; name the file in it"),
    ],
)
def test_what_is_no_checkpoint_is_told_what_it_is(
    tmp_path: Path, name: str, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError, match=rf"^--x .*{name}: .*{words}") as caught:
        read_checkpoint(tmp_path / name, "--x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1], torch.zeros(3), None])
def test_what_loads_and_is_no_dictionary(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    kind = type(content).__name__
    assert describe_file(tmp_path / "x.pth").startswith(f"a {kind}, and no dictionary of weights")


def test_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1), "callback": Touch(tmp_path / "mark")}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds code"):
        read_checkpoint(tmp_path / "x.pth", "--x")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("former_format", [False, True])
def test_damaged_files_give_one_line_or_a_dictionary(tmp_path: Path, former_format: bool) -> None:
    content = {"state_dict": {"a": torch.arange(9.0)}, "cmc": np.arange(3.0), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not former_format)
    whole = (tmp_path / "x.pth").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        (tmp_path / "damaged.pth").write_bytes(damaged)
        with suppress(UserError):
            assert isinstance(read_checkpoint(tmp_path / "damaged.pth", "--x"), dict)


def zip_bomb(path: Path) -> None:
    """A checkpoint of a few kilobytes whose storage unpacks to 200 MB."""
    torch.save({"x": torch.zeros(5)}, path.with_suffix(".whole"))
    with zipfile.ZipFile(path.with_suffix(".whole")) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, bytes(200_000_000) if name.endswith("/data/0") else whole.read(name))


def expanded(path: Path) -> None:
    torch.save({"x": torch.zeros(1).expand(10**6, 10**6)}, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (zip_bomb, r"a file that unpacks to many times its size \(200,\d{3},\d{3} bytes in"),
        (expanded, r"a file that unpacks to many times its size \(a tensor of shape \(1000000, 1000000\)\)"),
    ],
)
def test_what_is_small_until_it_is_read_is_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "x.pth")
    assert (tmp_path / "x.pth").stat().st_size < 1_000_000
    with pytest.raises(UserError, match=rf"^--x .*x\.pth: .*{words}") as caught:
        read_checkpoint(tmp_path / "x.pth", "--x")
    assert "\n" not in str(caught.value)


class Call:
    """Is written as a call of something that a checkpoint may hold."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    "call",
    [Call(fractions.Fraction, "1e999999999"), Call(list, bytearray(10)), Call(str, [1]), Call(tuple, "ab")],
    ids=["a power", "a number of zeros", "the text of a list", "letters"],
)
def test_plain_kinds_make_no_more_than_they_hold(tmp_path: Path, call: Call) -> None:
    torch.save({"x": call}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "x.pth", "--x")
