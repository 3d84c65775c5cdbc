"""Export a model as one ONNX graph, run the graph in onnxruntime, and compare the features.

The graph holds the generator G and the re-id network C, and needs no PyTorch where it runs. The graph takes N×3×H×W RGB
from 0 to 1, of the size that its metadata names.
Without options the script takes the model of ``make train`` and drawn pedestrians.

    python examples/export_and_run.py --model model.safetensors --pictures a.jpg b.jpg --out query.onnx
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from intact_fast import SRReID, UserError
from intact_fast.data.synthetic import write_synthetic
from intact_fast.serving.export import export_graph


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, run both engines on the same pictures, print how far the features differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("runs/default/model.safetensors"))
    parser.add_argument("--pictures", nargs="+", type=Path, metavar="FILE", help="none takes drawn pedestrians")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/query.onnx"), help="file to write")
    options = parser.parse_args(arguments)
    try:
        import onnxruntime
    except ImportError:
        print("skipped: onnxruntime is not installed; run pip install 'intact_fast[export]'")
        return

    model = SRReID.from_pretrained(options.model)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    # The query's side is G and C. The gallery's side is C alone: HR pictures bypass G.
    export_graph(model, "query", "onnx", options.out)
    # From here on nothing but onnxruntime, numpy and Pillow.
    session = onnxruntime.InferenceSession(str(options.out), providers=["CPUExecutionProvider"])
    expected = json.loads(session.get_modelmeta().custom_metadata_map["intact_fast"])
    height, width = expected["size"]
    paths = options.pictures or sorted(write_synthetic(Path("data")).glob("test/*_cam0_00.jpg"))[:5]
    images = [Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR) for path in paths]
    batch = np.stack([np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255 for image in images])
    features, super_resolved = session.run(["features", "super_resolved"], {"pictures": batch})
    print(f"{options.out}: pictures {batch.shape} -> features {features.shape}, pictures {super_resolved.shape}")
    differences = np.abs(features - model(paths, mode="always").numpy()).max(axis=1)
    for path, difference in zip(paths, differences, strict=True):
        print(f"{path.name:<20} features differ from SRReID's by {difference:.1e} at most")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
