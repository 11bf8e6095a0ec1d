"""Whether derivatives that users state are those of the energies that they state, seen near a solution by differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cgdft.checks.declared import FEW
from cgdft.density import Density
from cgdft.finite import finite
from cgdft.foreign import is_foreign
from cgdft.problems.law_problem import LawProblem
from cgdft.response_law import GrandPotential
from cgdft.slopes import askew, slope
from cgdft.terms import Term

if TYPE_CHECKING:
    from collections.abc import Callable

    from cgdft.problems.problem import Problem
    from cgdft.solver import Minimum

#: How far from the solution, where no kink is, and step of differences, both as parts of a coefficient or potential of one.
ASIDE, STEP = 1e-2, 1e-2
#: What derivatives may differ by, beside what differences leave; part of a number that its rounding may be, in float32.
OFF, ROUNDING = 1e-3, 1e-7


def check_stated(problem: Problem, minimum: Minimum) -> None:
    """Raise a ValueError that names a user's term with a `gradient`, `curvature`, `blocks` or `hessian` that is not that of its
    energy, or a user's response law with an answer that torch does not see whole.
    """
    check_terms(problem, minimum.x)
    if isinstance(problem, LawProblem) and is_foreign(problem.law):
        _check_law(problem, minimum)


def check_terms(problem: Problem, x: Tensor) -> None:
    """Raise a ValueError that names a user's term with derivatives of its own that are not those of its energy near x."""
    terms = [term for term in (*problem.functional, *(problem.readout or ())) if is_foreign(term)]
    if terms:
        rho = problem.density(x)
        way = askew(rho.coefficients)
        aside = rho.coefficients + ASIDE * way.flip(0)
        for term in terms:
            _check_term(term, rho.at(aside), way)


def _check_term(term: Term, rho: Density, way: Tensor) -> None:
    own = [
        name for name in ("gradient", "curvature", "blocks", "hessian") if getattr(type(term), name) is not getattr(Term, name)
    ]
    if not own:
        return

    def at(t: float) -> Density:
        return rho.at(rho.coefficients + t * way)

    if "gradient" in own:
        _compare(term.name, "gradient", (term.gradient(rho) * way).sum(), _difference(lambda t: term.energy(at(t)).sum()))
    bent = _difference(lambda t: term.gradient(at(t)))
    if "curvature" in own:
        _compare(term.name, "curvature", term.curvature(rho)(way), bent)
    if "blocks" in own and term.local:
        _compare(term.name, "blocks", torch.einsum("iab,ib->ia", term.blocks(rho), way), bent)
    if "hessian" in own and term.has_matrix and rho.basis.size * int(rho.structure.counts.max()) <= FEW:
        size, structure = rho.basis.size, rho.structure
        padded = way.new_zeros(len(structure), int(structure.counts.max()), size)
        padded[structure.index, structure.local] = way
        product = (term.hessian(rho) @ padded.flatten(1)[..., None]).reshape(padded.shape)
        _compare(term.name, "hessian", product[structure.index, structure.local], bent)


def _check_law(problem: LawProblem, minimum: Minimum) -> None:
    """dOmega/dv against the answer, or the answer's derivative against its differences."""
    law, name = problem.law, type(problem.law).__name__
    with torch.enable_grad():
        v = problem.potentials(problem.space.coefficients(minimum.x), minimum.multipliers).detach()
        way = askew(v)
        v = (v + ASIDE * way.flip(0)).requires_grad_()
        value = law(problem.structure, v)
        value = value.sum() if isinstance(law, GrandPotential) else (value * way.flip(0)).sum()
        seen = slope(value, v)

    def at(t: float) -> Tensor:
        found = law(problem.structure, v.detach() + t * way)
        return found.sum() if isinstance(law, GrandPotential) else (found * way.flip(0)).sum()

    _compare(name, "derivative by potentials, as torch sees it,", (seen * way).sum(), _difference(at))


def _difference(along: Callable[[float], Tensor]) -> Tensor:
    """By two steps of different size; NaN where they do not agree, or rounding may have made it."""
    ends = [[along(sign * k * STEP).detach().double() for sign in (1, -1)] for k in (1, 2)]
    one, two = ((up - down) / (2 * k * STEP) for k, (up, down) in zip((1, 2), ends, strict=True))
    found, noise = (4 * one - two) / 3, ROUNDING * ends[0][0].abs().max() / STEP
    known = (one - two).abs() <= 3 * OFF * (1e-3 + one.abs().max()), noise <= OFF * (1e-3 + found.abs().max())
    return torch.where(known[0] & known[1], found, torch.nan)


def _compare(who: str, what: str, got: Tensor, expected: Tensor) -> None:
    if not finite(expected):
        return  # a kink, a step out of where it is defined, or numbers of few digits
    off = float((got.detach() - expected).abs().max())
    if not off <= OFF * (1e-3 + float(expected.abs().max())):
        raise ValueError(
            f"the {what} of `{who}` must be that of its energy, got one that is off by {off:.1e} of "
            f"{float(expected.abs().max()):.1e} near the solution: leave numpy, detach() and item() out, and in a term leave "
            "it to be derived; see cgdft.check_term"
        )
