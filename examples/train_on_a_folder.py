"""Train on a folder of one's own crops, from Python.

The folder holds pictures named ``0001_cam1_x.jpg`` (identity, camera, anything), or a table ``pictures.csv`` with the
columns ``path,pid,camera``. Without a folder the script takes the drawn pedestrians of ``make train``.

    python examples/train_on_a_folder.py /data/crops --name crops
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from intact_fast import UserError
from intact_fast.config.checks import check_config
from intact_fast.config.presets import PRESETS
from intact_fast.data.synthetic import write_synthetic
from intact_fast.training.distributed.process import Interrupted, process_group
from intact_fast.training.run import Run


def main(arguments: Sequence[str] | None = None) -> None:
    """Configure a run, train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of crops; none takes the drawn pedestrians")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the runs")
    parser.add_argument("--name", default="own", help="name of the run; the same name resumes it")
    parser.add_argument("--preset", choices=PRESETS, default="cpu", help="where the other options come from")
    # Few iterations show the whole path in about two minutes on 2 cores. The preset `cpu` itself has 380 and 160.
    parser.add_argument("--critic-iterations", type=int, default=120, help="iterations of the re-id network C")
    parser.add_argument("--iterations", type=int, default=30, help="iterations of the generator G")
    options = parser.parse_args(arguments)
    preset = PRESETS[options.preset]
    # Options are frozen dataclasses, so a changed configuration is a copy.
    config = replace(
        preset,
        name=options.name,
        runs=options.runs,
        data=replace(preset.data, dataset="folder", root=options.folder or write_synthetic(Path("data"))),
        critic=replace(preset.critic, iterations=options.critic_iterations),
        training=replace(preset.training, iterations=options.iterations),
    )
    check_config(config)  # A wrong option is told here, before anything is read.
    with process_group(config.device) as process:  # One process, or those that torchrun started.
        evaluation = Run(config, process).execute()
    if process.is_main:  # The run has printed its table. The same figures as numbers:
        for view, ranking in evaluation.rankings.items():
            print(f"{view}: Rank-1 {100 * ranking.cmc[0]:.1f}, mAP {100 * ranking.mean_ap:.1f}")
        print(f"next: python examples/search_and_draw.py --model {config.runs / config.name / 'model.safetensors'}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except Interrupted:
        sys.exit(0)  # Ctrl-C: the state is saved, and the same command goes on.
