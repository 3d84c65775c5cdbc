"""What is made of a module's networks at first use: compiled code, and engines."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import attrgetter

import torch
from torch import Tensor, nn

from intact_fast.errors import tell
from intact_fast.models.osnet import OSNet
from intact_fast.serving.engines import (
    REMEDY,
    EngineName,
    InARow,
    Inference,
    Precision,
    faster_elsewhere,
    fastest,
    make_inference,
    process_and_threads,
)

Network = Callable[[Tensor], Tensor]

_CHANGES = attrgetter("_version")
"""How often a tensor was changed in place."""

PAYS_AFTER_S = 5.0
"""Seconds of PyTorch's forward passes after which `auto` makes an engine. That takes 1 to 5 seconds, so that a program
never spends much more than twice what the better choice would have taken."""


@dataclass(frozen=True)
class _Weights:
    """Weights of a network at one moment."""

    network: nn.Module
    tensors: tuple[Tensor, ...]
    state: tuple[int, ...]

    @classmethod
    def of(cls, network: nn.Module) -> _Weights:
        # tensors of inference mode count no changes
        tensors = tuple(t for t in itertools.chain(network.parameters(), network.buffers()) if not t.is_inference())
        return cls(network, tensors, _state(tensors))

    def are_current(self, network: nn.Module) -> bool:
        """Whether a network is this one, and its weights have not been changed in place or converted."""
        return network is self.network and _state(self.tensors) == self.state


def _state(tensors: tuple[Tensor, ...]) -> tuple[int, ...]:
    # a conversion of the whole network moves every tensor, and a picture does not wait for a look at each
    return (*(t.data_ptr() for t in tensors[:1]), *map(_CHANGES, tensors))


@dataclass(frozen=True)
class _Made:
    """An engine, and what it was made of and for."""

    inference: Inference
    weights: _Weights
    place: tuple[int, int]


class Running:
    """Everything that is made of a module's networks. A copy of a module begins with nothing."""

    def __init__(self) -> None:
        self._compiled: dict[str, Network] = {}
        self._made: dict[tuple[str, EngineName, Precision], _Made] = {}
        self._in_a_row: InARow | None = None
        self._spent: dict[str, float] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Running], tuple[()]]:
        """Pickle and copy as a new one."""
        return Running, ()

    def compiled(self, role: str, network: Network) -> Network:
        """Give the compiled form of a network: one graph for a single picture, and one for any other number."""
        if role not in self._compiled:
            self._compiled[role] = torch.compile(network)
        run = self._compiled[role]

        def call(x: Tensor) -> Tensor:
            # another layout or number of pictures would be another graph
            x = x.contiguous(memory_format=torch.channels_last)
            if len(x) > 1:
                torch._dynamo.maybe_mark_dynamic(x, 0)
            return run(x)

        return call

    @contextmanager
    def counted(self, role: str) -> Iterator[None]:
        """Count the time of a forward pass of PyTorch's."""
        begin = time.perf_counter()
        yield
        self._spent[role] = self._spent.get(role, 0.0) + time.perf_counter() - begin

    def fastest(self, role: str, precision: Precision) -> EngineName:
        """Choose the engine of a network: PyTorch, until so much was computed that another one pays."""
        if self._spent.get(role, 0.0) < PAYS_AFTER_S:
            return "torch"
        engine = fastest(precision)
        if engine != "torch":
            tell_once(f"engine auto: {engine} from here on; engine torch keeps PyTorch")
        elif (better := faster_elsewhere(precision)) is not None:
            tell_once(f"engine auto: {better} is not installed, and is faster with single crops; run {REMEDY}")
        return engine

    def in_a_row(self, generator: nn.Module, critic: OSNet) -> InARow:
        """Give G and C as one network, the same one as long as they are the same."""
        with self._lock:
            found = self._in_a_row
            if found is None or found.generator is not generator or found.critic is not critic:
                found = self._in_a_row = InARow(generator, critic)
            return found

    def in_engine(
        self, engine: EngineName, precision: Precision, role: str, network: nn.Module, method: str, x: Tensor
    ) -> Tensor:
        """Run a network in an engine, which is made at first use, and again when weights or threads change.

        Args:
            engine: ``onnxruntime`` or ``openvino``.
            precision: ``fp32`` or ``bf16``.
            role: What the network is in the module.
            network: G, C or both.
            method: Which of its methods is computed.
            x: N×3×H×W on the CPU.
        """
        key, place = (role, engine, precision), process_and_threads()
        made = self._made.get(key)
        if made is None or made.place != place or not made.weights.are_current(network):
            with self._lock:
                made = self._made.get(key)
                if made is None or made.place != place or not made.weights.are_current(network):
                    weights = _Weights.of(network)
                    size = (x.shape[2], x.shape[3])
                    inference = make_inference(engine, network, method, size, precision, place[1])
                    made = self._made[key] = _Made(inference, weights, place)
        return torch.from_numpy(made.inference(x.float().contiguous().numpy()))


@cache
def tell_once(text: str) -> None:
    """Tell the user something once in a process."""
    tell(text)
