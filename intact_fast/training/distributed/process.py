"""The processes of a torchrun group: which one this is, and how they agree and wait for each other."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from intact_fast.config.devices import parse_device, require_gpu
from intact_fast.errors import UserError, mistake_of, warn
from intact_fast.training.distributed.group_variables import check_group
from intact_fast.training.distributed.missing_gpu import why_no_gpu
from intact_fast.training.distributed.rendezvous import agree_on_name

T = TypeVar("T")

HANG = timedelta(minutes=10)
"""In an iteration a process that another one waits for longer than this counts as hanging; the group ends then."""

# rank 0 ranks and writes while the others wait
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Process:
    """This process among its peers.

    Attributes:
        rank: Number in the whole group; 0 talks to the user and writes.
        world_size: Number of processes.
        device: Device of this process.
        control: gloo group for small host-side agreements that must not wait for the GPU; None in
            a group of one.
        prompt: The same for agreements of every iteration, which wait for `HANG` alone; None takes ``control``.
    """

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None
    prompt: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process talks to the user and writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for every process."""
        if self.control is not None:
            dist.barrier(self.control)

    def any(self, flag: bool) -> bool:
        """Whether any process raised the flag; every process gets the same answer."""
        return bool(self.highest(int(flag)))

    def highest(self, value: int) -> int:
        """The highest value of all processes, none of which is at work alone; every process gets the same answer."""
        if self.control is None:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.prompt or self.control)
        return int(found.item())

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every process."""
        if self.control is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def on_main(self, function: Callable[[], T]) -> T:
        """Call a function on rank 0 alone and return its value, or raise its UserError, everywhere."""
        value, error = self.broadcast(_outcome(function) if self.is_main else None)
        if error is not None:
            raise error
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value in order of rank."""
        if self.control is None:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def share(self, function: Callable[[], T]) -> list[T]:
        """Call a function on every process; return the values in order of rank, or raise a UserError, everywhere."""
        outcomes = self.gather(_outcome(function))
        for _, error in outcomes:
            if error is not None:
                raise error
        return [value for value, _ in outcomes]

    def parallel(self, module: nn.Module) -> nn.Module:
        """Wrap a trainable module so that its gradients are averaged over the processes.

        Buffers stay each process's own (per-process batch statistics).
        """
        if self.world_size == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        # PyTorch 2.13 renames the switch and warns about the old name
        parameters = inspect.signature(DistributedDataParallel.__init__).parameters
        switch = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        options: dict[str, Any] = {"gradient_as_bucket_view": True, switch: False}
        return DistributedDataParallel(module, device_ids=device_ids, **options)

    def average_gradients(self, module: nn.Module | None) -> None:
        """Average the gradients of a small module over the processes at once, after the backward pass."""
        if self.world_size == 1 or module is None:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(together)
        together /= self.world_size
        for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _outcome(function: Callable[[], T]) -> tuple[T | None, UserError | None]:
    """What a function gives, or its UserError, which a file's error counts as."""
    try:
        return function(), None
    except UserError as error:
        return None, error
    except OSError as error:
        mistake = mistake_of(error)
        if mistake is None:
            raise
        return None, mistake


def choose_device(name: str) -> torch.device:
    """Pick the device of this process, on CUDA by its local rank where the name has no number.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: There is no such device, or several processes would share one.
    """
    kind, number = parse_device(name)
    if kind == "cuda" and not torch.cuda.is_available():
        why = why_no_gpu(name) or "PyTorch sees no GPU; install a CUDA build of torch"
        raise UserError(f"--device {name}: {why}, or use --device cpu")
    if kind == "cuda" and number is not None:
        require_gpu(name, number)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                f"--device {name}: each process of torchrun takes a GPU of its own; use --device cuda, and choose "
                "GPUs by CUDA_VISIBLE_DEVICES"
            )
        device = torch.device(kind, number)
        # what names no device goes to this one, too
        torch.cuda.set_device(device)
        return device
    if kind == "cpu" or not torch.cuda.is_available():
        # a run says it of --device cpu, too
        if name == "auto" and (reason := why_no_gpu()) is not None:
            warn(reason)
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _talk_over_loopback() -> None:
    """Let gloo's processes of one host listen where no other host reaches them; the user's own choice goes first."""
    one_host = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    if one_host and os.path.isdir("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _of_this_process(text: str) -> UserError:
    error = UserError(text)
    error.one_process = True
    return error


@contextmanager
def process_group(device_name: str) -> Iterator[Process]:
    """Join the group that torchrun started (gloo on CPU, NCCL on GPU), or stand alone without it."""
    check_group()
    device = choose_device(device_name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if device.index >= count:
            raise UserError(f"--nproc-per-node: this machine has {count} GPUs; start at most {count} processes")
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Process(0, 1, device, None)
        return
    try:
        store, rank, world_size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    except dist.DistError as error:
        reason = str(error).splitlines()[0]
        raise _of_this_process(
            f"no group at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({reason}); see that every host "
            "reaches that address, and that all processes were started"
        ) from error
    _talk_over_loopback()
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(agree_on_name(store, rank, world_size), store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=world_size,
        timeout=HANG,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        control = dist.new_group(backend="gloo", timeout=_PATIENCE)
        prompt = dist.new_group(backend="gloo", timeout=HANG)
        yield Process(dist.get_rank(), dist.get_world_size(), device, control, prompt)
    finally:
        dist.destroy_process_group()


class Interrupted(Exception):
    """Training stopped on request, after its state was saved."""
