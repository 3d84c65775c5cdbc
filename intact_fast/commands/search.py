"""``intact-fast search``: the gallery pictures most similar to each query."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from intact_fast.commands.acceptance import Acceptance, check_accept, find_thresholds
from intact_fast.commands.gallery_options import ColumnOptions
from intact_fast.commands.model_options import run_command, warn_unreadable
from intact_fast.commands.progress_bar import progress
from intact_fast.commands.search_queries import Queries, read_queries
from intact_fast.data.picture_files import LeftOut
from intact_fast.data.sampling import evenly_spaced
from intact_fast.errors import UserError, tell, warn
from intact_fast.file_names import leads_out
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.reporting.html_page import check_html_name
from intact_fast.reporting.html_search import write_html_search
from intact_fast.reporting.pictures import save_matches
from intact_fast.serving.gallery import Gallery, Match, search_gallery, search_groups, update_gallery
from intact_fast.serving.gallery.columns import ColumnSource
from intact_fast.serving.gallery.parquet_files import is_parquet, read_into
from intact_fast.serving.gallery.store import check_place
from intact_fast.serving.picture_reading import Unreadable, list_pictures
from intact_fast.serving.sr_reid import SRReID

_DRAWN_QUERIES = 50
"""Rows of a picture, at most; 400 are 61,606 pixels high and fill 77 MB."""


@dataclass(frozen=True)
class SearchOptions(ColumnOptions):
    """Rank the pictures of a gallery by similarity to each query.

    Exit status: 0 when all pictures were read, 1 when some could not be, 2 after a mistake in the options.
    """

    query: Path = Path("query")
    """Picture, or folder of pictures, to look for."""
    gallery: Path = Path("gallery")
    """Folder of pictures to look in, or Parquet files of `intact-fast embed`."""
    index: str | None = None
    """Folder `x.lance` (or an address such as `s3://bucket/x.lance`) that keeps the gallery's features and columns;
    made if missing, and brought up to date."""
    rebuild: bool = False
    """Compute all features of the index again, whatever made them."""
    top: int = 10
    """Matches per query."""
    where: str | None = None
    """SQL condition on the gallery's columns, such as "camera != 3 and time between '2024-01-01' and '2024-01-08'"."""
    not_own_camera: bool = False
    """Leave out pictures of the query's own camera."""
    not_self: bool = False
    """Leave out files of the same content as the query."""
    group_by: Literal["track", "person"] | None = None
    """Rank tracks or people instead of pictures."""
    group: Literal["mean", "best"] = "mean"
    """Compare with the average of a group's features, or with its most similar picture."""
    pool: bool = False
    """Take all pictures of a person (by --columns or --columns-pattern), or else of a folder, as one query."""
    approximate: bool = False
    """Search with an index, which is made on demand; some matches may be missed."""
    accept: float | None = None
    """Mark the matches above the threshold of this false-match rate, such as 1e-3; a query without one has none."""
    thresholds: Path | None = None
    """File of `intact-fast calibrate` that `accept` takes thresholds from; none takes the model's own."""
    picture: Path | None = None
    """PNG to write: each query with its matches; of more than 50, those at equal distances."""
    html: Path | None = None
    """HTML page to write: each query with its matches, to page through, sort and enlarge."""
    html_queries: int = 1000
    """Queries that the page shows; of more, some at equal distances."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(SearchOptions, "intact-fast search", arguments, _run)


@dataclass(frozen=True)
class _Searched:
    """The gallery as it was searched."""

    gallery: Gallery
    computed: int
    left_out: LeftOut


def _run(options: SearchOptions) -> int:
    _check(options)
    source = options.source()
    listing = list_pictures(options.query)
    model = options.load()
    model.mode = options.mode
    thresholds = find_thresholds(options, model)
    unreadable = Unreadable()
    with _opened(options, model) as gallery:
        queries = read_queries(options.query, listing.pictures, model, unreadable, source, options)
        acceptance = Acceptance.of(queries, thresholds, options.accept, model)
        searched = _up_to_date(options, gallery, model, unreadable, source)
        matches = dict(zip(queries.names, _search(options, gallery, queries), strict=True))
        _check_matches(options, matches)
        size = len(gallery)
    limits = None if acceptance is None else queries.shown_as(acceptance.limits)
    if options.picture is not None:
        _draw(options.picture, options, queries.shown_as(matches), model, limits)
    if options.html is not None:
        pairs = {name: [(m.path, m.similarity) for m in found] for name, found in matches.items()}
        shown, place, most = queries.shown_as(pairs), options.gallery, options.html_queries
        with progress("page", min(len(shown), most), options.json) as advance:
            write_html_search(options.html, shown, place, size, model, options.model, most, limits, advance)
    _print(options, matches, acceptance, searched, size, listing.left_out)
    return warn_unreadable(unreadable)


def _check(options: SearchOptions) -> None:
    check_accept(options)
    if options.top < 1:
        raise UserError(f"--top {options.top}: must be 1 or more")
    if options.index is None and not options.gallery.exists():
        raise UserError(f"--gallery {options.gallery}: no such folder")
    if options.rebuild and options.index is None:
        raise UserError("--rebuild: makes an index again; give --index, too")
    if options.approximate and options.index is None:
        raise UserError("--approximate: needs an index that stays; give --index, too")
    if options.approximate and options.group_by is not None and options.group == "mean":
        raise UserError("--approximate: an index is of pictures; give --group best, or search exactly")
    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise UserError(f"--picture {options.picture}: is written as PNG; name it .png")
    check_html_name(options.html, "--html")
    if options.html_queries < 1:
        raise UserError(f"--html-queries {options.html_queries}: must be 1 or more")
    for option, file in (("--picture", options.picture), ("--html", options.html)):
        if file is not None:
            if is_parquet(options.gallery) or not options.gallery.is_dir():
                raise UserError(f"{option}: shows pictures, and --gallery {options.gallery} has none; leave it out")
            check_writable(file, option)
    if options.index is not None and "://" not in options.index:
        check_place(options.index)
        check_writable(Path(options.index), "--index", folder=True)


@contextmanager
def _opened(options: SearchOptions, model: SRReID) -> Iterator[Gallery]:
    identity = options.identity(model)
    if options.index is not None:
        yield Gallery.open(options.index, identity, model.feature_dim, rebuild=options.rebuild)
        return
    with tempfile.TemporaryDirectory(prefix="intact_fast-") as folder:
        yield Gallery.open(Path(folder) / "gallery.lance", identity, model.feature_dim)


def _up_to_date(
    options: SearchOptions, gallery: Gallery, model: SRReID, unreadable: Unreadable, source: ColumnSource | None
) -> _Searched:
    if is_parquet(options.gallery):
        with progress("gallery", 0, options.json) as advance:
            added, _ = read_into(gallery, options.gallery, options.identity(model), advance, options.drop_vanished)
        return _Searched(gallery, added, LeftOut())
    try:
        pictures = list_pictures(options.gallery)
    except UserError as error:
        # a disk that is not mounted leaves an empty folder: nothing of the index is dropped for it
        if not len(gallery):
            raise
        warn(f"{error}; the answer is from --index {options.index} as it is")
        return _Searched(gallery, 0, LeftOut())
    with progress("gallery", len(pictures.pictures), options.json) as advance:
        update = update_gallery(
            gallery, model, options.gallery, pictures.pictures, unreadable, source, advance, options.drop_vanished
        )
    return _Searched(gallery, update.computed, pictures.left_out)


def _search(options: SearchOptions, gallery: Gallery, queries: Queries) -> list[list[Match]]:
    common: dict[str, Any] = {
        "where": options.where,
        "without": queries.without,
        "approximate": options.approximate,
    }
    if options.group_by is None:
        return search_gallery(gallery, queries.features, options.top, **common)
    return search_groups(gallery, queries.features, options.top, options.group_by, options.group, **common)


def _check_matches(options: SearchOptions, matches: dict[str, list[Match]]) -> None:
    """Refuse an index that names files outside of its gallery; Parquet files may be of another system's pictures."""
    outside = next((m.path for found in matches.values() for m in found if leads_out(m.path)), None)
    if outside is not None and not is_parquet(options.gallery):
        raise UserError(
            f"--index {options.index}: holds {outside}, which is not below --gallery {options.gallery}; --rebuild it"
        )


