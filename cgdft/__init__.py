"""cgdft: coarse-grained density-functional theory.

Any functional of Gaussian atomic multipoles in, the minimised density and its derivatives out. Everything is in Hartree atomic
units; `cgdft.units` has multipliers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgdft.ansatz import Ansatz, Fixed, Free, ResponseModes, SplitCharges
    from cgdft.basis import Multipoles
    from cgdft.constraint import Constraint, FragmentCharge, PotentialDifference, Row, TotalCharge, TotalSpin
    from cgdft.density import Density
    from cgdft.extrapolation import Extrapolation
    from cgdft.functional import Functional
    from cgdft.model import Model
    from cgdft.pair_parameter import PairParameter
    from cgdft.parameter import AtomParameter
    from cgdft.problems.minimisation import Minimisation
    from cgdft.problems.problem import Problem
    from cgdft.response_law import GrandPotential, Response, ResponseLaw
    from cgdft.solution import Solution
    from cgdft.solver import Minimum, Solver, SolverError, Status
    from cgdft.space import Entries, Space
    from cgdft.structure import Structure
    from cgdft.terms import Term, term
    from cgdft.testing.model import check_model
    from cgdft.testing.solver import check_solver
    from cgdft.testing.term import check_term

__version__ = "0.1.0"

# PEP 562: a word is imported at its first use, so that `import cgdft` does not import torch.
_WORDS = {
    "ansatz": ("Ansatz", "Fixed", "Free", "ResponseModes", "SplitCharges"),
    "basis": ("Multipoles",),
    "constraint": ("Constraint", "FragmentCharge", "PotentialDifference", "Row", "TotalCharge", "TotalSpin"),
    "density": ("Density",),
    "extrapolation": ("Extrapolation",),
    "functional": ("Functional",),
    "model": ("Model",),
    "pair_parameter": ("PairParameter",),
    "parameter": ("AtomParameter",),
    "problems.minimisation": ("Minimisation",),
    "problems.problem": ("Problem",),
    "response_law": ("GrandPotential", "Response", "ResponseLaw"),
    "solution": ("Solution",),
    "solver": ("Minimum", "Solver", "SolverError", "Status"),
    "space": ("Entries", "Space"),
    "structure": ("Structure",),
    "terms": ("Term", "term"),  # not term.py: the module would hide the decorator
    "testing.model": ("check_model",),
    "testing.solver": ("check_solver",),
    "testing.term": ("check_term",),
}
_HOME = {word: module for module, words in _WORDS.items() for word in words}

__all__ = [
    "Ansatz",
    "AtomParameter",
    "Constraint",
    "Density",
    "Entries",
    "Extrapolation",
    "Fixed",
    "FragmentCharge",
    "Free",
    "Functional",
    "GrandPotential",
    "Minimisation",
    "Minimum",
    "Model",
    "Multipoles",
    "PairParameter",
    "PotentialDifference",
    "Problem",
    "Response",
    "ResponseLaw",
    "ResponseModes",
    "Row",
    "Solution",
    "Solver",
    "SolverError",
    "Space",
    "SplitCharges",
    "Status",
    "Structure",
    "Term",
    "TotalCharge",
    "TotalSpin",
    "check_model",
    "check_solver",
    "check_term",
    "term",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"cgdft.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cgdft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
