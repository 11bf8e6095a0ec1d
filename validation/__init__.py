"""Density-functional references and the comparison of models with them. PySCF is imported where it computes."""

from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.results import Results, campaign
from cgdft.validation.definitions import MBIS, CoulombFit, Definition, ESPFit, Hirshfeld, LinearDefinition
from cgdft.validation.dft.cache import CorruptCache
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.reference import Reference, cached, reference
from cgdft.validation.exact.constrained import Constrained, ExactFunctional
from cgdft.validation.report.baselines import demo_models, fixed
from cgdft.validation.report.compare import Comparison, compare
from cgdft.validation.report.score import Score
from cgdft.validation.run import validate

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
