"""What `gallery_engines` compares: ways to keep and search a gallery, each with the same few methods."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from intact_fast.serving.gallery import Gallery, Identity, search, search_gallery
from intact_fast.serving.gallery.columns import make_rows

WIDTH = 512


class Engine:
    """A way to keep features with a camera; rows are numbers."""

    rewrites: ClassVar[bool] = False
    """Whether every commit writes everything."""
    filters: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = ()
    """How far an approximate search looks, least first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.effort = 0

    def add(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        raise NotImplementedError

    def hold(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Write what a search needs besides what was committed."""

    def open(self) -> None:
        raise NotImplementedError

    def count(self) -> int:
        raise NotImplementedError

    def exact(self, queries: np.ndarray, top: int, without_camera: str | None = None) -> list[list[int]]:
        raise NotImplementedError

    def build(self) -> None:
        raise NotImplementedError

    def approximate(self, queries: np.ndarray, top: int) -> list[list[int]]:
        raise NotImplementedError

    def set_camera(self, rows: range, camera: str) -> None:
        raise NotImplementedError

    def delete(self, rows: range) -> None:
        raise NotImplementedError


class Former(Engine):
    """One safetensors file with names in its header, and a product of matrices."""

    rewrites = True
    filters = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "gallery.safetensors"
        self.names: list[str] = []
        self.parts: list[torch.Tensor] = []

    def hold(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        self.names += [f"{first + i}.jpg" for i in range(len(features))]
        self.parts.append(torch.from_numpy(features))

    def add(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        self.hold(first, features, cameras)
        self.finish()

    def finish(self) -> None:
        self.parts = [torch.cat(self.parts)]
        temporary = self.file.with_suffix(".tmp")
        save_file({"features": self.parts[0]}, temporary, metadata={"names": json.dumps(self.names)})
        temporary.replace(self.file)

    def open(self) -> None:
        with safe_open(self.file, "pt") as stored:
            self.names = json.loads(stored.metadata()["names"])
            features = stored.get_tensor("features")
        # the rows of pictures that are still there
        self.parts = [features[torch.arange(len(self.names))]]

    def count(self) -> int:
        return len(self.names)

    def exact(self, queries: np.ndarray, top: int, without_camera: str | None = None) -> list[list[int]]:
        block = max(1, 2**26 // len(self.names))
        found = [torch.topk(part @ self.parts[0].T, top).indices for part in torch.from_numpy(queries).split(block)]
        return torch.cat(found).tolist()


class Lance(Engine):
    """The package's gallery."""

    efforts = (16, 32, 64, 128, 256, 512)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.open()

    def add(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        names = [f"{first + i}.jpg" for i in range(len(features))]
        self.gallery.append(make_rows(names, torch.from_numpy(features), [{"camera": camera} for camera in cameras]))

    def open(self) -> None:
        self.gallery = Gallery.open(self.folder / "gallery.lance", Identity("drawn", "0", ""), WIDTH)

    def count(self) -> int:
        return len(self.gallery)

    def _search(self, queries: np.ndarray, top: int, **options: Any) -> list[list[int]]:
        lists = search_gallery(self.gallery, torch.from_numpy(queries), top, **options)
        return [[int(match.path.removesuffix(".jpg")) for match in matches] for matches in lists]

    def exact(self, queries: np.ndarray, top: int, without_camera: str | None = None) -> list[list[int]]:
        return self._search(queries, top, where=without_camera and f"camera != '{without_camera}'")

    def build(self) -> None:
        search._INDEXED_FROM = 0
        search_gallery(self.gallery, torch.ones(1, WIDTH), 1, approximate=True)

    def approximate(self, queries: np.ndarray, top: int) -> list[list[int]]:
        search._FEWEST_PROBED, search._PROBED = self.effort, 0
        return self._search(queries, top, approximate=True)

    def set_camera(self, rows: range, camera: str) -> None:
        names = [f"{row}.jpg" for row in rows]
        self.gallery.merge(pa.table({"path": names, "camera": [camera] * len(names)}))

    def delete(self, rows: range) -> None:
        self.gallery.delete_paths([f"{row}.jpg" for row in rows])


class FaissParquet(Engine):
    """Rows in a Parquet file for each commit, and FAISS's indexes beside them."""

    efforts = (8, 16, 32, 64, 128, 256, 512)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import faiss

        self.faiss = faiss
        self.flat_file, self.ivf_file = str(folder / "flat.faiss"), str(folder / "ivf.faiss")

    def add(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        columns = {"row": np.arange(first, first + len(features)), "camera": list(cameras)}
        stored = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), WIDTH)
        temporary = self.folder / "part.tmp"
        pq.write_table(
            pa.table({**columns, "feature": stored}), temporary, compression="none", use_dictionary=["camera"]
        )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(self.folder / f"{first:010d}.parquet")

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def finish(self) -> None:
        index = self.faiss.IndexIDMap2(self.faiss.IndexFlatIP(WIDTH))
        for part in self._parts():
            table = pq.read_table(part)
            features = table["feature"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)
            index.add_with_ids(features, table["row"].to_numpy())
        self.faiss.write_index(index, self.flat_file)

    def open(self) -> None:
        if not Path(self.flat_file).exists():
            self.finish()
        self.index = self.faiss.read_index(self.flat_file)
        self.table = pa.concat_tables([pq.read_table(part, columns=["row", "camera"]) for part in self._parts()])

    def count(self) -> int:
        return self.index.ntotal

    def exact(self, queries: np.ndarray, top: int, without_camera: str | None = None) -> list[list[int]]:
        parameters = None
        if without_camera is not None:
            kept = self.table["row"].to_numpy()[np.array(self.table["camera"]) != without_camera]
            # a batch of numbers hashes; sorted ranges are many
            parameters = self.faiss.SearchParameters(sel=self.faiss.IDSelectorBatch(kept))
        return self.index.search(queries, top, params=parameters)[1].tolist()

    def build(self) -> None:
        count = self.index.ntotal
        features = self.index.index.reconstruct_n(0, count)
        lists = max(1, count // 1000)
        self.ivf = self.faiss.index_factory(WIDTH, f"IVF{lists},Flat", self.faiss.METRIC_INNER_PRODUCT)
        self.ivf.train(features[:: max(1, count // (64 * lists))])
        self.ivf.add_with_ids(features, self.faiss.vector_to_array(self.index.id_map))
        self.faiss.write_index(self.ivf, self.ivf_file)

    def approximate(self, queries: np.ndarray, top: int) -> list[list[int]]:
        self.ivf.nprobe = self.effort
        return self.ivf.search(queries, top)[1].tolist()

    def _rewrite(self, rows: range, camera: str | None) -> None:
        """Write parts that hold the rows again, with another camera or without them."""
        for part in self._parts():
            table = pq.read_table(part)
            here = np.isin(table["row"].to_numpy(), np.array(rows))
            if here.any() and camera is None:
                pq.write_table(table.filter(pa.array(~here)), part, compression="none")
            elif here.any():
                cameras = np.where(here, camera, np.array(table["camera"]))
                pq.write_table(table.set_column(1, "camera", pa.array(cameras.tolist())), part, compression="none")

    def set_camera(self, rows: range, camera: str) -> None:
        self._rewrite(rows, camera)

    def delete(self, rows: range) -> None:
        self._rewrite(rows, None)
        self.index.remove_ids(np.array(rows))
        self.faiss.write_index(self.index, self.flat_file)


class UsearchSqlite(Engine):
    """Rows in SQLite, and USearch's graph beside it, which exact search reads through, too."""

    filters = False
    efforts = (64, 128, 256, 512, 1024)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = folder / "graph.usearch"
        self.database = sqlite3.connect(folder / "gallery.sqlite")
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS pictures (row INTEGER PRIMARY KEY, camera TEXT, feature BLOB)"
        )

    def add(self, first: int, features: np.ndarray, cameras: Sequence[str]) -> None:
        rows = zip(range(first, first + len(features)), cameras, map(bytes, features), strict=True)
        with self.database:
            self.database.executemany("INSERT INTO pictures VALUES (?, ?, ?)", rows)

    def _graph(self) -> Any:
        from usearch.index import Index

        return Index(ndim=WIDTH, metric="ip", dtype="f32")

    def finish(self) -> None:
        graph = self._graph()
        cursor = self.database.execute("SELECT row, feature FROM pictures")
        while rows := cursor.fetchmany(5000):
            features = np.frombuffer(b"".join(feature for _, feature in rows), np.float32).reshape(-1, WIDTH)
            graph.add(np.array([row for row, _ in rows]), features)
        graph.save(str(self.file))

    def open(self) -> None:
        self.graph = self._graph()
        if self.file.exists():
            self.graph.view(str(self.file))

    def count(self) -> int:
        return self.database.execute("SELECT count(*) FROM pictures").fetchone()[0]

    def exact(self, queries: np.ndarray, top: int, without_camera: str | None = None) -> list[list[int]]:
        return np.atleast_2d(self.graph.search(queries, top, exact=True).keys).tolist()

    def build(self) -> None:
        """The graph is there."""

    def approximate(self, queries: np.ndarray, top: int) -> list[list[int]]:
        self.graph.expansion_search = self.effort
        return np.atleast_2d(self.graph.search(queries, top).keys).tolist()

    def set_camera(self, rows: range, camera: str) -> None:
        with self.database:
            self.database.execute(
                "UPDATE pictures SET camera = ? WHERE row BETWEEN ? AND ?", (camera, rows[0], rows[-1])
            )

    def delete(self, rows: range) -> None:
        with self.database:
            self.database.execute("DELETE FROM pictures WHERE row BETWEEN ? AND ?", (rows[0], rows[-1]))
        self.graph.load(str(self.file))
        self.graph.remove(np.array(rows))
        self.graph.save(str(self.file))


ENGINES: dict[str, type[Engine]] = {
    "former": Former,
    "lance": Lance,
    "faiss and parquet": FaissParquet,
    "usearch and sqlite": UsearchSqlite,
}
