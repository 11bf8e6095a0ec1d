"""What depends on a structure alone, computed once however many terms ask for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from cgdft.structure import Structure

_kept: ContextVar[dict[tuple[Hashable, Structure], tuple[bool, Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Inside, `once` computes each thing once; the outermost of nested ones forgets."""
    if _kept.get() is not None:
        yield
        return
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def once(what: Hashable, structure: Structure, compute: Callable[[], Any], graph: bool = True) -> Any:
    """`compute()`, or what it gave for this structure before, inside of `remembered`.

    Args:
        what: is computed, of which there is one for each structure.
        graph: whether it has one: then what was computed without is computed again where one is asked for.
    """
    kept = _kept.get()
    if kept is None:
        return compute()
    needed = graph and torch.is_grad_enabled()
    if (what, structure) not in kept or (needed and not kept[what, structure][0]):
        kept[what, structure] = (needed, compute())
    return kept[what, structure][1]


def remember(what: Hashable, structure: Structure, value: Any) -> None:
    """Inside of `remembered`, something without a graph that is known already."""
    kept = _kept.get()
    if kept is not None:
        kept[what, structure] = (False, value)
