"""Signals that ask a training to save, or to save and end; all processes of a group act on them together."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

from intact_fast.training.distributed.process import Process

_SAME_REQUEST_SECONDS = 3.0

SAVE_SIGNALS = (signal.SIGUSR1,)
"""After these a training saves its state and goes on."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
"""After these a training saves its state and ends."""


class Wish(IntEnum):
    """What a training was asked for; of several the highest counts."""

    NONE = 0
    SAVE = 1
    STOP = 2


class Requests:
    """Remembers signals instead of dying of them.

    A loop asks :meth:`agreed` once per iteration. When any process got a signal, all of them save or stop at the same
    iteration. Another Ctrl-C some seconds later interrupts at once.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._stop: float | None = None
        self._saves = 0
        self._saves_done = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in SAVE_SIGNALS:
            self._saves += 1
        elif self._stop is None:
            self._stop = now
        # torchrun passes a Ctrl-C on to workers that the terminal has already told
        elif number == signal.SIGINT and now - self._stop > _SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    def agreed(self) -> Wish:
        """What to do now; the same on every process."""
        saves = self._saves
        wish = Wish.SAVE if saves > self._saves_done else Wish.NONE
        self._saves_done = saves
        return Wish(self._process.highest(wish if self._stop is None else Wish.STOP))

    def __enter__(self) -> Requests:
        numbers = (*SAVE_SIGNALS, *_heard(STOP_SIGNALS))
        self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Treat what stops a training as Ctrl-C outside the training loops, where there is nothing to save."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    handlers = {number: interrupt for number in _heard(STOP_SIGNALS) if number != signal.SIGINT}
    previous = {
        number: signal.signal(number, handler)
        for number, handler in (handlers | dict.fromkeys(SAVE_SIGNALS, ignore)).items()
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _heard(numbers: tuple[signal.Signals, ...]) -> tuple[signal.Signals, ...]:
    """Leave out a hang-up of the terminal where nohup has the process ignore it."""
    return tuple(n for n in numbers if not (n == signal.SIGHUP and signal.getsignal(n) == signal.SIG_IGN))
