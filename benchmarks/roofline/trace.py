"""The operations of one iteration: the real training step runs on tensors without memory, and each operation is noted.

`SharedStep` runs under PyTorch's fake tensors. So nothing is computed, at any size. An operation knows which network it
belongs to, in which update, and whether it is part of a forward or a backward pass. A backward operation is told by the
autograd node that launches it: its number is that of the forward operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.kernel_costs import moved_by
from benchmarks.roofline.operation import (
    Network,
    Operation,
    Place,
    convolution_flops,
    kind,
    launches_of_pytorch,
    nbytes,
    shapes,
    special_reads,
    unread,
)
from benchmarks.setup import CLASSES, random_batch
from intact_fast.config.options import Config
from intact_fast.data.batches import Batch
from intact_fast.kernels.launch import recording
from intact_fast.kernels.registration import IMPLEMENTATIONS
from intact_fast.models import build_osnet
from intact_fast.training.distributed.process import Process
from intact_fast.training.intact import IntactTask
from intact_fast.training.step.plan import plan_step
from intact_fast.training.step.shared import SharedStep

CPU = torch.device("cpu")


class Tracer(TorchDispatchMode):
    """Notes every operation that moves bytes.

    Attributes:
        operations: In the order of their launches.
        place: Where the next forward operation is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.place = Place("pictures of G", "losses", "forward")
        self.in_backward = False
        self._places: dict[int, Place] = {}
        self._last = self.place
        # memory that is freed would give its number to other memory
        self._kept: list[torch.UntypedStorage] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and note it."""
        kwargs = kwargs or {}
        place = self._place_of_now()
        if func.namespace not in ("aten", "intact_fast"):
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        moved = self._moved_by_launches(name, args) if func.namespace == "intact_fast" else None
        out = func(*args, **kwargs)
        reads, writes = self._traffic(func, name, args, kwargs, out)
        if not reads and not writes:
            return out
        flops = self._flops(func, name, args, kwargs, out)
        again, unfoldable = (self._sizes(tensors) for tensors in special_reads(name, args))
        own = sum([*reads.values(), *writes.values(), *again.values()])
        launched, launches = moved or (own, launches_of_pytorch(name, args, again))
        self.operations.append(
            Operation(
                name,
                kind(name, args, place),
                shapes(name, args, out),
                place,
                flops,
                reads,
                writes,
                launched,
                launches,
                again,
                unfoldable,
            )
        )
        return out

    def _place_of_now(self) -> Place:
        if not self.in_backward:
            # autograd numbers a node just before it dispatches the node's operation
            self._places.setdefault(torch._C._autograd._get_sequence_nr() - 1, self.place)
            return self.place
        node = torch._C._current_autograd_node()
        forward = None if node is None else self._places.get(node._sequence_nr())
        # gradients are summed between two nodes
        self._last = self._last if forward is None else forward._replace(direction="backward")
        return self._last

    def _sizes(self, tensors: Iterable[Tensor]) -> dict[int, int]:
        """Bytes by the number of the memory that they are in; what starts at one place counts once."""
        by_place: dict[tuple[int, int], int] = {}
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._kept.append(storage)
            place = storage._cdata, tensor.storage_offset()
            by_place[place] = max(by_place.get(place, 0), nbytes(tensor))
        found: dict[int, int] = {}
        for (number, _), size in by_place.items():
            found[number] = found.get(number, 0) + size
        return found

    def _traffic(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Bytes of inputs and outputs; none of an operation that only looks at memory otherwise."""
        arguments = [*args, *(kwargs.get(a.name) for a in func._schema.arguments[len(args) :])]
        skipped = unread(name, args)
        read: list[Tensor] = []
        changed: list[Tensor] = []
        for place, (argument, value) in enumerate(zip(func._schema.arguments, arguments, strict=True)):
            tensors = [] if place in skipped else [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
            read += tensors
            # Adam's gradients are written where there is a loss scale alone
            if argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads":
                changed += tensors
        reads = self._sizes(read)
        made = self._sizes(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        writes = self._sizes(changed) | {number: size for number, size in made.items() if number not in reads}
        return ({}, {}) if not writes or name.startswith("empty") else (reads, writes)

    def _flops(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        if name in ("convolution", "convolution_backward"):
            return convolution_flops(name, args, out)
        if func.namespace == "aten":
            count = flop_registry.get(func._overloadpacket)
            return 0 if count is None else int(count(*args, **kwargs, out_val=out))
        backward = name.endswith("_backward")
        if name.startswith("depthwise"):
            # each gradient has as many as the output, that of the filters where the input is given
            return 2 * 9 * args[0].numel() * (2 if backward and args[1] is not None else 1)
        if not name.startswith("linear_bn"):
            return 0
        x, weight = args[1:3] if backward else args[:2]
        return 2 * x.shape[0] * weight.numel() * (sum(args[-3:-1]) if backward else 1)

    @staticmethod
    def _moved_by_launches(name: str, args: tuple[Any, ...]) -> tuple[int, int]:
        """Bytes and number of an operator's launches on a GPU."""
        _, triton = IMPLEMENTATIONS[name]
        with recording() as launches:
            triton(*args)
        return moved_by(launches), len(launches)


@contextmanager
def _patched(owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Replace a method of one object for a while."""
    had = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, around(before))
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


class _Marks:
    """Marks of where an iteration is, put around the methods of a step and its networks."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def inside(self, **fields: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """What a method launches is there."""

        def around(method: Callable[..., Any]) -> Callable[..., Any]:
            def marked(*arguments: Any, **options: Any) -> Any:
                before = self._tracer.place
                self._tracer.place = before._replace(**fields)
                try:
                    return method(*arguments, **options)
                finally:
                    self._tracer.place = before

            return marked

        return around

    def backward(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """What a method launches belongs to the backward pass."""

        def marked(*arguments: Any, **options: Any) -> Any:
            self._tracer.in_backward = True
            try:
                return method(*arguments, **options)
            finally:
                self._tracer.in_backward = False

        return marked


def _marked_methods(step: SharedStep, marks: _Marks) -> list[tuple[Any, str, Any]]:
    """Every method that says where an iteration is, with its mark."""
    networks = step.networks
    found: list[tuple[Any, str, Any]] = [
        (step, "_update_discriminator", marks.inside(update="update of D")),
        (step, "_update_association", marks.inside(update="update of φ and σ")),
        (step, "_update_generator", marks.inside(update="update of G")),
        (networks.generator, "forward", marks.inside(network="G")),
    ]
    discriminators: list[nn.Module] = [networks.discriminator, networks.frozen_discriminator]
    if networks.discriminator_ema is not None:
        discriminators.append(networks.discriminator_ema)
    found += [(network, "forward", marks.inside(network="D")) for network in discriminators]
    critics: list[tuple[nn.Module | None, Network]] = [(networks.critic, "C"), (networks.query_critic, "C_q")]
    for critic, name in critics:
        if critic is not None:
            methods = [m for m in ("embed", "feature_map", "embed_map", "classify") if hasattr(critic, m)]
            found += [(critic, method, marks.inside(network=name)) for method in methods]
    if networks.association is not None:
        names = ("forward", "observe_hr", "l_dis_for_generator", "l_dis_for_discriminator", "f_d", "record")
        found += [(networks.association, name, marks.inside(network="φ and σ")) for name in names]
    optimisers = marks.inside(network="optimisers", direction="update")
    for updater in step.updaters.values():
        found += [(updater, "backward", marks.backward), (updater, "step", optimisers)]
    found += [(networks, name, optimisers) for name in ("update_serving_averages", "update_discriminator_average")]
    return found


def ready_task(config: Config, batch_size: int, critic: nn.Module | None = None) -> tuple[IntactTask, Batch]:
    """Make the networks of a configuration, and a batch of pictures whose f_c is in the table."""
    config = replace(config, training=replace(config.training, batch_size=batch_size))
    found: Any = build_osnet(config.critic.arch, CLASSES) if critic is None else critic
    process = Process(0, 1, CPU, None)
    task = IntactTask(config, found, process, plan_step(config, process), pictures=batch_size)
    batch = random_batch(config, batch_size, CPU)
    view = 2 * np.arange(batch_size)
    return task, replace(batch, view=torch.from_numpy(view), view_on_host=view)


def trace_iteration(
    task: IntactTask, batch: Batch, modes: Sequence[AbstractContextManager[Any]] = ()
) -> list[Operation]:
    """Note the operations of one iteration past the warm-up of L_dis, after one that fills the table and Adam's state.

    Args:
        task: A task with a `SharedStep` on the CPU, neither compiled nor captured.
        batch: Its pictures.
        modes: Entered around the noted iteration as well, such as PyTorch's own counter of FLOPs.
    """
    step = task.run_step
    assert isinstance(step, SharedStep)
    tracer = Tracer()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        pictures = replace(
            batch,
            **{name: fake.from_tensor(value) for name, value in vars(batch).items() if isinstance(value, Tensor)},
        )
        task.step(pictures, 100_000, False)
        contexts = [_patched(*entry) for entry in _marked_methods(step, _Marks(tracer))]
        with ExitStack() as stack:
            for context in (*contexts, *modes, tracer):
                stack.enter_context(context)
            task.step(pictures, 100_001, False)
    return tracer.operations
