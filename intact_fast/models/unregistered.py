"""A network that a module uses but does not own."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Unregistered(Generic[T]):
    """Holds a network for a module that neither trains nor saves it.

    PyTorch registers a network that is set as an attribute of a module; it does not look inside this object.

    Args:
        network: The network, or what a module uses of one.
    """

    def __init__(self, network: T) -> None:
        self.network = network
