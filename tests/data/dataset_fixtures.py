"""Tiny data sets of noise in the official layouts and naming."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import scipy.io
from PIL import Image

from conftest import write_picture
from intact_fast.config.options import CUHK03Boxes

PERSONS = (4, 2)
"""Persons seen by each camera pair of the little CUHK03."""
FILLED = (1, 2, 6, 7)
"""Numbers of the ten cells of a person that hold a picture; number 7 of the last person is empty, too."""
TESTSETS = tuple(((1, 1 + number % 4), (2, 1 + number % 2)) for number in range(20))
SIZE = (6, 4)


def write_duke(folder: Path) -> None:
    """Three identities that train, two that are queried, one that only the gallery has."""
    for pid in (2, 5, 9):
        for camera in (1, 8):
            write_picture(folder / "bounding_box_train" / f"{pid:04d}_c{camera}_f0044158.jpg", pid)
    for pid in (1, 3):
        write_picture(folder / "query" / f"{pid:04d}_c2_f0046302.jpg", pid)
        write_picture(folder / "bounding_box_test" / f"{pid:04d}_c6_f0046303.jpg", pid)
    write_picture(folder / "bounding_box_test" / "0007_c3_f0101010.jpg", 7)


MSMT17_PARTS = {1: ("train", "test"), 2: ("mask_train_v2", "mask_test_v2")}
"""Folders of pictures by version."""


def write_msmt17(folder: Path, version: int = 1) -> None:
    """Three identities that train, a picture of each on the validation list; two of the same numbers are tested."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}

    def add(name: str, pid: int, number: int, camera: int) -> None:
        path = f"{pid:04d}/{pid:04d}_{number:03d}_{camera:02d}_0303morning_{number:04d}_0.jpg"
        part = MSMT17_PARTS[version][name in ("query", "gallery")]
        write_picture(folder / part / path, 100 * pid + 10 * camera + len(name))
        lists[name].append(f"{path} {pid}")

    for pid in range(3):
        for number, (name, camera) in enumerate((("train", 1), ("train", 15), ("val", 4))):
            add(name, pid, number, camera)
    for pid in range(2):
        for number, (name, camera) in enumerate((("query", 1), ("gallery", 1), ("gallery", 9))):
            add(name, pid, number, camera)
    for name, lines in lists.items():
        (folder / f"list_{name}.txt").write_text("\n".join(lines) + "\n")


def write_cuhk03_np(folder: Path) -> None:
    """Two identities that train, two that are tested; pictures are numbered through within a person."""
    for pid in (1, 2):
        for number in (1, 6):
            write_picture(folder / "bounding_box_train" / f"{pid:04d}_c{1 if number < 6 else 2}_{number}.png", pid)
    for pid in (768, 1467):
        write_picture(folder / "query" / f"{pid:04d}_c1_1.png", pid)
        write_picture(folder / "bounding_box_test" / f"{pid:04d}_c1_2.png", pid)
        write_picture(folder / "bounding_box_test" / f"{pid:04d}_c2_10.png", pid)


def write_caviar(folder: Path, small_camera: int = 2) -> None:
    """Eight identities seen twice by each camera, one seen by the first alone (picture numbers 001 to 010)."""
    for pid in range(1, 10):
        for number in (1, 10, 11, 20):
            camera = 1 if number <= 10 else 2
            if pid == 9 and camera == 2:
                continue
            # a single larger picture must not hide which camera's are smaller in the mean
            small = camera == small_camera and (pid, number % 10) != (4, 0)
            write_picture(folder / f"{pid:04d}{number:03d}.jpg", pid, size=(8, 16) if small else (24, 48))


def cuhk03_pixels(pair: int, person: int, number: int, boxes: CUHK03Boxes = "detected") -> np.ndarray:
    """H×W×3 uint8 of one cell."""
    rng = np.random.default_rng([pair, person, number, boxes == "labeled"])
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def cuhk03_cells() -> list[tuple[int, int, int]]:
    """Camera pair, person and number of every picture."""
    last = (len(PERSONS), PERSONS[-1], 7)
    cells = [
        (pair, person, number)
        for pair, persons in enumerate(PERSONS, start=1)
        for person in range(1, persons + 1)
        for number in FILLED
    ]
    return [cell for cell in cells if cell != last]


def cuhk03_names() -> list[str]:
    """Files that an extraction makes, as torchreid names them."""
    return [f"{pair}_{person:03d}_{1 if n <= 5 else 2}_{n:02d}.png" for pair, person, n in cuhk03_cells()]


def write_cuhk03_release(path: Path) -> None:
    """The release's file as MATLAB 7.3 writes it: cells as references, columns first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filled = set(cuhk03_cells())
    with h5py.File(path, "w") as file:

        def store(array: np.ndarray) -> h5py.Reference:
            dataset = file.create_dataset(f"#refs#/{len(file.require_group('#refs#'))}", data=array.T)
            return dataset.ref

        def empty() -> h5py.Reference:
            reference = store(np.zeros(2, dtype=np.uint64))
            file[reference].attrs["MATLAB_empty"] = np.uint8(1)
            return reference

        def cells(rows: list[list[h5py.Reference]]) -> np.ndarray:
            return np.array(rows, dtype=h5py.ref_dtype)

        for boxes in get_args(CUHK03Boxes):
            pairs = []
            for pair, persons in enumerate(PERSONS, start=1):
                grid = [
                    [
                        store(cuhk03_pixels(pair, person, n, boxes)) if (pair, person, n) in filled else empty()
                        for n in range(1, 11)
                    ]
                    for person in range(1, persons + 1)
                ]
                pairs.append([store(cells(grid))])
            file.create_dataset(boxes, data=cells(pairs).T)
        testsets = [[store(np.array(testset, dtype=np.float64))] for testset in TESTSETS]
        file.create_dataset("testsets", data=cells(testsets).T)


def write_cuhk03_new_protocol(path: Path, names: list[str]) -> None:
    """The new protocol's file, MATLAB 5: pair 1 trains, of pair 2 the numbers 1 and 6 are queries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filelist = np.empty((len(names), 1), dtype=object)
    filelist[:, 0] = names

    def rows(wanted: Any) -> np.ndarray:
        return np.array([[number + 1] for number, name in enumerate(names) if wanted(name)], dtype=np.float64)

    scipy.io.savemat(
        path,
        {
            "filelist": filelist,
            "labels": np.array([[int(name[0] + name[2:5])] for name in names]),
            "train_idx": rows(lambda name: name[0] == "1"),
            "query_idx": rows(lambda name: name[0] == "2" and name[-6:-4] in ("01", "06")),
            "gallery_idx": rows(lambda name: name[0] == "2" and name[-6:-4] not in ("01", "06")),
        },
    )


def write_cuhk03_pictures(folder: Path) -> None:
    """Pictures that somebody extracted before."""
    folder.mkdir(parents=True)
    for cell, name in zip(cuhk03_cells(), cuhk03_names(), strict=True):
        Image.fromarray(cuhk03_pixels(*cell)).save(folder / name)
