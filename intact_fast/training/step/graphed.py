"""A whole iteration captured as one CUDA graph, so that launching its kernels costs the host next to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch

from intact_fast.data.batches import Batch
from intact_fast.training.step.iteration import Record
from intact_fast.training.step.shared import SharedStep

_EAGER_FIRST = 3
"""Iterations of each kind that run as they are first: they make optimiser states, compile and tune kernels."""


class Recorder(Protocol):
    """Records what a function launches."""

    def beside(self) -> AbstractContextManager[None]:
        """Everything of an iteration runs inside."""
        ...

    def record(self, function: Callable[[], Record]) -> Callable[[], Record]:
        """Record a call without running it; the result runs it, into the same tensors each time."""
        ...


class CudaRecorder:
    """Captures CUDA graphs on a stream of its own.

    Everything else of the training step runs on that stream, too: autograd remembers the stream on which it first saw a
    parameter, and a graph must not wait for another.

    Args:
        device: A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """The stream, after what the current one has in flight, which afterwards waits for it."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, function: Callable[[], Record]) -> Callable[[], Record]:
        """Capture a call. All graphs share one memory pool: they never run at the same time."""
        graph = torch.cuda.CUDAGraph()
        # other threads, DALI's among them, go on allocating memory meanwhile
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            record = function()

        def replay() -> Record:
            graph.replay()
            return record

        return replay


class GraphedStep:
    """Replays the iterations of a `SharedStep`, one graph for each way that the host can take through it.

    Detailed iterations and the first few of each kind run as they are. A record's tensors are overwritten by the next
    iteration.

    Args:
        step: What to replay.
        recorder: Records it.
    """

    def __init__(self, step: SharedStep, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._inputs: Batch | None = None
        self._seen: Counter[Hashable] = Counter()
        self._replays: dict[Hashable, Callable[[], Record]] = {}

    def __call__(self, batch: Batch, iteration: int, detailed: bool) -> Record:
        """Run the three updates on one batch; see `SharedStep`."""
        with self._recorder.beside():
            inputs = self._fill(batch)
            key = self._step.graph_key(batch, iteration)
            if detailed or self._seen[key] < _EAGER_FIRST:
                self._seen[key] += not detailed
                return self._step(inputs, iteration, detailed)
            if key not in self._replays:
                self._replays[key] = self._recorder.record(lambda: self._step(inputs, iteration, False))
            record = self._replays[key]()
            self._step.note_replayed(batch)
            return record

    def _fill(self, batch: Batch) -> Batch:
        """Copy a batch to where the graphs read it."""
        if self._inputs is None:
            copies = {name: value.clone() for name, value in _tensors(batch).items()}
            self._inputs = replace(batch, **copies)  # type: ignore[arg-type]
        else:
            kept = _tensors(self._inputs)
            for name, value in _tensors(batch).items():
                assert kept[name].shape == value.shape, f"{name}: {value.shape}, captured {kept[name].shape}"
                kept[name].copy_(value, non_blocking=True)
        # what the host reads of a batch is this one's own
        self._inputs = replace(self._inputs, view_on_host=batch.view_on_host, next_position=batch.next_position)
        return self._inputs

    def state(self) -> dict[str, Any]:
        """State of the step."""
        return self._step.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Carry on from `state`; loaded optimisers have tensors of their own, so what was captured goes."""
        self._step.load_state(state)
        self._replays.clear()


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
