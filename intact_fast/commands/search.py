"""``intact-fast search``: the gallery pictures most similar to each query."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intact_fast.commands.model_options import ServingOptions, run_command, warn_unreadable
from intact_fast.commands.progress_bar import progress
from intact_fast.data.picture_files import LeftOut
from intact_fast.errors import UserError
from intact_fast.file_names import on_one_line
from intact_fast.files import check_writable
from intact_fast.json_text import to_json
from intact_fast.reporting.html_page import check_html_name
from intact_fast.reporting.html_search import write_html_search
from intact_fast.reporting.pictures import save_matches
from intact_fast.serving.gallery import GalleryIndex, Unreadable, list_pictures, read_in_batches
from intact_fast.serving.pretrained import find_pretrained
from intact_fast.serving.sr_reid import Mode, SRReID


@dataclass(frozen=True)
class SearchOptions(ServingOptions):
    """Rank the pictures of a gallery by similarity to each query.

    Exit status: 0 when all pictures were read, 1 when some could not be, 2 after a mistake in the options.
    """

    query: Path = Path("query")
    """Picture, or folder of pictures, to look for."""
    gallery: Path = Path("gallery")
    """Folder of pictures to look in."""
    index: Path | None = None
    """File that keeps the gallery's features; made if missing, and brought up to date."""
    top: int = 10
    """Matches per query."""
    picture: Path | None = None
    """PNG to write: each query with its matches."""
    html: Path | None = None
    """HTML page to write: each query with its matches, to page through, sort and enlarge."""
    html_queries: int = 200
    """Queries that the page shows; of more, some at equal distances."""
    mode: Mode = "auto"
    """Which pictures pass through G: natively small ones, all, or none."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(SearchOptions, "intact-fast search", arguments, _run)


def _run(options: SearchOptions) -> int:
    if options.top < 1:
        raise UserError(f"--top {options.top}: must be 1 or more")
    if not options.gallery.is_dir():
        raise UserError(f"--gallery {options.gallery}: no such folder")
    if options.picture is not None and options.picture.suffix.lower() != ".png":
        raise UserError(f"--picture {options.picture}: is written as PNG; name it .png")
    check_html_name(options.html, "--html")
    if options.html_queries < 1:
        raise UserError(f"--html-queries {options.html_queries}: must be 1 or more")
    for option, file in (("--index", options.index), ("--picture", options.picture), ("--html", options.html)):
        if file is not None:
            check_writable(file, option)
    queries, pictures = list_pictures(options.query), list_pictures(options.gallery)
    model = options.load()
    model.mode = options.mode
    gallery = GalleryIndex(options.gallery, _identity(options, model), options.index)
    unreadable = Unreadable()
    with progress("gallery", len(pictures.pictures), options.json) as advance:
        update = gallery.update(model, pictures.pictures, unreadable, advance)
    matches: dict[Path, list[tuple[str, float]]] = {}
    with progress("queries", len(queries.pictures), options.json) as advance:
        for paths, images in read_in_batches(queries.pictures, model.batch_size, model.threads, unreadable):
            if images:
                scores, rows = gallery.search(model(images, normalize=True), options.top)
                for path, found, indices in zip(paths, scores.tolist(), rows.tolist(), strict=True):
                    names = [gallery.names[i] for i in indices]
                    matches[path] = list(zip(names, found, strict=True))
            advance(len(paths))
    if options.picture is not None:
        shown = {
            path: [(options.gallery / name, f"{score:.2f}") for name, score in found] for path, found in matches.items()
        }
        save_matches(shown, model, options.picture)
    if options.html is not None:
        write_html_search(
            options.html, matches, options.gallery, len(gallery.names), model, options.model, options.html_queries
        )
    _print(options, matches, update.computed, len(gallery.names), queries.left_out + pictures.left_out)
    return warn_unreadable(unreadable)


def _identity(options: SearchOptions, model: SRReID) -> str:
    """Name everything that the features of a picture depend on besides the picture."""
    digest = " ".join(map(_digest, [find_pretrained(options.model), *([options.critic] if options.critic else [])]))
    return f"{digest} mode={model.mode} lr_height={model.lr_height} precision={model.precision}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print(
    options: SearchOptions,
    matches: dict[Path, list[tuple[str, float]]],
    computed: int,
    size: int,
    left_out: LeftOut,
) -> None:
    if options.json:
        lists = {
            str(path): [{"path": str(options.gallery / name), "similarity": score} for name, score in found]
            for path, found in matches.items()
        }
        figures = {"gallery": size, "computed": computed, "other_files": len(left_out), "matches": lists}
        print(to_json(figures, indent=1))
        return
    for path, found in matches.items():
        print(on_one_line(str(path)))
        for rank, (name, score) in enumerate(found, start=1):
            print(f"{rank:>4}  {score:.3f}  {on_one_line(str(options.gallery / name))}")
    print(
        f"{len(matches)} queries, {size} gallery pictures ({computed} of them new), {len(left_out)} other files left "
        f"out{f': {left_out.describe()}' if left_out else ''}"
    )
