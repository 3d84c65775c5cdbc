"""One row of a table with one seed: trained or taken up again, evaluated, and kept as a file."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intact_fast.config import Config
from intact_fast.configuration import differences, from_yaml, to_yaml
from intact_fast.data.manifest import Manifest, Row
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.curves import read_metrics
from intact_fast.evaluation.evaluator import Evaluation, SharedFeatures, evaluate, rank
from intact_fast.evaluation.features import PictureSource, View, extract_features
from intact_fast.evaluation.ranking import Protocol
from intact_fast.evaluation.tables import row_figures
from intact_fast.experiments.recipes import RECIPES, apply
from intact_fast.files import write_atomically
from intact_fast.models.sr_reid import SRReID
from intact_fast.training.critic import load_critic
from intact_fast.training.distributed import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.run import Run

RANDOM_SPLITS = frozenset({"viper", "caviar", "cuhk03", "folder"})
"""Data sets whose identities are split by ``data.split_seed``: each seed is another split and another C."""


@dataclass(frozen=True)
class RowResult:
    """What one row found with one seed.

    Attributes:
        recipe: Its name.
        seed: Of the training, and of the split where that is random.
        config: The configuration, as YAML.
        manifest: Hash of the split.
        figures: Rank-k and mAP in percent, PSNR in dB, SSIM; Rank-1 of the multi-shot protocol as well.
        upper: The same of HR queries; empty where there are none.
        rank1: Rank-1 of each valid query, 0 to 1.
        r: Each valid query's r, 0 where it is natively LR.
        unseen: Rank-1 in percent with all queries at an r that the split does not have.
        curve: Iterations and validation Rank-1 in percent.
        step_ms: Milliseconds per iteration, median over the records; None without a training.
        health: The last recorded figures of the association and of D.
    """

    recipe: str
    seed: int
    config: str
    manifest: str
    figures: dict[str, float]
    upper: dict[str, float]
    rank1: list[float]
    r: list[int]
    unseen: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    step_ms: float | None = None
    health: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the result atomically."""
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


