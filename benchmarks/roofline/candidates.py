"""What further kernels would save of an iteration, in bytes: those that its operations name, one candidate a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.roofline.costs import work_of
from benchmarks.roofline.operation import Operation


@dataclass(frozen=True)
class Candidate:
    """One idea.

    Attributes:
        name: What is done.
        needs: What it takes.
        saved: Bytes that it saves of the compiled form.
    """

    name: str
    needs: str
    saved: Callable[[Sequence[Operation]], int]


def _moved(operations: Sequence[Operation], form: str, network: str | None = None) -> int:
    work = work_of(operations, form)  # type: ignore[arg-type]
    return sum(one.moved for one in work if network is None or one.place.network == network)


def _again(operations: Sequence[Operation], kind: str, backward: bool) -> int:
    chosen = [o for o in operations if o.kind == kind and (o.place.direction == "backward") == backward]
    return sum(sum(o.again.values()) for o in chosen)


def _first_activation(operations: Sequence[Operation]) -> int:
    """What LeakyReLU of D's first convolution moves beyond the convolution: a tensor written and read again."""
    forward = [o for o in operations if o.name == "leaky_relu" and len(o.shapes[0]) == 4]
    backward = [o for o in operations if o.name == "leaky_relu_backward" and len(o.shapes[0]) == 4]
    return 2 * sum(sum(o.writes.values()) for o in (*forward, *backward))


def _optimisers(operations: Sequence[Operation]) -> int:
    return sum(o.launched_bytes for o in operations if o.kind in ("optimiser", "average"))


_LIBRARY = "own convolutions"
CANDIDATES = (
    Candidate(
        "all between convolutions folded into them", _LIBRARY, lambda o: _moved(o, "passes") - _moved(o, "fused")
    ),
    Candidate(
        "sums of a normalisation's backward pass taken where its gradient is written",
        _LIBRARY,
        lambda o: _again(o, "normalisation", backward=True),
    ),
    Candidate(
        "statistics of a normalisation taken where its input is written",
        _LIBRARY,
        lambda o: _again(o, "normalisation", backward=False),
    ),
    Candidate(
        "both gradients of a convolution in one launch",
        _LIBRARY,
        lambda o: _again(o, "convolution", backward=True),
    ),
    Candidate("LeakyReLU of D's first convolution in it", "one own convolution", _first_activation),
    Candidate(
        "all between two convolutions in one launch: residual sum and its gradient, pooling, shortcut",
        "larger operators",
        lambda o: _moved(o, "compiled") - _moved(o, "passes"),
    ),
    Candidate(
        "the same in G alone", "larger operators", lambda o: _moved(o, "compiled", "G") - _moved(o, "passes", "G")
    ),
    Candidate("no optimiser and no average: the limit of gradient accumulation", "an option", _optimisers),
    Candidate("one Adam for all roles, D's two batches in one launch", "launches alone", lambda o: 0),
)
"""From the issue of what the next kernel should be; each by what the traced operations move."""


def saved_by_candidates(operations: Sequence[Operation]) -> dict[str, dict[str, str | float]]:
    """Give what each candidate needs and the gigabytes that it saves."""
    return {
        candidate.name: {"needs": candidate.needs, "gb": candidate.saved(operations) / 1e9} for candidate in CANDIDATES
    }
