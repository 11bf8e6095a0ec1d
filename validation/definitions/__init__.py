"""Coarse-graining definitions: rules by which an electron density becomes multipoles on atoms."""

from cgdft.validation.definitions.coulomb_fit import CoulombFit
from cgdft.validation.definitions.definition import Definition, LinearDefinition
from cgdft.validation.definitions.esp_fit import ESPFit
from cgdft.validation.definitions.hirshfeld import Hirshfeld
from cgdft.validation.definitions.mbis import MBIS

__all__ = ["MBIS", "CoulombFit", "Definition", "ESPFit", "Hirshfeld", "LinearDefinition"]
