"""Fill the generated blocks of all pages: ``python -m docs.generate [--check]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from docs.generate import (
    costs,
    derived,
    engines,
    galleries,
    index,
    measured,
    options,
    plots,
    published,
    records,
    reliability,
    roofline,
    rows,
    speed,
    timings,
    verdict,
)
from docs.generate.blocks import ROOT, Maker, fill

MAKERS: Mapping[str, Maker] = {
    "bars": plots.bars_block,
    "bound": roofline.bound_block,
    "breakdown": speed.breakdown_block,
    "campaigns": reliability.campaigns_block,
    "commands": records.commands_block,
    "costs": costs.costs_block,
    "derived": derived.derived_block,
    "engines": engines.engines_block,
    "effects": verdict.effects_block,
    "figures": reliability.figures_block,
    "galleries": galleries.galleries_block,
    "gains": derived.gains_block,
    "index": index.index_block,
    "large": timings.large_block,
    "machine": records.machine_block,
    "measured": measured.measured_block,
    "options": options.options_block,
    "overview": speed.overview_block,
    "presets": options.presets_block,
    "published": published.published_block,
    "recipes": options.recipes_block,
    "rows": rows.rows_block,
    "verdict": verdict.verdict_block,
    "wins": verdict.wins_block,
}


def pages() -> list[Path]:
    """Name every file that may hold a generated block."""
    return [ROOT / "README.md", ROOT / "benchmarks" / "records" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main(arguments: list[str]) -> int:
    """Fill the blocks, or name the pages that would change; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a page is stale")
    parser.add_argument("pages", nargs="*", type=Path, help="the pages to fill; all without it")
    chosen = parser.parse_args(arguments)
    stale = []
    with tempfile.TemporaryDirectory() as scratch:
        with plots.redirected(Path(scratch)) if chosen.check else nullcontext():
            for page in [path.resolve() for path in chosen.pages] or pages():
                before = page.read_text(encoding="utf-8")
                after = fill(before, page, MAKERS)
                if after != before:
                    stale.append(page.relative_to(ROOT).as_posix())
                    if not chosen.check:
                        page.write_text(after, encoding="utf-8")
        stale += plots.stale(Path(scratch))
    for name in stale:
        print(f"{name}: {'stale; run python -m docs.generate' if chosen.check else 'written'}")
    return 1 if stale and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
