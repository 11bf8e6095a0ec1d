"""Whether torch knows of all that a model holds: what it does not know it neither trains nor saves, without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from cgdft.derivatives.settings import OF_MODULES


def check_registered(model: nn.Module) -> None:
    """Raise a TypeError that names a plain list, dict, tuple or set with parameters or modules in a part of the model."""
    for part in model.modules():
        for name, value in vars(part).items():
            held = None if name in OF_MODULES else next((kind for one in _within(value) if (kind := _trainable(one))), None)
            if held is not None:
                which = "Dict" if isinstance(value, Mapping) else "List"
                raise TypeError(
                    f"`{name}` of {type(part).__name__} must be a torch.nn.{held}{which}, got a {type(value).__name__}, which "
                    "torch neither trains nor saves"
                )


def _within(value: Any) -> Iterator[Any]:
    """What is in a collection, and in those within it."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset | deque):
        for one in value:
            yield one
            yield from _within(one)


def _trainable(one: Any) -> str | None:
    """What torch calls it, if there is something in it to train."""
    if isinstance(one, nn.Parameter):
        return "Parameter"
    return "Module" if isinstance(one, nn.Module) and any(True for _ in one.parameters()) else None
