"""Split manifests built from catalogues: who trains, who validates, who is query, at which r."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from intact_fast.config.options import DataConfig, SameCamera
from intact_fast.data.blind import draw_corruption, draw_factor
from intact_fast.data.camera_queries import ask_by_camera, seen_by_one_camera
from intact_fast.data.catalogue import Catalogue, Picture, Subset
from intact_fast.data.copies import find_copies
from intact_fast.data.datasets import READERS
from intact_fast.data.halves import halve_people
from intact_fast.data.manifest import SPLITS, Entry, Header, LRCamera, Manifest, Split, require_identities
from intact_fast.data.matches import count_matches, require_matches
from intact_fast.data.one_camera import draw_queries
from intact_fast.data.overview import describe_split
from intact_fast.data.places import require_inside
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.sources import add_sources, names_of
from intact_fast.errors import UserError

# stream 0 halves the people, stream 6 the pictures of people of one camera
_VALIDATION, _VALIDATION_QUERY, _FACTORS, _VALIDATION_FACTORS, _LR_CAMERAS = range(1, 6)
_CORRUPTIONS, _VALIDATION_CORRUPTIONS = 7, 8

_LEARNT: tuple[Split, ...] = ("train", "val_query", "val_gallery")
_CAMERAS_SHOWN = 8
_TRAINING: tuple[Subset, ...] = ("train", "val", "all")
"""Roles of pictures of people who may train."""

_CameraOf = Callable[[int], int | None]
"""LR camera of an identity; None where all queries are LR."""


def read_catalogue(config: DataConfig, progress: Progress = no_progress) -> Catalogue:
    """Read the data set below ``config.root``.

    Args:
        config: Names the data set and its options.
        progress: Told how far a slow reader is.

    Raises:
        UserError: The data is missing or wrong.
    """
    return READERS[config.dataset](config, progress)


def ignore_warning(warning: str) -> None:
    """Report a warning, or an explanation, to nobody."""


def splits_at_random(config: DataConfig) -> bool:
    """Say whether ``config.split_seed`` decides who is tested, so that another seed is another split.

    Raises:
        UserError: The data is missing or wrong.
    """
    if config.manifest is not None:
        return False
    if config.dataset == "cuhk03":
        return config.cuhk03_protocol == "classic"
    if config.dataset == "folder":
        return any(picture.subset == "all" for picture in read_catalogue(config).pictures)
    return config.dataset in ("viper", "caviar")


def obtain_manifest(
    config: DataConfig,
    progress: Progress = no_progress,
    warn: Callable[[str], None] = ignore_warning,
    explain: Callable[[str], None] = ignore_warning,
    name_copies: bool = False,
    same_camera: SameCamera = "drop",
    reads: Sequence[Split] = SPLITS,
) -> Manifest:
    """Load ``config.manifest``, or build a manifest from ``config.root``.

    Args:
        config: Where and what.
        progress: Told how far a slow reader is.
        warn: Told what the user should know of the data: an incomplete copy, or people who train and are tested.
        explain: Told how the data was understood: by which rule, what was left out, and who is in which role.
        name_copies: Name all byte-identical pictures that ``warn`` is told of, instead of the first two.
        same_camera: Whether matches of the query's own camera count.
        reads: Roles whose pictures the caller reads, and which must lie below ``config.root``.

    Raises:
        UserError: The data or the manifest is missing or wrong.
    """
    if config.manifest is not None:
        manifest = Manifest.load(config.manifest)
        require_inside(manifest.split(*reads), config.root, config.sources)
        dataset = manifest.header.dataset
        if dataset != config.dataset:
            raise UserError(
                f"--data.dataset {config.dataset}: the manifest {config.manifest} is of {dataset}; give --data.dataset "
                f"{dataset}"
            )
        for option in ("interpolation", "jpeg_quality"):
            ours, theirs = getattr(config, option), getattr(manifest.header, option)
            if ours != theirs:
                raise UserError(
                    f"--data.{option.replace('_', '-')} {ours}: the manifest {config.manifest} was made for {theirs}; "
                    "give the same value"
                )
        theirs_too = [source.dataset for source in manifest.header.sources]
        if config.sources and names_of(config.sources) != theirs_too:
            raise UserError(
                f"--data.sources {' '.join(config.sources)}: the manifest {config.manifest} has "
                f"{' '.join(theirs_too) or 'none'}; leave the option out, or build it again"
            )
        degraded = [entry for entry in manifest.entries if entry.r is not None]
        if config.degradation == "blind" and degraded and not any(entry.corruption for entry in degraded):
            warn(
                f"--data.degradation blind: the manifest {config.manifest} has no corrupted queries, so that none are "
                "scored; build it with this option"
            )
        _look_at(manifest, same_camera, warn, explain)
        return manifest
    catalogue = read_catalogue(config, progress)
    for note in catalogue.notes:
        explain(f"{config.dataset}: {note}")
    if catalogue.left_out:
        explain(f"{config.dataset}: left out {catalogue.left_out.describe()}")
    manifest = build_manifest(catalogue, config, same_camera)
    own_queries = sum(picture.subset == "query" for picture in catalogue.pictures)
    if config.test_queries == "camera" and own_queries:
        explain(
            f"{config.dataset}: its {own_queries:,} own queries are left out; all gallery pictures of an identity's "
            "LR camera are queries"
        )
    if config.sources:
        manifest = add_sources(manifest, config, progress, warn, explain)
    _look_at(manifest, same_camera, warn, explain)
    own_warnings = (f"{config.dataset}: {warning}" for warning in catalogue.warnings)
    for warning in [*catalogue.deviations(), *own_warnings, *_identities_on_both_sides(manifest)]:
        warn(warning)
    if "folder" in (config.dataset, *names_of(config.sources)):
        for warning in find_copies(manifest, config.root, progress).warnings(name_copies):
            warn(f"folder: {warning}")
    return manifest


def _look_at(
    manifest: Manifest, same_camera: SameCamera, warn: Callable[[str], None], explain: Callable[[str], None]
) -> None:
    """Say who is in which role, and how many queries have a match; none is refused."""
    matches = count_matches(manifest, same_camera)
    explain(f"{manifest.header.dataset}: {describe_split(manifest)}; {matches.outcome()}")
    require_matches(manifest, same_camera, warn)
    held_out = count_matches(manifest, same_camera, validation=True)
    if held_out.queries.pictures and not held_out.found:
        warn(
            f"{manifest.header.dataset}: none of the {held_out.queries.pictures:,} queries of held-out training people "
            "has a match, so that nothing is validated and no best.pt chosen"
        )


def _identities_on_both_sides(manifest: Manifest) -> list[str]:
    """Say where a user's own roles let people train who are tested; other data sets number both sides apart."""
    if manifest.header.dataset != "folder":
        return []
    shared = manifest.labels.keys() & {entry.pid for entry in manifest.split("query", "gallery")}
    if not shared:
        return []
    first = min(shared)
    one, other = (next(e for e in manifest.split(*side) if e.pid == first) for side in (_LEARNT, ("query", "gallery")))
    return [
        f"folder: {len(shared)} identities are in training and in test pictures ({one.path} and {other.path} first); "
        "where they are the same people, the test tells nothing"
    ]


