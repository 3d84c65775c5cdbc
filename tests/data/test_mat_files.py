"""MATLAB's files are looked at before they are read: what they claim, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from data.dataset_fixtures import write_cuhk03_release
from intact_fast.data.datasets import read_cuhk03
from intact_fast.data.datasets.mat_files import check_level5, read_dataset
from intact_fast.errors import UserError


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_lists_is_taken(tmp_path: Path, packed: bool) -> None:
    savemat(tmp_path / "x.mat", {"a": np.arange(1000)}, do_compression=packed)
    check_level5(tmp_path / "x.mat")


def test_a_file_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": np.zeros(2**24)}, do_compression=True)
    assert (tmp_path / "x.mat").stat().st_size < 300_000
    with pytest.raises(ValueError, match="unpacks to more than 67,108,864 bytes"):
        check_level5(tmp_path / "x.mat")


@pytest.mark.parametrize("content", [b"", b"x" * 200, bytes(126) + b"IM" + b"\x0f\0\0\0\xff\xff\xff\x7f"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"level 5|its end is missing"):
        check_level5(tmp_path / "x.mat")


def test_an_array_of_another_file_or_of_any_size_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file.create_dataset("plain", data=np.arange(4))
        file.create_dataset("outside", (64,), "u1", external=[(str(tmp_path / "secret.raw"), 0, 64)])
        file.create_dataset("huge", (3, 10**6, 10**6), "u1", chunks=(3, 100, 100))
        file.create_group("group")
    with h5py.File(tmp_path / "x.mat") as file:
        assert read_dataset(file, file["plain"]).tolist() == [0, 1, 2, 3]
        for name, message in (("outside", "another file"), ("huge", "claims the shape"), ("group", "no array")):
            with pytest.raises(ValueError, match=message):
                read_dataset(file, file[name])


def replaced(name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        reference = file["detected"][0, 0]
        cells = file[reference]
        made = file.create_dataset(f"hostile_{name}", **value)
        cells[0, 0] = made.ref

    return change


@pytest.mark.parametrize(
    "change",
    [
        replaced("huge", {"shape": (3, 10**5, 10**5), "dtype": "u1", "chunks": (3, 10, 10)}),
        replaced("floats", {"data": np.zeros((3, 4, 4))}),
        replaced("planes", {"data": np.zeros((5, 4, 4), "u1")}),
        lambda file: file.pop("testsets"),
        lambda file: (file.pop("detected"), file.create_dataset("detected", data=np.zeros((1, 5)))),
    ],
    ids=["a huge picture", "floats", "five planes", "no test sets", "numbers for cells"],
)
def test_a_release_of_other_kinds_is_named(tmp_path: Path, change: Any) -> None:
    path = tmp_path / "cuhk-03.mat"
    write_cuhk03_release(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(
        UserError, match=r"cuhk-03\.mat: not the release's cuhk-03\.mat \(.*download it again"
    ) as caught:
        read_cuhk03(tmp_path)
    assert "\n" not in str(caught.value)
