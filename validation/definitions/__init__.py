"""Coarse-graining definitions: rules by which an electron density becomes multipoles on atoms."""

from __future__ import annotations

from cgdft.validation.definitions.coulomb_fit import CoulombFit
from cgdft.validation.definitions.definition import Definition, LinearDefinition
from cgdft.validation.definitions.esp_fit import ESPFit
from cgdft.validation.definitions.hirshfeld import Hirshfeld
from cgdft.validation.definitions.mbis import MBIS

__all__ = ["MBIS", "CoulombFit", "Definition", "ESPFit", "Hirshfeld", "LinearDefinition", "usual"]


def usual(name: str) -> Definition:
    """The definition of this name, with its usual settings; raises ValueError for another name."""
    known: dict[str, type[Definition]] = {one.__name__: one for one in (CoulombFit, ESPFit, Hirshfeld, MBIS)}
    if name not in known:
        raise ValueError(f"`definition` must be one of {', '.join(known)}, got {name!r}")
    return known[name]()
