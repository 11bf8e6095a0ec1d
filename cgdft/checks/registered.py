"""Whether torch knows of all that a model holds: what it does not know it neither trains nor saves, without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import nn

from cgdft.derivatives.settings import LONG, OF_MODULES

#: Python's own; libraries have others of their own, which may be anything.
COLLECTIONS = frozenset((dict, list, tuple, set, frozenset, deque))


def check_registered(model: nn.Module) -> None:
    """Raise a TypeError that names a plain collection of parameters to train, or of modules with such, in a part of the model.

    Those that torch knows from elsewhere are no mistake. Collections of more than `LONG` are not looked at.
    """
    known = {id(one) for one in model.parameters()}
    for part in model.modules():
        for name, value in vars(part).items():
            held = None if name in OF_MODULES else next((kind for one in _within(value) if (kind := _lost(one, known))), None)
            if held is not None:
                which = "Dict" if isinstance(value, dict) else "List"
                raise TypeError(
                    f"`{name}` of {type(part).__name__} must be a torch.nn.{held}{which}, got a {type(value).__name__}, which "
                    "torch neither trains nor saves"
                )


def _within(value: Any, depth: int = 3) -> Iterator[Any]:
    """What is in a collection, and in those within it."""
    if type(value) not in COLLECTIONS or len(value) > LONG or not depth:
        return
    for one in value.values() if isinstance(value, dict) else value:
        yield one
        yield from _within(one, depth - 1)


def _lost(one: Any, known: set[int]) -> str | None:
    """What torch calls it, if there is something in it to train that is not known."""
    if isinstance(one, nn.Parameter):
        return "Parameter" if one.requires_grad and id(one) not in known else None
    lost = isinstance(one, nn.Module) and any(p.requires_grad and id(p) not in known for p in one.parameters())
    return "Module" if lost else None
