"""The rows of a table: trained or taken up again, evaluated, and kept, with what they share."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from intact_fast.config.command_line import to_yaml
from intact_fast.config.options import Config
from intact_fast.data.manifest import Manifest
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.splits import ignore_warning, obtain_manifest, splits_at_random
from intact_fast.errors import UserError, mistake_of, tell, warn
from intact_fast.evaluation.evaluator import Evaluation, evaluate, features_of_critic
from intact_fast.evaluation.features import extract_features
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.readable import Unreadable, leave_out_unreadable
from intact_fast.evaluation.views import VIEWS, View
from intact_fast.experiments.kept_features import KeptFeatures, Origin, digest_of_files
from intact_fast.experiments.measured import Measured
from intact_fast.experiments.recipes import RECIPES, apply
from intact_fast.experiments.results import History, RowResult, read_result
from intact_fast.experiments.row_figures import figures_of, ranked
from intact_fast.experiments.table_facts import TableFacts
from intact_fast.models.osnet_weights import feature_digest
from intact_fast.reporting.tables import unreadable_sentence
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.critic import finished_critic, load_critic
from intact_fast.training.distributed.process import Process
from intact_fast.training.known_people import refuse_known_people
from intact_fast.training.run import Run


class TableRuns:
    """The rows of one data set, in one folder, sharing what does not depend on the recipe.

    Args:
        base: Configuration that recipes change; its run is the folder.
        process: This process among its group.
        measured: What is measured of every row.
        progress: Told how far an evaluation is.
        concurrent: Other processes run rows of the same folder at the same time. What rows share is there then, and
            times do not tell what an iteration costs.
    """

    def __init__(
        self,
        base: Config,
        process: Process,
        measured: Measured,
        progress: Progress = no_progress,
        concurrent: bool = False,
    ) -> None:
        self._base = base
        self._process = process
        self._measured = measured
        self._progress = progress
        self._concurrent = concurrent
        self._manifests: dict[int, Manifest] = {}
        self._prepared: set[int] = set()
        self.folder = base.runs / base.name
        self._facts = TableFacts(self.folder, f"--name {base.name}")
        self._kept_features = KeptFeatures(self.folder, process, concurrent)

    def prepare(self, seed: int) -> None:
        """Make what the rows of a seed share: the split and C.

        Raises:
            UserError: As a training of C does, or the rows that are there have another C.
        """
        self._manifest(seed)
        of_critic = self._critic_seed(seed)
        if self._base.critic.checkpoint is None and of_critic not in self._prepared:
            self._manifest(of_critic)
            Run(self._critic_config(seed), self._process, self._progress).train_critic()
            self._prepared.add(of_critic)
        self._agree_on_critic(seed)
        _release()

    def agree_on_processes(self, rows: Iterable[tuple[str, int]]) -> None:
        """See that what is left to train is trained by as many processes as the rows that are there.

        Args:
            rows: Recipes and seeds that are not kept.

        Raises:
            UserError: There were more or fewer.
        """

        def agree() -> None:
            if any(self._will_train(*row) for row in rows):
                self._facts.agree_on_processes(self._process.world_size)

        self._process.on_main(agree)

    def _will_train(self, recipe: str, seed: int) -> bool:
        """Say whether a row, or its C, has iterations left to train."""
        if not self._critic_file(seed).is_file():
            return True
        config = self._config(recipe, seed)
        if RECIPES[recipe].trains == "critic":
            return not finished_critic(config).is_file()
        store = CheckpointStore(config.runs / config.name / "checkpoints", 1)
        return RECIPES[recipe].trains == "generator" and store.last_iteration() != config.training.iterations

    def kept_result(self, recipe: str, seed: int) -> RowResult | None:
        """Read a row's result from its file, where the same was measured before.

        Raises:
            UserError: The rows that are there were begun otherwise.
        """
        manifest = self._measured.tested(self._manifest(seed))
        self._agree_on_critic(seed)
        unseen = {str(r) for r in self._unseen_of(manifest)}
        config = self._config(recipe, seed)
        return self._process.on_main(lambda: read_result(self._path(config), config, unseen, manifest.hash))

    def attempt(self, recipe: str, seed: int) -> RowResult | UserError:
        """Run a row as `run` does, and give the reason where it cannot be run.

        Raises:
            UserError: There are several processes: the others may know nothing of it, and wait.
        """
        try:
            return self.run(recipe, seed)
        except (UserError, OSError) as error:
            mistake = mistake_of(error) if isinstance(error, OSError) else error
            if mistake is None or self._process.world_size > 1:
                raise
            # without its traceback, whose frames hold the networks of the row
            return UserError(str(mistake))

    def run(self, recipe: str, seed: int) -> RowResult:
        """Train and evaluate a row; an interrupted training goes on where it was. What it needs must be prepared.

        Raises:
            UserError: As a training or an evaluation does.
        """
        manifest = self._measured.tested(self._manifest(seed))
        critic = self._critic_file(seed)
        config = self._config(recipe, seed)
        _release()
        run = Run(config, self._process, self._progress)
        view: View = "lr"
        if RECIPES[recipe].trains == "generator":
            model, view = run.train(), "sr"
        else:
            if RECIPES[recipe].trains == "critic":
                critic = run.train_critic()
            else:
                # a run looks at the C that it is given; this is none
                self._process.on_main(lambda: refuse_known_people(critic, "--critic.checkpoint", manifest))
            model = self._without_generator(config, critic)
        _release()
        started = time.perf_counter()
        evaluation = self._evaluate(model, manifest, config)
        result = self._result(recipe, seed, config, manifest, evaluation, model, view)
        self._process.on_main(lambda: result.save(self._path(config)))
        if self._process.is_main:
            seconds = time.perf_counter() - started
            print(f"{config.name}: Rank-1 {result.figures['Rank-1']:.1f}, evaluated within {seconds:.0f} s.")
        return result

    def _path(self, config: Config) -> Path:
        return self.folder / config.name / f"result{self._measured.suffix}.json"

    def _config(self, recipe: str, seed: int) -> Config:
        """Make a row's own configuration."""
        critic = self._critic_file(seed)
        chosen = RECIPES[recipe]
        config = apply(recipe, self._on_split(self._seeded(seed), seed))
        config = replace(config, runs=self.folder, name=row_name(recipe, seed, config))
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

    @cached_property
    def _splits_at_random(self) -> bool:
        """Say whether each seed is another split, with another C."""
        return self._process.on_main(lambda: splits_at_random(self._base.data))

    def _seeded(self, seed: int) -> Config:
        config = replace(self._base, seed=seed)
        data = config.data
        if self._splits_at_random:
            data = replace(data, split_seed=data.split_seed + seed)
        return replace(config, data=data)

    def _on_split(self, config: Config, seed: int) -> Config:
        """Put a configuration on the split of a seed, whatever the recipe trains on."""
        return replace(config, data=replace(config.data, manifest=self._manifest_path(seed)))

    def _manifest_path(self, seed: int) -> Path:
        return self.folder / "splits" / f"seed{seed}.jsonl"

    def _critic_file(self, seed: int) -> Path:
        """Name the file of the frozen C that rows share: the user's, or one trained once for each split."""
        given = self._base.critic.checkpoint
        return finished_critic(self._critic_config(seed)) if given is None else given

    def _critic_seed(self, seed: int) -> int:
        """Give the seed of C: one split has one C, of seed 0 whichever seeds are asked for."""
        return seed if self._splits_at_random else 0

    def _critic_config(self, seed: int) -> Config:
        seed = self._critic_seed(seed)
        config = self._on_split(self._seeded(seed), seed)
        return replace(config, runs=self.folder, name=f"critic-seed{seed}")

    def _agree_on_critic(self, seed: int) -> None:
        path = self._critic_file(seed)
        name = "critic" if self._base.critic.checkpoint is not None else self._critic_config(seed).name
        self._process.on_main(lambda: self._facts.agree_on_critic(name, path))

    def _manifest(self, seed: int) -> Manifest:
        """Obtain the split of a seed, which every row of it has. Its file is written once.

        Raises:
            UserError: The folder holds another split of that seed.
        """
        if seed in self._manifests:
            return self._manifests[seed]
        path = self._manifest_path(seed)
        if self._concurrent:
            self._manifests[seed] = Manifest.load(path)
            return self._manifests[seed]
        data = self._seeded(seed).data
        # each seed of the same people has the same to say
        on_warning, explain = (ignore_warning, ignore_warning) if self._manifests else (warn, tell)
        same = None if self._splits_at_random else next(iter(self._manifests.values()), None)

        def obtain() -> Manifest:
            manifest = same or obtain_manifest(
                data, self._progress, on_warning, explain, same_camera=self._base.evaluation.same_camera
            )
            if not path.is_file():
                manifest.save(path)
            elif Manifest.load(path).hash != manifest.hash:
                raise UserError(f"--name {self._base.name}: {path} is another split than now; use another --name")
            return manifest

        self._manifests[seed] = self._process.on_main(obtain)
        return self._manifests[seed]

    def _without_generator(self, config: Config, critic: Path) -> SRReID:
        data, settings = config.data, config.critic
        network = load_critic(critic, settings.arch, num_classes=None, enlarge=settings.enlarge)
        model = SRReID(network, None, (data.height, data.width), data.interpolation)
        return model.to(self._process.device)

    def _evaluate(self, model: SRReID, manifest: Manifest, config: Config) -> Evaluation:
        """Evaluate on the test split, with what C alone gives from where it is kept."""
        views: tuple[View, ...] = ("hr", "sr") if model.has_query_side else ("hr", "lr")
        options = (model, manifest, config.data.root, config.evaluation, config.data.threads)
        shared = None
        # nobody else has a C that a row has trained, nor a gallery that passed through its G
        if config.evaluation.gallery == "bypass" and config.critic.checkpoint is not None:
            shared = self._kept_features.obtain(
                self._origin(model, manifest, config),
                lambda: features_of_critic(*options, processes=self._process, progress=self._progress),
            )
        found = evaluate(*options, views=views, shared=shared, processes=self._process, progress=self._progress)
        if left_out := unreadable_sentence(found):
            warn(left_out)
        return found

    def _origin(self, model: SRReID, manifest: Manifest, config: Config) -> Origin:
        unreadable = Unreadable()
        if config.evaluation.skip_corrupt:
            root, threads = config.data.root, config.data.threads
            _, unreadable = leave_out_unreadable(manifest, root, threads, processes=self._process)
        return Origin(
            feature_digest(model.critic),
            manifest.hash,
            digest_of_files(config.data.root, [*manifest.split("query"), *manifest.split("gallery")]),
            model.size,
            model.interpolation,
            config.critic.enlarge,
            config.evaluation.batch_size,
            self._process.device.type,
            left_out=(*unreadable.queries, *unreadable.gallery),
        )

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
        scored = [entry for entry, ok in zip(evaluation.query_entries, ranking.valid, strict=True) if ok]
        history = History(self.folder / config.name)
        scores = {key: figures_of(evaluation, key, manifest, self._process) for key in evaluation.rankings}
        return RowResult(
            recipe,
            seed,
            to_yaml(config),
            manifest.hash,
            scores[view],
            scores.get("hr", {}),
            ranking.rank1_per_query.tolist(),
            [entry.r or 0 for entry in scored],
            [entry.pid for entry in scored],
            {str(r): self._rank1_at(r, evaluation, model, manifest, config, view) for r in self._unseen_of(manifest)},
            history.curve(),
            self._step_ms(history, config),
            history.health(),
            {key: found for key, found in scores.items() if key not in ("hr", view)},
        )

    def _step_ms(self, history: History, config: Config) -> float | None:
        """Milliseconds per iteration; None where other rows may have run at the same time."""
        if self._concurrent or log_file(self.folder, config.name).exists():
            return None
        return history.step_ms(config.training.batch_size * self._process.world_size)

    def _unseen_of(self, manifest: Manifest) -> list[int]:
        present = {entry.r for entry in manifest.split("query")}
        return [] if present == {None} else [r for r in self._measured.unseen if r not in present]

    def _rank1_at(
        self, r: int, evaluation: Evaluation, model: SRReID, manifest: Manifest, config: Config, view: View
    ) -> float:
        """Rank-1 in percent with every query at one r."""
        source = PictureSource(
            config.data.root, manifest.header, model, config.evaluation.batch_size, config.data.threads
        )
        queries = [replace(entry, r=r) for entry in evaluation.query_entries]
        features = extract_features(source, queries, VIEWS[view], self._process)
        return 100 * float(ranked(features, queries, evaluation, manifest, self._process).cmc[0])


def log_file(folder: Path, row: str) -> Path:
    """Name the file that takes the output of a row that runs in parallel with others.

    Args:
        folder: The table's.
        row: Name of the row's folder.
    """
    return folder / "logs" / f"{row}.log"


def row_name(recipe: str, seed: int, config: Config) -> str:
    """Name of a row's folder.

    The learning rate of a C that is fine-tuned runs through one cycle. So a longer training is no continuation of a
    shorter one, and has a folder of its own.
    """
    length = f"-{config.training.iterations}" if RECIPES[recipe].trains == "critic" else ""
    return f"{recipe}{length}-seed{seed}"


def _release() -> None:
    """Give back what a finished training held, on the GPU above all: other processes may want to work there.

    Without a collection it can outlive the next row. The frames in which PyTorch first imported its compiler stay alive
    in a reference cycle. With them their local variables stay, networks and CUDA graphs among them.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
