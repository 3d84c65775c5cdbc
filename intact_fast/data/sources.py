"""Several data sets in one training: further sources add training people to a split."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from intact_fast.config.checks import source_of
from intact_fast.config.options import DataConfig
from intact_fast.data.catalogue import Catalogue, Picture
from intact_fast.data.datasets import READERS, read_folder
from intact_fast.data.halves import halve_people
from intact_fast.data.manifest import Entry, Manifest, Source, digest_of_people
from intact_fast.data.progress import Progress
from intact_fast.errors import UserError

FIRST_PID = -2
"""Number of the first person of a source; the others follow downwards. -1 marks junk, and own people count from 0."""


def add_sources(
    manifest: Manifest,
    config: DataConfig,
    progress: Progress,
    warn: Callable[[str], None],
    explain: Callable[[str], None],
) -> Manifest:
    """Let the training people of ``config.sources`` train as well.

    Validation and test stay those of the data set. People and cameras of sources get numbers of their own. Paths are
    relative to ``config.root`` wherever the source lies.

    Args:
        manifest: The split of the data set.
        config: Names the sources, and the options that their readers have.
        progress: Told how far a slow reader is.
        warn: Told of incomplete copies.
        explain: Told what each source adds.

    Raises:
        UserError: A source is missing or wrong, nobody of it trains, or it holds pictures of the data set.
    """
    entries, sources = list(manifest.entries), []
    pid, camera = FIRST_PID, 1 + max(entry.camera for entry in entries)
    folders: dict[Path, str] = {}

    def file_of(path: str) -> str:
        """Name the file behind a path, links in its folders followed."""
        full = config.root / path
        if full.parent not in folders:
            folders[full.parent] = os.path.realpath(full.parent)
        return os.path.join(folders[full.parent], full.name)

    known = {file_of(entry.path): entry for entry in entries}
    for text in config.sources:
        dataset, place = source_of(text)
        root = config.root if place is None else place
        catalogue = _read(replace(config, dataset=dataset, root=root), text, progress)
        pictures = _training_pictures(catalogue, config.split_seed)
        pids = sorted({picture.pid for picture in pictures})
        if not pids:
            raise UserError(f"--data.sources {text}: nobody of it trains; leave it out")
        pid_of = {own: pid - number for number, own in enumerate(pids)}
        cameras = sorted({picture.camera for picture in pictures})
        camera_of = {own: camera + number for number, own in enumerate(cameras)}
        prefix = _relative(root, config.root)
        for picture in pictures:
            path = (prefix / picture.path).as_posix()
            entry = Entry(path, pid_of[picture.pid], camera_of[picture.camera], "train", False, None)
            if known.setdefault(file_of(path), entry) is not entry:
                raise UserError(
                    f"--data.sources {text}: {picture.path} is a picture of --data.dataset or of another source, too; "
                    "give each picture once"
                )
            entries.append(entry)
        sources.append(Source(dataset, _data_of(catalogue), tuple(pids)))
        pid, camera = pid - len(pids), camera + len(cameras)
        for warning in (*catalogue.deviations(), *catalogue.warnings):
            warn(f"source {text}: {warning}")
        left_out = [f"left out {catalogue.left_out.describe()}"] if catalogue.left_out else []
        added = f"{len(pictures):,} pictures of {len(pids):,} people train as well"
        for sentence in (*catalogue.notes, *left_out, added):
            explain(f"source {text}: {sentence}")
    return Manifest(replace(manifest.header, sources=tuple(sources)), tuple(entries))


def _read(config: DataConfig, text: str, progress: Progress) -> Catalogue:
    try:
        if config.dataset == "folder":
            return read_folder(config.root, config.name_pattern, needs_test=False)
        return READERS[config.dataset](config, progress)
    except UserError as error:
        # readers name --data.root, which a source may have another of
        raise UserError(f"--data.sources {text}: {error}") from error


def _training_pictures(catalogue: Catalogue, seed: int) -> list[Picture]:
    """Take the pictures that train where the source is the data set; of a folder without roles take all."""
    shown = [picture for picture in catalogue.pictures if picture.pid != catalogue.distractor_pid]
    if catalogue.dataset == "folder" and all(picture.subset == "all" for picture in shown):
        return shown
    train = halve_people(catalogue, seed)[0]
    return [
        picture
        for picture in catalogue.pictures
        if picture.subset in ("train", "val", "all")
        and picture.pid in train
        and not (catalogue.natively_lr and picture.camera == catalogue.default_lr_camera)
    ]


def _relative(root: Path, main_root: Path) -> PurePath:
    """Lead from the data set's root to a source's, past links only where the one does not lie below the other."""
    try:
        below = PurePath(os.path.relpath(root, main_root))
        if os.pardir not in below.parts:
            return below
        return PurePath(os.path.relpath(os.path.realpath(root), os.path.realpath(main_root)))
    except ValueError as error:
        raise UserError(f"--data.sources: {root} lies on another drive than --data.root; move or link it") from error


def _data_of(catalogue: Catalogue) -> str:
    return digest_of_people(catalogue.dataset, ((p.pid, p.path) for p in catalogue.pictures))


def names_of(sources: Iterable[str]) -> Sequence[str]:
    """Name the data sets of ``--data.sources``."""
    return [source_of(text)[0] for text in sources]
