"""What a network's features become: one physics each, a function that makes the model on an environment."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from cgdft.learning.environment import Environment
from cgdft.model import Model


def names() -> tuple[str, ...]:
    """Of the architectures that come with the package."""
    return tuple(sorted(path.stem.replace("_", "-") for path in Path(__file__).parent.glob("[!_]*.py")))


def about(name: str) -> str:
    """What an architecture is, in a sentence."""
    return (_module(name).__doc__ or "").strip().partition("\n")[0]


def learnt_from(name: str) -> tuple[str, ...]:
    """The labels that an architecture is learnt from where no weights are told; empty: all."""
    return getattr(_module(name), "LABELS", ()) if name in names() else ()


def make(name: str, environment: Environment, atoms: dict[str, float]) -> Model:
    """The model of an architecture on an environment.

    Raises:
        ValueError: no architecture of this name.
    """
    if name not in names():
        raise ValueError(f"`architecture` must be one of {', '.join(names())}, got {name!r}")
    model: Model = _module(name).model(environment, atoms)
    return model


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name.replace('-', '_')}")
