"""Density-functional references and the comparison of models with them. PySCF is imported where it computes."""

from cgdft.validation.baselines import demo_models, fixed
from cgdft.validation.cache import CorruptCache
from cgdft.validation.campaign import Results, campaign
from cgdft.validation.compare import Comparison, compare
from cgdft.validation.constrained import Constrained, ExactFunctional
from cgdft.validation.definitions import MBIS, CoulombFit, Definition, ESPFit, Hirshfeld, LinearDefinition
from cgdft.validation.mean_field import NotConverged
from cgdft.validation.point import Point
from cgdft.validation.reference import Reference, cached, reference
from cgdft.validation.run import validate
from cgdft.validation.score import Score

__all__ = [
    "MBIS",
    "Comparison",
    "Constrained",
    "CorruptCache",
    "CoulombFit",
    "Definition",
    "ESPFit",
    "ExactFunctional",
    "Hirshfeld",
    "LinearDefinition",
    "NotConverged",
    "Point",
    "Reference",
    "Results",
    "Score",
    "cached",
    "campaign",
    "compare",
    "demo_models",
    "fixed",
    "reference",
    "validate",
]

if __name__ != "cgdft.validation":
    raise ImportError("this folder installs as `cgdft.validation`; write `from cgdft.validation import ...`")
