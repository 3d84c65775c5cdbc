"""Replace torchreid's FeatureExtractor by SRReID, and measure distances between LR and HR pictures.

The call and the shape of the features stay. LR pictures pass through the generator G before the OSNet sees them.
Without options the script takes the OSNet and the generator that ``make train`` trained, and drawn pedestrians.

    python examples/swap_a_torchreid_extractor.py --osnet osnet.pth --generator model.safetensors --lr a.jpg --hr b.jpg
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from intact_fast import SRReID, UserError
from intact_fast.data.degradation import downsample, read_image
from intact_fast.data.synthetic import write_synthetic


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute features of both sides, and print their distances with and without super-resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--osnet", type=Path, default=Path("runs/default/checkpoints/critic.pt"))
    parser.add_argument("--generator", type=Path, default=Path("runs/default/model.safetensors"))
    parser.add_argument("--lr", nargs="+", type=Path, metavar="FILE", help="queries; none takes drawn pedestrians")
    parser.add_argument("--hr", nargs="+", type=Path, metavar="FILE", help="gallery; none takes drawn pedestrians")
    options = parser.parse_args(arguments)

    # from torchreid.reid.utils import FeatureExtractor
    # extractor = FeatureExtractor(model_name="osnet_x0_25", model_path="osnet.pth", device="cpu")
    # The features are raw ones, as torchreid's. A generator serves the OSNet that was its critic in the training.
    extractor = SRReID.from_torchreid(options.osnet, generator=options.generator, normalize=False, device="cpu")

    low, high = options.lr, options.hr
    names = [path.stem for path in low or ()]
    if low is None:
        # The drawn pedestrians are HR files. The extractor takes pictures as well as paths.
        files = sorted(write_synthetic(Path("data")).glob("test/*_cam0_00.jpg"))[:5]
        low, names = [downsample(read_image(path), 3, "bilinear") for path in files], [path.stem for path in files]
    if high is None:
        high = sorted(write_synthetic(Path("data")).glob("test/*_cam1_00.jpg"))[:5]

    gallery = extractor(high)  # N×512. Pictures with `extractor.lr_height` rows or more bypass G.
    print(f"features {tuple(gallery.shape)}; a picture with fewer than {extractor.lr_height} rows is LR")
    for title, query in (("with G", extractor(low)), ("without G", extractor(low, mode="never"))):
        print(f"\nEuclidean distances {title}; the star marks the nearest gallery picture")
        print(" " * 16, *(f"{path.stem:>14}" for path in high))
        for name, row in zip(names, torch.cdist(query, gallery), strict=True):
            print(f"{name:<16}", *(f"{d:>13.2f}{'*' if d == row.min() else ' '}" for d in row))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
