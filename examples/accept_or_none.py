"""Say who a low-resolution query shows, or that nobody in the gallery is that person.

The nearest picture always exists. A threshold decides whether it is a match: the model file keeps those that the
training measured on held-out people. Half of the queries' people are left out of the gallery here.
Without options the script takes the model of ``make train`` and drawn pedestrians.

    python examples/accept_or_none.py --model model.safetensors --rate 1e-2
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from intact_fast import SRReID, UserError
from intact_fast.data.degradation import downsample, read_image
from intact_fast.data.synthetic import write_synthetic


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the name or "nobody" for some queries, and how often both are wrong for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("runs/default/model.safetensors"))
    parser.add_argument("--rate", type=float, default=1e-2, help="share of pairs of two people to accept")
    parser.add_argument("--people", type=int, default=60, help="queries; half of these people are in the gallery")
    options = parser.parse_args(arguments)

    model = SRReID.from_pretrained(options.model)
    if model.thresholds is None:
        raise UserError(f"--model {options.model}: has no thresholds; intact-fast calibrate measures them")
    folder = write_synthetic(Path("data")) / "test"
    queries = sorted(folder.glob("*_cam0_00.jpg"))[: options.people]
    gallery = [path.with_name(path.name.replace("cam0", "cam1")) for path in queries[::2]]
    # A query that passes through G has another threshold than an HR one.
    pictures = [downsample(read_image(path), 3, "bilinear") for path in queries]
    limit = model.thresholds.at(model.view_of(pictures[0].height), options.rate, "--rate").similarity
    similarity, nearest = (model(pictures) @ model(gallery).T).max(dim=1)

    right = wrong = 0
    for number, path in enumerate(queries):
        found = gallery[nearest[number]].name[:4] if similarity[number] > limit else "nobody"
        expected = path.name[:4] if number % 2 == 0 else "nobody"
        right += found == expected != "nobody"
        wrong += found != "nobody" and found != expected
        if number < 6:
            print(f"{path.name[:4]}: {found} ({similarity[number]:.2f}), expected {expected}")
    print(f"accepted above {limit:.4f}, rate {options.rate:g}: {right} of {len(gallery)} people found")
    print(f"wrong names: {wrong} of {len(queries)} queries; a query meets {len(gallery)} pictures, each with that rate")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