def build_manifest(catalogue: Catalogue, config: DataConfig, same_camera: SameCamera = "drop") -> Manifest:
    """Decide every split of a catalogue; a pure function of its arguments.

    * Identities without a fixed role are halved at random (VIPeR's protocol).
    * Test pictures of the LR camera are queries, those of other cameras the gallery. Fixed queries and
      galleries stay what they are. A named LR camera then selects among the queries. Where it is ``random``,
      each identity has its own.
    * ``val_fraction`` of the training identities is held out, or those that the data set names. Their pictures of the
      LR camera are queries (one of each camera but one where every query is LR), their other pictures the gallery.
    * ``test_queries`` ``camera`` leaves the fixed queries out and divides the gallery's pictures of their people by the
      LR camera. People whom one camera alone has seen have no queries, as none would have a match.
    * Where matches of the query's own camera count, half of the pictures of each person of one camera are queries
      (`draw_queries`); the camera alone would make them all so, or none.
    * Each LR row draws its own r, unless it is natively LR; then its camera's pictures do not train. Where
      ``degradation`` is ``blind``, it also draws a corruption, whose rate is another one.

    Raises:
        UserError: Fewer than two training identities, or an LR camera without pictures (or, where one
            is natively LR, another one).
    """
    alone: set[int] = set()
    if config.test_queries == "camera":
        catalogue = ask_by_camera(catalogue, config.lr_camera)
        alone = seen_by_one_camera(catalogue)
    lr_camera = _lr_camera(catalogue, config)
    train_pids, test_pids = halve_people(catalogue, config.split_seed)
    drawn = draw_queries(catalogue, config.lr_camera, config.split_seed) if same_camera == "keep" else {}
    val_pids = _validation_pids(catalogue, train_pids, config, drawn)
    camera_of = _camera_of(catalogue, lr_camera, config.split_seed)
    val_query = _validation_queries(catalogue, val_pids, camera_of, config.split_seed, drawn)
    # streams of their own, so that the queries' r do not depend on who is held out for validation
    factors = {
        "query": np.random.default_rng([config.split_seed, _FACTORS]),
        "val_query": np.random.default_rng([config.split_seed, _VALIDATION_FACTORS]),
    }
    corruptions = {
        "query": np.random.default_rng([config.split_seed, _CORRUPTIONS]),
        "val_query": np.random.default_rng([config.split_seed, _VALIDATION_CORRUPTIONS]),
    }

    entries = []
    for picture in catalogue.pictures:
        is_asked = camera_of(picture.pid) in (None, picture.camera) and picture.pid not in alone
        is_query = drawn.get(picture.path, is_asked)
        split = _split_of(picture, train_pids, test_pids, val_pids, val_query, is_query)
        if split is None or (split == "train" and catalogue.natively_lr and picture.camera == lr_camera):
            continue
        is_lr = split in factors
        r = int(factors[split].choice(config.factors)) if is_lr and not catalogue.natively_lr else None
        corruption = None
        if r is not None and config.degradation == "blind":
            corruption = draw_corruption(corruptions[split], draw_factor(corruptions[split], config.factors))
        entries.append(Entry(picture.path, picture.pid, picture.camera, split, is_lr, r, corruption))
    header = Header(
        catalogue.dataset,
        config.split_seed,
        config.interpolation,
        config.jpeg_quality,
        lr_camera,
        catalogue.distractor_pid,
    )
    manifest = Manifest(header, tuple(entries))
    require_identities(manifest.split("train"), "training")
    if manifest.split("query") and not manifest.split("gallery"):
        raise UserError(_without_gallery(manifest))
    require_identities(manifest.split("gallery"), "gallery")
    if not manifest.split("query"):
        raise UserError(
            f"--data.root {config.root}: no query picture among {len(manifest.split('gallery')):,} test pictures; test "
            "identities need pictures of two cameras, one of them --data.lr-camera"
        )
    return manifest


