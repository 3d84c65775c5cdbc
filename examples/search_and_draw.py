"""Search a folder of pictures for the people of some queries, and draw the matches.

The features of the folder stay in an index. A second search computes the features of new pictures alone.
Without options the script takes the model of ``make train``, LR queries of one drawn camera, and the other's pictures.

    python examples/search_and_draw.py --model model.safetensors --gallery crops/ --query a.jpg b.jpg
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from intact_fast import SRReID, UserError
from intact_fast.data.degradation import downsample, read_image
from intact_fast.data.synthetic import write_synthetic
from intact_fast.reporting.pictures import save_matches
from intact_fast.serving.gallery import Gallery, Identity, search_gallery, update_gallery
from intact_fast.serving.picture_reading import Unreadable, list_pictures


def main(arguments: Sequence[str] | None = None) -> None:
    """Bring the index up to date, rank its pictures for each query, print and draw the matches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("runs/default/model.safetensors"))
    parser.add_argument("--gallery", type=Path, metavar="FOLDER", help="none takes drawn pedestrians")
    parser.add_argument("--query", nargs="+", type=Path, metavar="FILE", help="none takes drawn pedestrians")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="folder of index and picture")
    parser.add_argument("--top", type=int, default=5, help="matches per query")
    options = parser.parse_args(arguments)

    model = SRReID.from_pretrained(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.gallery or write_synthetic(Path("data")) / "test"
    pictures = list_pictures(folder).pictures if options.gallery else sorted(folder.glob("*_cam1_*.jpg"))
    queries = options.query or []
    if not queries:  # The drawn pedestrians are HR pictures. Some of the other camera become LR files here.
        for path in sorted(write_synthetic(Path("data")).glob("test/*_cam0_00.jpg"))[:5]:
            queries.append(options.out / f"{path.stem}_lr.png")
            downsample(read_image(path), 3, "bilinear").save(queries[-1])
    # Features of two models do not compare: the index refuses a model that it was not made with.
    identity = Identity.of_files([options.model], f"mode={model.mode}")
    index, unreadable = Gallery.open(options.out / "gallery.lance", identity), Unreadable()
    update = update_gallery(index, model, folder, pictures, unreadable)
    matches = {}
    for query, found in zip(queries, search_gallery(index, model(queries), options.top), strict=True):
        matches[query] = [(folder / match.path, match.similarity) for match in found]
        print(f"{query.name}: {', '.join(f'{path.name} {score:.2f}' for path, score in matches[query])}")
    save_matches(matches, model, options.out / "matches.png")
    print(f"{len(index)} gallery pictures, {update.computed} of them new, {len(unreadable.reasons)} unreadable")
    print(f"drawn: {options.out / 'matches.png'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
