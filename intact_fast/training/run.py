"""One run from configuration to report: critic, alternating training, evaluation, pictures."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch

from intact_fast.config.command_line import save_config, to_yaml
from intact_fast.config.options import Config
from intact_fast.data.augmentation import with_strong_augmentation
from intact_fast.data.batches import NO_IDENTITY
from intact_fast.data.erasing import with_random_erasing
from intact_fast.data.loader import TrainLoader, build_loader
from intact_fast.data.manifest import Entry, Manifest
from intact_fast.data.matches import count_matches, require_matches
from intact_fast.data.overview import describe_split
from intact_fast.data.places import require_inside
from intact_fast.data.progress import Progress, no_progress
from intact_fast.data.sampling import evenly_spaced
from intact_fast.data.splits import obtain_manifest
from intact_fast.errors import UserError
from intact_fast.evaluation.calibration import measure_thresholds
from intact_fast.evaluation.evaluator import Evaluation, evaluate
from intact_fast.evaluation.picture_source import PictureSource
from intact_fast.evaluation.readable import readable_entries
from intact_fast.evaluation.views import had_association
from intact_fast.files import exclusive_folder
from intact_fast.models import OSNet
from intact_fast.reporting.pictures import TRIPTYCHS, save_triptychs
from intact_fast.reporting.presentation import present, print_presentation
from intact_fast.reporting.report import save_notes
from intact_fast.serving.sr_reid import SRReID
from intact_fast.training.association_probe import AssociationProbe
from intact_fast.training.checkpoint_models import lr_height
from intact_fast.training.checkpoints import CheckpointStore
from intact_fast.training.critic import CriticSource, CriticTask, finished_critic, require_critic_file
from intact_fast.training.distributed.missing_gpu import why_no_gpu
from intact_fast.training.distributed.process import Process
from intact_fast.training.first_look import require_readable
from intact_fast.training.intact import IntactTask, describe_training
from intact_fast.training.loop import Cadence, Fingerprint, TrainingLoop
from intact_fast.training.monitoring import Monitor
from intact_fast.training.run_folder import check_claim, has_trained, last_checkpoint
from intact_fast.training.step.plan import plan_step
from intact_fast.training.unlabelled import LISTED, Unlabelled, find_unlabelled, keep_list

_ASSOCIATION_PICTURES = 1000


class Run:
    """A named run in its folder.

    Args:
        config: Everything it depends on.
        process: This process among its group.
        progress: Told how far reading the data set and the final evaluation are.

    Raises:
        UserError: Options of the training step exclude each other, or do not fit the machine.
    """

    def __init__(self, config: Config, process: Process, progress: Progress = no_progress) -> None:
        self.config = config
        self.process = process
        self._progress = progress
        self.folder = config.runs / config.name
        # before hours of training C: what cannot be is refused
        self._plan = plan_step(config, process)
        self.monitor = Monitor(self.folder if process.is_main else None)
        self._notes: list[str] = []
        self._entries: list[Entry] | None = None
        self._lr_height: int | None = None
        self._probe: AssociationProbe | None = None
        self._unlabelled = Unlabelled()

    def execute(self) -> Evaluation:
        """Train and evaluate; every process gets the same evaluation."""
        with self._folder_to_itself(), self.monitor:
            return self._finish(self._train())

    def train(self) -> SRReID:
        """Train without the evaluation; every process gets what would be evaluated."""
        with self._folder_to_itself(), self.monitor:
            return self._model(self._train())

    def train_critic(self) -> Path:
        """Train C alone, or take up the one that is there; the file that holds it."""
        with self._folder_to_itself(), self.monitor:
            self._obtain_critic(self._begin())
        return finished_critic(self.config)

    @contextmanager
    def _folder_to_itself(self) -> Iterator[None]:
        """Keep other runs out of the folder, after a look at whose it is."""
        option = f"--name {self.config.name}"
        self.process.on_main(lambda: check_claim(self.folder, self.config))
        with ExitStack() as stack:
            self.process.on_main(lambda: stack.enter_context(exclusive_folder(self.folder, option)))
            yield

    def _begin(self) -> Fingerprint:
        self.process.on_main(lambda: require_critic_file(self.config))
        self._claim_folder()
        self.manifest = self._obtain_manifest()
        resumed = self.process.on_main(lambda: has_trained(self.folder))
        if not resumed:
            require_readable(self.manifest, self.config, self.process)
        self._unlabelled = self._obtain_unlabelled(resumed)
        return Fingerprint(self.manifest.hash, to_yaml(self.config))

    def _train(self) -> IntactTask:
        fingerprint = self._begin()
        started = time.perf_counter()
        critic = self._obtain_critic(fingerprint)
        critic_seconds = time.perf_counter() - started
        task = self._train_intact(critic, fingerprint)
        total_seconds = time.perf_counter() - started
        self._note(
            f"training took {total_seconds:.0f} s since this start (critic {critic_seconds:.0f} s, INTACT "
            f"{total_seconds - critic_seconds:.0f} s) with {self.process.world_size} process(es) on "
            f"{self.process.device.type}"
        )
        return task

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.process.on_main(lambda: save_notes(self._notes, self.folder))
        self.monitor.say(text[0].upper() + text[1:] + ".")

    def _claim_folder(self) -> None:
        """Write config.yaml, which tells whose the folder is."""
        self.process.on_main(lambda: save_config(self.config, self.folder / "config.yaml"))
        self.monitor.say(to_yaml(self.config).rstrip())
        if self.config.device == "cpu" and (reason := why_no_gpu("cpu")) is not None:
            self.monitor.say(reason[0].upper() + reason[1:] + ".")
        g = self.config.generator
        if g.skip == "add" or g.global_residual:
            self._note(
                f"G has widths {g.widths}, skip={g.skip} and global_residual={g.global_residual} (tail starting at "
                f"zero) at {self.config.data.height}×{self.config.data.width}: not the paper's G, which has neither"
            )

    def _obtain_manifest(self) -> Manifest:
        """Build or load the split once, and keep it with the run."""
        path = self.folder / "manifest.jsonl"

        def obtain() -> Manifest:
            if path.is_file() and has_trained(self.folder):
                own, given = Manifest.load(path), self.config.data.manifest
                if given is not None and Manifest.load(given).hash != own.hash:
                    raise UserError(
                        f"--data.manifest {given}: another split than {path}, which this run was trained on; use "
                        "another --name, or leave the option out to go on"
                    )
                require_inside(own.entries, self.config.data.root, self.config.data.sources)
                self.monitor.say(f"{own.header.dataset}: {describe_split(own)}")
                require_matches(own, self.config.evaluation.same_camera)
                return own
            manifest = obtain_manifest(
                self.config.data,
                self._progress,
                lambda text: self.monitor.say(f"warning: {text}"),
                self.monitor.say,
                same_camera=self.config.evaluation.same_camera,
            )
            manifest.save(path)
            return manifest

        return self.process.on_main(obtain)

    def _obtain_unlabelled(self, resumed: bool) -> Unlabelled:
        """List pictures without identities once, and keep the list with the run."""
        path = self.folder / LISTED
        kept = path if self.process.on_main(lambda: resumed and path.is_file()) else None
        found = find_unlabelled(self.config, self.manifest, self.process, kept, self.monitor.say)
        if kept is None:
            self.process.on_main(lambda: keep_list(found, self.config, path))
        return found

    def _training_entries(self) -> list[Entry]:
        """The training pictures that can be read; all processes look at them together the first time."""
        if self._entries is None:
            self._entries = self._readable_entries()
        return self._entries

    def _readable_entries(self) -> list[Entry]:
        entries = self.manifest.split("train")
        if not self.config.data.skip_corrupt:
            return entries
        good = readable_entries(entries, self.config.data.root, self.config.data.threads, self.process)
        kept = set(good)
        for entry in entries:
            if entry not in kept:
                self.monitor.say(f"Skipping unreadable picture {self.config.data.root / entry.path}")
        return good

    def _loader(
        self, name: str, batch_size: int, seed: int, with_lr: bool, pad: int, further: Sequence[Path] = ()
    ) -> TrainLoader:
        entries = self._training_entries()
        labels = self.manifest.labels
        loader = build_loader(
            [*(self.config.data.root / entry.path for entry in entries), *further],
            [*(labels[entry.pid] for entry in entries), *([NO_IDENTITY] * len(further))],
            self.config.data,
            batch_size=batch_size,
            rank=self.process.rank,
            world_size=self.process.world_size,
            seed=seed,
            device=self.process.device,
            with_lr=with_lr,
            pad=pad,
        )
        identities = len({entry.pid for entry in entries})
        more = f" and {len(further)} without identities" if further else ""
        self.monitor.say(
            f"{name}: {len(entries)} training pictures of {identities} identities{more}, read by {loader.backend}"
        )
        return loader

    def _obtain_critic(self, fingerprint: Fingerprint) -> OSNet:
        source = CriticSource(self.config, self.manifest, self.process, self.monitor.say, self._note)
        return source.obtain(lambda task: self._train_critic(task, fingerprint))

    def _train_critic(self, task: CriticTask, fingerprint: Fingerprint) -> None:
        settings, training = self.config.critic, self.config.training
        loader = self._loader("critic", settings.batch_size, self.config.seed, settings.degraded > 0, settings.pad)
        if settings.erased > 0:
            loader = with_random_erasing(loader, settings.erased)
        store = CheckpointStore(self.folder / "checkpoints" / "critic", keep=2)
        cadence = Cadence(training.log_every, training.checkpoint_every, 0)
        TrainingLoop(task, loader, store, self.process, self.monitor, cadence, fingerprint).run()

    def _train_intact(self, critic: OSNet, fingerprint: Fingerprint) -> IntactTask:
        training = self.config.training
        torch.manual_seed(self.config.seed + 1)
        data, further = self.config.data, self._unlabelled
        if further.note:
            self._note(further.note)
        loader = self._loader("INTACT", training.batch_size, self.config.seed + 1, True, data.pad, further.paths)
        if data.augment == "strong":
            loader = with_strong_augmentation(loader, self.process.device)
        task = IntactTask(self.config, critic, self.process, self._plan, loader.schedule.num_images)
        self._note(self._plan.describe())
        store = CheckpointStore(self.folder / "checkpoints", training.keep_checkpoints)
        cadence = Cadence(training.log_every, training.checkpoint_every, training.validate_every)
        validate = partial(self._validate, task) if self._has_validation() else None
        TrainingLoop(task, loader, store, self.process, self.monitor, cadence, fingerprint, validate=validate).run()
        return task

    def _has_validation(self) -> bool:
        return count_matches(self.manifest, self.config.evaluation.same_camera, validation=True).found > 0

    def _model(self, task: IntactTask) -> SRReID:
        """What is evaluated: C, and rank 0's G on every process."""
        data, networks = self.config.data, task.networks
        generator = networks.serving_generator
        if self.process.world_size > 1 and generator is not None:
            # parameters agree, batch statistics are each process's own and must stay so
            buffers = self.process.broadcast({name: b.cpu() for name, b in generator.named_buffers()})
            if not self.process.is_main:
                generator = copy.deepcopy(generator)
                for name, buffer in generator.named_buffers():
                    buffer.copy_(buffers[name])
        if self._lr_height is None:
            self._lr_height = self.process.on_main(lambda: lr_height(data.root, self.manifest, data.factors))
        return SRReID(
            networks.critic,
            generator,
            (data.height, data.width),
            self.manifest.header.interpolation,
            lr_height=self._lr_height,
            query_critic=networks.serving_query_critic,
        )

    def _source(self, model: SRReID) -> PictureSource:
        config = self.config
        return PictureSource(
            config.data.root, self.manifest.header, model, config.evaluation.batch_size, config.data.threads
        )

    def _validate(self, task: IntactTask, iteration: int) -> float:
        """mAP of super-resolved validation queries, of the clean ones; also writes triptychs of them."""
        model = self._model(task)
        result = evaluate(
            model,
            self.manifest,
            self.config.data.root,
            self.config.evaluation,
            self.config.data.threads,
            views=("sr",),
            validation=True,
            processes=self.process,
        )
        ranking = result.rankings["sr"]
        score = float(ranking.mean_ap)
        self.monitor.store(iteration, {"validation/rank1": float(ranking.cmc[0]), "validation/mAP": score})
        text = f"validation at {iteration}: Rank-1 {100 * ranking.cmc[0]:.1f}, mAP {100 * score:.1f}"
        if (corrupted := result.rankings.get("sr-corrupted")) is not None:
            rank1, mean_ap = float(corrupted.cmc[0]), float(corrupted.mean_ap)
            self.monitor.store(iteration, {"validation/corrupted_rank1": rank1, "validation/corrupted_mAP": mean_ap})
            text += f", corrupted queries {100 * rank1:.1f}, {100 * mean_ap:.1f}"
        # all processes: a D with synchronised batch statistics needs them all
        r2 = self.process.share(lambda: self._association_probe(model).measure(task.networks))[0]
        if r2 is not None:
            self.monitor.store(iteration, {"validation/r2": r2.phi, "validation/r2_ridge": r2.ridge})
            text += f"; R² of φ {r2.phi:.2f}, of ridge regression {r2.ridge:.2f}"
        self.monitor.say(text)
        shown = evenly_spaced(result.query_entries, TRIPTYCHS)
        path = self.folder / "samples" / f"validation_{iteration:08d}.png"
        self.process.on_main(lambda: save_triptychs(self._source(model), shown, path))
        return score

    def _association_probe(self, model: SRReID) -> AssociationProbe:
        if self._probe is None:
            source = self._source(model)
            natively_hr = [entry for entry in self.manifest.split("val_query") if entry.r is not None]
            held_out = [*natively_hr, *self.manifest.split("val_gallery")]
            if self.config.evaluation.skip_corrupt:
                held_out = readable_entries(held_out, self.config.data.root, self.config.data.threads)
            train, held_out = (
                evenly_spaced(entries, _ASSOCIATION_PICTURES) for entries in (self._training_entries(), held_out)
            )
            self._probe = AssociationProbe(
                lambda: source.batches(train, degraded=False),
                lambda: source.batches(held_out, degraded=False),
            )
        return self._probe

    def _finish(self, task: IntactTask) -> Evaluation:
        """Evaluate the last networks on the test split, and present what was found."""
        self.process.on_main(lambda: last_checkpoint(self.folder))
        config = self.config
        association = task.networks.association
        health = None if association is None else association.health
        described = describe_training(health, config.loss.lambda_dis, task.iterations)
        self.monitor.say(described[0].upper() + described[1:] + ".")
        model = self._model(task)
        result = evaluate(
            model,
            self.manifest,
            config.data.root,
            config.evaluation,
            config.data.threads,
            processes=self.process,
            progress=self._progress,
            association=had_association(config),
        )
        if self._has_validation():
            model.thresholds = measure_thresholds(
                model,
                self.manifest,
                config.data.root,
                config.evaluation,
                config.data.threads,
                validation=True,
                processes=self.process,
                progress=self._progress,
            )
        self.process.on_main(lambda: self._present(model, result, described))
        return result

    def _present(self, model: SRReID, result: Evaluation, described: str) -> None:
        """Write model, pictures and report, print the table."""
        checkpoint = last_checkpoint(self.folder)
        model.save_pretrained(self.folder / "model.safetensors")
        notes = [*self._notes, described]
        print_presentation(present(self._source(model), result, self.folder, checkpoint, notes), self.monitor.console)
