"""Density-functional references and the comparison of models with them. PySCF is imported where it computes."""

from cgdft.validation.cache import CorruptCache
from cgdft.validation.compare import Comparison, compare
from cgdft.validation.mean_field import NotConverged
from cgdft.validation.reference import Reference, cached, reference
from cgdft.validation.run import validate
from cgdft.validation.score import Score
from cgdft.validation.suite import demo_models, fixed, small_suite

__all__ = [
    "Comparison",
    "CorruptCache",
    "NotConverged",
    "Reference",
    "Score",
    "cached",
    "compare",
    "demo_models",
    "fixed",
    "reference",
    "small_suite",
    "validate",
]

if __name__ != "cgdft.validation":
    raise ImportError("this folder installs as `cgdft.validation`; write `from cgdft.validation import ...`")