def _without_gallery(manifest: Manifest) -> str:
    """Say that the LR camera took all test pictures, as it does where there is one camera."""
    queries = manifest.split("query")
    cameras = sorted({entry.camera for entry in queries})
    listed = ", ".join(map(str, cameras[:_CAMERAS_SHOWN])) + (", …" if len(cameras) > _CAMERAS_SHOWN else "")
    return (
        f"{manifest.header.dataset}: all {len(queries):,} test pictures of {len({e.pid for e in queries}):,} people "
        f"are of {'one camera' if len(cameras) == 1 else 'one camera each'} ({listed}), so that {len(queries):,} "
        "queries have no match in another camera; correct the camera numbers, or, where the pictures have no camera "
        "ids, give --evaluation.same-camera keep"
    )


def _lr_camera(catalogue: Catalogue, config: DataConfig) -> LRCamera:
    if config.lr_camera == "auto":
        return catalogue.default_lr_camera
    if config.lr_camera == "random" and not catalogue.natively_lr:
        return "random"
    testable = sorted({p.camera for p in catalogue.pictures if p.subset in ("all", "test", "query")})
    is_there = config.lr_camera.isdecimal() and int(config.lr_camera) in testable
    if not is_there and config.lr_camera != "random":
        cameras = ", ".join(map(str, testable))
        by_number = config.test_queries == "camera" and catalogue.default_lr_camera is None
        raise UserError(
            f"--data.lr-camera {config.lr_camera}: no query picture of that camera in {catalogue.dataset}; "
            f"give one of {cameras}{' or random' if by_number else ', random, or auto'}"
        )
    if catalogue.natively_lr and config.lr_camera != str(catalogue.default_lr_camera):
        raise UserError(
            f"--data.lr-camera {config.lr_camera}: the pictures of camera {catalogue.default_lr_camera} are natively "
            f"low-resolution in {catalogue.dataset}; leave the option out"
        )
    return int(config.lr_camera)


