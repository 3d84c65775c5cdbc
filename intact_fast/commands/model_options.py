"""Options, parsing and exit status that the commands around the retrieval module share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from intact_fast.config.command_line import parse_options
from intact_fast.errors import UserError, fail, warn
from intact_fast.serving.engines import EngineName, Precision, check_engine
from intact_fast.serving.picture_reading import Unreadable
from intact_fast.serving.pretrained import find_pretrained
from intact_fast.serving.sr_reid import SRReID
from intact_fast.serving.super_resolver import SuperResolver
from intact_fast.training.distributed.process import choose_device


@dataclass(frozen=True)
class ServingOptions:
    """Options of every command that loads a model."""

    model: Path = Path("model.safetensors")
    """Model file of a run (`runs/NAME/model.safetensors`), or the name of one that comes with the package."""
    critic: Path | None = None
    """OSNet checkpoint to take C from, where the model file is of G alone or trained for it; none takes the file's."""
    device: str = "auto"
    """Device to compute on: `auto`, `cpu`, `cuda`, or one of several GPUs as `cuda:1`."""
    precision: Precision = "fp32"
    """Type of G and C: `auto` is bf16 where the device computes it; `fp16` is for GPUs that do not."""
    engine: EngineName = "auto"
    """What computes G and C on a CPU: `auto` goes from `torch` to one that is installed when it pays."""
    batch_size: int = 64
    """Pictures per forward pass."""
    threads: int = 2
    """Threads that read pictures."""
    lr_height: int | None = None
    """A picture with fewer rows is low-resolution in mode `auto`; none takes the model's own."""
    json: bool = False
    """Print the result as JSON."""
    debug: bool = False
    """Show tracebacks of user errors."""

    def load(self) -> SRReID:
        """Load the model onto the device, without its thresholds where C is another one.

        Raises:
            UserError: The file is not one of ours, or an option has no sense.
        """
        options = self._served()
        if self.critic is not None:
            return SRReID.from_torchreid(self.critic, self.model, **options)
        return SRReID.from_pretrained(self.model, **options)

    def load_generator(self) -> SuperResolver:
        """Load the model's G alone onto the device.

        Raises:
            UserError: As `load`, or the file holds no G.
        """
        model = SuperResolver.from_pretrained(self.model, **self._served())
        if model.generator is None:
            raise UserError(f"--model {self.model}: holds no generator; give a training's model.safetensors")
        return model

    def _served(self) -> dict[str, Any]:
        for name in ("batch_size", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be 1 or more")
        if self.lr_height is not None and self.lr_height < 1:
            raise UserError(f"--lr-height {self.lr_height}: must be 1 or more")
        device = choose_device(self.device)
        try:
            check_engine(self.engine, self.precision, compiles=False, device=device)
        except ValueError as error:
            raise UserError(f"--{error}") from error
        return {
            "device": device,
            "precision": self.precision,
            "engine": self.engine,
            "fold": True,
            "batch_size": self.batch_size,
            "threads": self.threads,
            **({} if self.lr_height is None else {"lr_height": self.lr_height}),
        }


def model_files(model: Path, critic: Path | None) -> list[Path]:
    """Name the files whose content makes a model."""
    return [find_pretrained(model), *([critic] if critic else [])]


OptionsT = TypeVar("OptionsT")


def run_command(
    options_class: type[OptionsT],
    program: str,
    arguments: Sequence[str],
    run: Callable[[OptionsT], int],
    default: OptionsT | None = None,
) -> int:
    """Parse and run a command; returns its exit status, 2 after a user error, 130 after Ctrl-C."""
    try:
        return run(parse_options(options_class, program, arguments, default))
    except (UserError, OSError) as error:
        return fail(error, "--debug" in arguments)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def warn_unreadable(unreadable: Unreadable) -> int:
    """Name unreadable pictures on stderr; returns the exit status."""
    for reason in unreadable.reasons.values():
        warn(reason)
    return 1 if unreadable.reasons else 0