class Rows:
    """The rows of one data set, in one folder, sharing what does not depend on the recipe.

    Args:
        base: Configuration that recipes change; its run is the folder.
        process: This process among its peers.
        unseen: Rates r that the split does not have, to measure as well.
    """

    def __init__(self, base: Config, process: Process, unseen: Sequence[int]) -> None:
        self._base = base
        self._process = process
        self._unseen = tuple(unseen)
        self._shared: dict[Path, SharedFeatures] = {}
        self.folder = base.runs / base.name

    def obtain(self, recipe: str, seed: int) -> RowResult:
        """Give a row's result, from its file where the same was measured before.

        An interrupted training goes on where it was.

        Raises:
            UserError: As a training or an evaluation does.
        """
        manifest = self._manifest(seed)
        critic = self._critic(seed)
        config = self._config(recipe, seed, critic)
        path = self.folder / config.name / "result.json"
        unseen = {str(r) for r in self._unseen_of(manifest)}
        known = self._process.on_main(lambda: _read(path, config, unseen))
        if known is not None:
            return known
        _release()
        run = Run(config, self._process)
        if RECIPES[recipe].trains == "generator":
            model, view = run.train(), "sr"
        else:
            if RECIPES[recipe].trains == "critic":
                critic = run.train_critic()
            model, view = self._without_generator(config, critic), "lr"
        _release()
        evaluation = self._evaluate(model, manifest, critic, config)
        result = self._result(recipe, seed, config, manifest, evaluation, model, view)
        self._process.on_main(lambda: result.save(path))
        return result

    def _config(self, recipe: str, seed: int, critic: Path) -> Config:
        """A row's own configuration."""
        chosen = RECIPES[recipe]
        config = apply(chosen, self._on_split(self._seeded(seed), seed))
        config = replace(config, runs=self.folder, name=f"{recipe}-seed{seed}")
        if chosen.trains == "critic":
            training = config.training
            settings = replace(
                config.critic,
                init=critic,
                checkpoint=None,
                iterations=training.iterations,
                batch_size=training.batch_size,
                pad=config.data.pad,
            )
        else:
            settings = replace(config.critic, checkpoint=critic, init=None)
        return replace(config, critic=settings)

    def _seeded(self, seed: int) -> Config:
        config = replace(self._base, seed=self._base.seed + seed)
        data = config.data
        if data.manifest is None and data.dataset in RANDOM_SPLITS:
            data = replace(data, split_seed=data.split_seed + seed)
        return replace(config, data=data)

    def _on_split(self, config: Config, seed: int) -> Config:
        """A configuration on the split of a seed, whatever the recipe trains on."""
        return replace(config, data=replace(config.data, manifest=self._manifest_path(seed)))

    def _manifest_path(self, seed: int) -> Path:
        return self.folder / "splits" / f"seed{seed}.jsonl"

    def _critic(self, seed: int) -> Path:
        """The frozen C that rows share: the user's, or one trained once for each split."""
        if self._base.critic.checkpoint is not None:
            return self._base.critic.checkpoint
        config = self._seeded(seed)
        if config.data.manifest is not None or config.data.dataset not in RANDOM_SPLITS:
            seed = 0
            config = self._seeded(seed)
            self._manifest(seed)
        config = replace(self._on_split(config, seed), runs=self.folder, name=f"critic-seed{seed}")
        return Run(config, self._process).train_critic()

    def _manifest(self, seed: int) -> Manifest:
        """The split of a seed, which every row of it has; its file is written once.

        Raises:
            UserError: The folder holds another split of that seed.
        """
        path = self._manifest_path(seed)

        def obtain() -> Manifest:
            manifest = obtain_manifest(self._seeded(seed).data)
            if not path.is_file():
                manifest.save(path)
            elif Manifest.load(path).hash != manifest.hash:
                raise UserError(
                    f"--name {self._base.name}: {path} is another split than now; use another --name"
                )
            return manifest

        return self._process.on_main(obtain)

    def _without_generator(self, config: Config, critic: Path) -> SRReID:
        data, settings = config.data, config.critic
        network = load_critic(critic, settings.arch, num_classes=None, enlarge=settings.enlarge)
        model = SRReID(network, None, (data.height, data.width), data.kernel)
        return model.to(self._process.device)

    def _evaluate(self, model: SRReID, manifest: Manifest, critic: Path, config: Config) -> Evaluation:
        """Evaluate on the test split; what C alone gives is computed once for each C and split."""
        key = critic / manifest.hash
        evaluation = evaluate(
            model,
            manifest,
            config.data.root,
            config.evaluation,
            config.data.threads,
            views=("hr", "lr") if model.generator is None else ("hr", "sr"),
            shared=self._shared.get(key),
            peers=self._process,
        )
        if config.evaluation.gallery == "bypass":
            alone = {view: f for view, f in evaluation.query_features.items() if view != "sr"}
            self._shared[key] = SharedFeatures(evaluation.gallery_features, alone)
        return evaluation

    def _result(
        self,
        recipe: str,
        seed: int,
        config: Config,
        manifest: Manifest,
        evaluation: Evaluation,
        model: SRReID,
        view: View,
    ) -> RowResult:
        ranking = evaluation.rankings[view]
        rows = [row for row, ok in zip(evaluation.query_rows, ranking.valid, strict=True) if ok]
        history = _History(self.folder / config.name)
        return RowResult(
            recipe,
            seed,
            to_yaml(config),
            manifest.hash,
            self._figures(evaluation, view, manifest),
            self._figures(evaluation, "hr", manifest) if "hr" in evaluation.rankings else {},
            ranking.rank1_per_query.tolist(),
            [row.r or 0 for row in rows],
            {
                str(r): self._at(r, evaluation, model, manifest, config, view)
                for r in self._unseen_of(manifest)
            },
            history.curve(),
            history.step_ms(config.training.batch_size * self._process.world_size),
            history.health(),
        )

    def _figures(self, evaluation: Evaluation, view: View, manifest: Manifest) -> dict[str, float]:
        figures = row_figures(evaluation, view)
        if evaluation.config.protocol != "multi-shot":
            features = evaluation.query_features[view]
            multi_shot = self._rank1(features, evaluation.query_rows, evaluation, manifest, "multi-shot")
            figures["multi-shot Rank-1"] = multi_shot
        return figures

    def _rank1(
        self,
        features: Tensor,
        queries: list[Row],
        evaluation: Evaluation,
        manifest: Manifest,
        protocol: Protocol,
    ) -> float:
        """Rank-1 in percent of other query features (Q×512) in an evaluation's gallery."""
        config = replace(evaluation.config, protocol=protocol)
        gallery = evaluation.gallery_features, queries, evaluation.gallery_rows
        result = self._process.on_main(lambda: rank(features, *gallery, config, manifest))
        return 100 * float(result.cmc[0])

    def _unseen_of(self, manifest: Manifest) -> list[int]:
        present = {row.r for row in manifest.split("query")}
        return [] if present == {None} else [r for r in self._unseen if r not in present]

    def _at(
        self, r: int, evaluation: Evaluation, model: SRReID, manifest: Manifest, config: Config, view: View
    ) -> float:
        """Rank-1 in percent with every query at one r."""
        source = PictureSource(
            config.data.root, manifest.header, model, config.evaluation.batch_size, config.data.threads
        )
        queries = [replace(row, r=r) for row in evaluation.query_rows]
        features = extract_features(source, queries, view, self._process)
        return self._rank1(features, queries, evaluation, manifest, config.evaluation.protocol)


def _release() -> None:
    """Give back what a finished training held, on the GPU above all: other processes may want to work there.

    Without a collection it can outlive the next row: the frames in which PyTorch first imported its compiler stay alive
    in a reference cycle, and with them their local variables, networks and CUDA graphs among them.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _read(path: Path, config: Config, unseen: set[str]) -> RowResult | None:
    """A kept result, where it is of this very configuration; one of another version is measured again."""
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values["curve"] = [tuple(point) for point in values["curve"]]
        result = RowResult(**values)
        old = from_yaml(result.config, str(path))
    except (ValueError, KeyError, TypeError, UserError):
        return None
    same = (
        not differences(old, config)
        and old.training.iterations == config.training.iterations
        and old.evaluation == config.evaluation
        and result.unseen.keys() == unseen
    )
    return result if same else None


class _History:
    """What a run recorded of its alternating training."""

    def __init__(self, folder: Path) -> None:
        self._metrics = read_metrics(folder).get(IntactTask.name, {})

    def curve(self) -> list[tuple[int, float]]:
        """Iterations and validation Rank-1 in percent."""
        return [(i, 100 * value) for i, value in self._metrics.get("validation/rank1", {}).items()]

    def step_ms(self, images: int) -> float | None:
        """Median milliseconds of an iteration."""
        speeds = list(self._metrics.get("img_per_s", {}).values())
        return 1000 * images / float(np.median(speeds)) if speeds else None

    def health(self) -> dict[str, float]:
        """The last figures that tell how association and D were."""
        wanted = ("association/", "validation/r2", "discriminator/", "cosine/", "loss/dis_")
        return {
            name: list(values.values())[-1]
            for name, values in self._metrics.items()
            if name.startswith(wanted)
        }