def _camera_of(catalogue: Catalogue, lr_camera: LRCamera, seed: int) -> _CameraOf:
    """LR camera by identity; a drawn one is of those that its queries could come from."""
    if lr_camera != "random":
        return lambda pid: lr_camera
    cameras: dict[int, set[int]] = {}
    for picture in catalogue.pictures:
        if picture.subset != "gallery":
            cameras.setdefault(picture.pid, set()).add(picture.camera)
    rng = np.random.default_rng([seed, _LR_CAMERAS])
    drawn = {pid: int(rng.choice(sorted(cameras[pid]))) for pid in sorted(cameras)}
    return drawn.get


def _validation_pids(
    catalogue: Catalogue, train_pids: set[int], config: DataConfig, drawn: Mapping[str, bool]
) -> set[int]:
    """Held-out training identities: the data set's own, else drawn from those seen by at least two cameras."""
    cameras: dict[int, set[int]] = {pid: set() for pid in train_pids}
    for picture in catalogue.pictures:
        if picture.subset in _TRAINING and picture.pid in train_pids:
            cameras[picture.pid].add(picture.camera)
    with_queries = {picture.pid for picture in catalogue.pictures if drawn.get(picture.path)}
    usable = sorted(pid for pid, seen in cameras.items() if len(seen) > 1 or pid in with_queries)
    fixed = {p.pid for p in catalogue.pictures if p.subset == "val"}
    if fixed:
        if len(fixed.intersection(usable)) < 2:
            raise UserError(
                f"--data.root {config.root}: {len(fixed.intersection(usable))} of the {len(fixed)} people in val were "
                "seen by two cameras, and two people are needed; move them to train, which holds some out by itself"
            )
        return fixed
    count = min(round(config.val_fraction * len(train_pids)), len(usable))
    if count < 2:
        return set()
    rng = np.random.default_rng([config.split_seed, _VALIDATION])
    return set(rng.permutation(usable)[:count].tolist())


def _validation_queries(
    catalogue: Catalogue, val_pids: set[int], camera_of: _CameraOf, seed: int, drawn: Mapping[str, bool]
) -> set[str]:
    pictures = [p for p in catalogue.pictures if p.pid in val_pids and p.subset in _TRAINING]
    of_one_camera = {p.path for p in pictures if drawn.get(p.path)}
    of_lr_camera = {p.path for p in pictures if p.camera == camera_of(p.pid) and p.path not in drawn}
    if of_lr_camera:
        return of_lr_camera | of_one_camera
    rng = np.random.default_rng([seed, _VALIDATION_QUERY])
    queries = of_one_camera
    for cameras in _by_pid_and_camera(pictures).values():
        # one camera keeps all its pictures for the gallery, so that every query has a match
        kept = rng.integers(len(cameras))
        groups = [group for number, group in enumerate(cameras.values()) if number != kept]
        queries |= {group[rng.integers(len(group))].path for group in groups}
    return queries


def _by_pid_and_camera(pictures: Iterable[Picture]) -> dict[int, dict[int, list[Picture]]]:
    groups: dict[int, dict[int, list[Picture]]] = {}
    for picture in pictures:
        groups.setdefault(picture.pid, {}).setdefault(picture.camera, []).append(picture)
    return groups


def _split_of(
    picture: Picture,
    train_pids: set[int],
    test_pids: set[int],
    val_pids: set[int],
    val_query: set[str],
    is_query: bool,
) -> Split | None:
    if picture.subset in _TRAINING and picture.pid in train_pids:
        if picture.pid not in val_pids:
            return "train"
        return "val_query" if picture.path in val_query else "val_gallery"
    assert picture.pid in test_pids
    if picture.subset == "gallery":
        return "gallery"
    if picture.subset == "query":
        return "query" if is_query else None
    return "query" if is_query else "gallery"
