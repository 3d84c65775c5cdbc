"""The features of a folder of pictures, kept in a file and searched."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from intact_fast.data import picture_files
from intact_fast.data.degradation import read_image
from intact_fast.data.picture_files import LeftOut, Listing
from intact_fast.data.read_ahead import read_ahead
from intact_fast.errors import UserError
from intact_fast.file_names import native_name, plain_path, portable_name
from intact_fast.files import stamp, write_atomically
from intact_fast.json_text import to_json
from intact_fast.serving.sr_reid import SRReID

PictureT = TypeVar("PictureT")

_KEY = "intact_fast_gallery"
_SAVE_EVERY = 5000
_FAISS_FROM = 100_000
_SIMILARITIES = 2**26


def list_pictures(source: Path) -> Listing:
    """Find the pictures at a path: a file itself, or every file below a folder that is named as a picture.

    Hidden files, and what other programs put beside pictures, are left out and counted.

    Raises:
        UserError: There is nothing, or no picture.
    """
    if source.is_file():
        return Listing([source], LeftOut())
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    listing = picture_files.list_pictures(source, recursive=True)
    if not listing.pictures:
        raise UserError(f"{source}: holds no picture ({listing.left_out.describe() or 'it is empty'})")
    return listing


@dataclass
class Unreadable:
    """Pictures that could not be decoded, with the reason of each."""

    reasons: dict[Path, str] = field(default_factory=dict)


def read_in_batches(
    paths: Sequence[Path], batch_size: int, threads: int, unreadable: Unreadable
) -> Iterator[tuple[list[Path], list[Image.Image]]]:
    """Decode pictures a batch at a time, in order, noting those that cannot be and going on without them."""
    return read_readable(paths, read_image, batch_size, threads, unreadable)


def read_readable(
    paths: Sequence[Path], read: Callable[[Path], PictureT], batch_size: int, threads: int, unreadable: Unreadable
) -> Iterator[tuple[list[Path], list[PictureT]]]:
    """Do as `read_in_batches` with another way to read a picture, which raises UserError where it cannot."""

    def read_or_tell(path: Path) -> PictureT | UserError:
        try:
            return read(path)
        except UserError as error:
            return error

    for chunk, images in read_ahead(paths, read_or_tell, batch_size, threads):
        good = []
        for path, image in zip(chunk, images, strict=True):
            if isinstance(image, UserError):
                unreadable.reasons[path] = str(image)
            else:
                good.append((path, image))
        yield [path for path, _ in good], [image for _, image in good]


@dataclass(frozen=True)
class Update:
    """Numbers of pictures that bringing a gallery up to date computed, kept and dropped."""

    computed: int
    kept: int
    dropped: int


class GalleryIndex:
    """Features of pictures below one folder.

    Args:
        folder: Where the pictures are.
        identity: What the features depend on besides the pictures (model, input handling).
        file: Where they are kept; None keeps them in memory.

    Raises:
        UserError: The file is broken, or of another folder or model.
    """

    def __init__(self, folder: Path, identity: str, file: Path | None = None) -> None:
        self.folder = folder
        self._identity = identity
        self._file = file
        self.names: list[str] = []
        self._stamps = torch.empty(0, 2, dtype=torch.int64)
        self.features = torch.empty(0, 0)
        if file is not None and file.exists():
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            with plain_path(file) as plain, safe_open(plain, "pt") as stored:
                text = (stored.metadata() or {}).get(_KEY)
                if text is None:
                    raise UserError(f"--index {file}: not an index of ours; give another name")
                self.features, self._stamps = stored.get_tensor("features"), stored.get_tensor("stamps")
        except (SafetensorError, OSError) as error:
            raise UserError(f"--index {file}: not an index of ours, or a broken one; give another name") from error
        header = json.loads(text)
        if header["folder"] != portable_name(str(self.folder.resolve())):
            raise UserError(f"--index {file}: of the folder {header['folder']}; give another name")
        if header["identity"] != self._identity:
            raise UserError(
                f"--index {file}: made with another model or --mode; remove it to make it again, or give another name"
            )
        self.names = list(map(native_name, header["names"]))

    def update(
        self,
        model: SRReID,
        pictures: Sequence[Path],
        unreadable: Unreadable,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Update:
        """Compute the features of new and changed pictures, and drop those of vanished ones.

        Pictures are read a batch at a time. The file is written every few thousand pictures, so that an interrupted
        update goes on where it was.

        Args:
            model: Computes features.
            pictures: All pictures of the gallery.
            unreadable: Takes those that are left out.
            advance: Told how many pictures are done.
        """
        wanted = {str(path.relative_to(self.folder)): path for path in pictures}
        stamps = {name: stamp(path) for name, path in wanted.items()}
        known = {name: i for i, name in enumerate(self.names)}
        kept = [name for name in wanted if name in known and tuple(self._stamps[known[name]].tolist()) == stamps[name]]
        dropped = len(self.names) - len(kept)
        rows = torch.tensor([known[name] for name in kept], dtype=torch.int64)
        self.features = self.features[rows] if kept else torch.empty(0, model.feature_dim)
        self._stamps, self.names = self._stamps[rows], kept
        unchanged = set(kept)
        fresh = [path for name, path in wanted.items() if name not in unchanged]
        advance(len(kept))
        names: list[str] = []
        features: list[Tensor] = []

        def take_in() -> None:
            if names:
                self.features = torch.cat([self.features, *features])
                new = torch.tensor([stamps[name] for name in names], dtype=torch.int64)
                self._stamps = torch.cat([self._stamps, new])
                self.names = [*self.names, *names]
                names.clear()
                features.clear()
            self._save()

        read = 0
        for paths, images in read_in_batches(fresh, model.batch_size, model.threads, unreadable):
            if images:
                features.append(model(images, normalize=True).cpu())
                names.extend(str(path.relative_to(self.folder)) for path in paths)
            step = min(model.batch_size, len(fresh) - read)
            read += step
            advance(step)
            if len(names) >= _SAVE_EVERY:
                take_in()
        computed = len(self.names) + len(names) - len(kept)
        if fresh or dropped or (self._file is not None and not self._file.exists()):
            take_in()
        return Update(computed, len(kept), dropped)

    def _save(self) -> None:
        if self._file is None:
            return
        header = {
            "folder": portable_name(str(self.folder.resolve())),
            "identity": self._identity,
            "names": list(map(portable_name, self.names)),
        }
        tensors = {"features": self.features.contiguous(), "stamps": self._stamps.contiguous()}
        with write_atomically(self._file) as temporary:
            save_file(tensors, temporary, metadata={_KEY: to_json(header)})

    def search(self, features: Tensor, top: int) -> tuple[Tensor, Tensor]:
        """Rank the gallery for some queries by cosine similarity, the most similar first.

        Uses faiss where it is installed and the gallery is large; its exact index gives the same lists.

        Args:
            features: Q×D, of length 1.
            top: Length of the lists.

        Returns:
            Similarities and rows of `names`, Q×min(top, N) each.
        """
        top = min(top, len(self.names))
        features = features.cpu()
        faiss = _faiss() if len(self.names) >= _FAISS_FROM else None
        if faiss is not None:
            index = faiss.IndexFlatIP(features.shape[1])
            index.add(self.features.numpy())
            scores, rows = index.search(features.numpy(), top)
            return torch.from_numpy(scores), torch.from_numpy(rows)
        block_size = max(1, _SIMILARITIES // max(1, len(self.names)))
        found = [torch.topk(block @ self.features.T, top) for block in features.split(block_size)]
        if not found:
            return torch.empty(0, top), torch.empty(0, top, dtype=torch.int64)
        return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _faiss() -> Any | None:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        return None