def _draw(
    picture: Path,
    options: SearchOptions,
    matches: dict[Path, list[Match]],
    model: SRReID,
    limits: dict[Path, float] | None,
) -> None:
    shown = evenly_spaced(list(matches), _DRAWN_QUERIES)
    if len(shown) < len(matches):
        more = f" --html-queries {len(matches)}" if len(matches) > options.html_queries else ""
        tell(
            f"--picture {picture}: shows {len(shown)} of {len(matches):,} queries, from the first to the last at equal "
            f"distances; --html x.html{more} shows all"
        )
    rows = {query: [(options.gallery / m.path, m.similarity) for m in matches[query]] for query in shown}
    save_matches(rows, model, picture, limits)


def _print(
    options: SearchOptions,
    matches: dict[str, list[Match]],
    acceptance: Acceptance | None,
    searched: _Searched,
    size: int,
    left_out: LeftOut,
) -> None:
    left_out = left_out + searched.left_out
    folder = Path() if is_parquet(options.gallery) else options.gallery
    if options.json:
        lists = {name: [_told(name, match, folder, acceptance) for match in found] for name, found in matches.items()}
        figures = {"gallery": size, "computed": searched.computed, "other_files": len(left_out), "matches": lists}
        accept = {} if acceptance is None else {"accept": acceptance.figures()}
        print(to_json({**figures, **accept}, indent=1))
        return
    for name, found in matches.items():
        print(name if acceptance is None else acceptance.headline(name, found))
        for rank, match in enumerate(found, start=1):
            group = f"  {options.group_by} {match.columns[options.group_by]}" if options.group_by else ""
            mark = "" if acceptance is None else "match  " if acceptance.accepts(name, match) else "       "
            print(f"{rank:>4}  {match.similarity:.3f}  {mark}{folder / match.path}{group}")
    print(
        f"{len(matches)} queries, {size} gallery pictures ({searched.computed} of them new), {len(left_out)} other "
        f"files left out{f': {left_out.describe()}' if left_out else ''}"
    )


def _told(query: str, match: Match, folder: Path, acceptance: Acceptance | None) -> dict[str, Any]:
    columns = asdict(match)["columns"]
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in columns.items()}
    found: dict[str, Any] = {"path": str(folder / match.path), "similarity": match.similarity}
    if acceptance is not None:
        found["accepted"] = acceptance.accepts(query, match)
    return found | told | ({"pictures": match.pictures} if match.pictures > 1 else {})
