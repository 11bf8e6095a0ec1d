"""Whether terms are what they declare to be, seen at a solution: solvers rely on it, and nothing else would show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cgdft.density import Density
from cgdft.foreign import is_foreign
from cgdft.slopes import askew, slope
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.functional import Functional
    from cgdft.problems.minimisation import Minimisation
    from cgdft.problems.problem import Problem

#: Coefficients of a structure up to which the whole Hessian of a term is looked at.
FEW = 100
#: By l.
SHELLS = ("charges", "dipoles", "quadrupoles")


def check_declared(problem: Problem, x: Tensor) -> None:
    """Raise a ValueError that names a term declared local, quadratic or convex that, seen at x (n_x,), is not, or hides.

    Derivatives of their own that users state are looked at in `stated`.
    """
    rho = problem.density(x)
    wrong = problem.harmonic.misses(rho)
    if wrong is not None:
        raise ValueError(_not_local(wrong) if couples_atoms(wrong, rho) else _not_quadratic(wrong))
    for term in (*problem.functional, *(problem.readout or ())):
        if is_foreign(term) and (lacking := lacks(term, rho)):
            raise ValueError(
                f"`{term.name}` must be of multipoles that the basis has, got one of {' and '.join(lacking)} alone, which "
                f"Multipoles(lmax={rho.basis.lmax}{', spin=True' if rho.basis.spin else ''}) has not: give the model a basis "
                "with them, or leave the term out"
            )
    for term in problem.readout or ():
        if type(term).gradient is Term.gradient and hides(term, rho):
            raise ValueError(_hidden(term))
    for term in problem.functional:
        plain = type(term).gradient is Term.gradient and not (term.local and term.quadratic)
        if plain and hides(term, rho):
            raise ValueError(_hidden(term))
        if term.local and not term.quadratic and type(term).blocks is Term.blocks and couples_atoms(term, rho):
            raise ValueError(_not_local(term))
        if term.convex and not (term.quadratic and not is_foreign(term)) and bends_down(term, rho):
            raise ValueError(
                f"`{term.name}` is declared convex, but bends downwards where the solver ended, which may be no minimum: leave "
                "convex=True out, or see cgdft.check_term"
            )


class Asked(Density):
    """A density that knows what was asked of it that its basis has not."""

    def shell(self, l: int) -> Tensor:  # noqa: E741
        """As that of any density."""
        if self.basis.lmax < l:
            vars(self).setdefault("lacking", {})[SHELLS[l]] = None
        return super().shell(l)

    @property
    def magnetisation(self) -> Tensor:
        """As that of any density."""
        if not self.basis.spin:
            vars(self).setdefault("lacking", {})["spin"] = None
        return super().magnetisation


def lacks(term: Term, rho: Density) -> list[str]:
    """What the basis has not, of a term that asks for it and, so far as autograd sees, depends on nothing else."""
    with torch.enable_grad():
        asked = Asked(rho.structure, rho.basis, rho.coefficients.detach().clone().requires_grad_(), rho.crossed)
        unseen = _unseen(term.energy(asked).sum(), asked.coefficients)
    return list(vars(asked).get("lacking", ())) if unseen else []


def _unseen(energy: Tensor, p: Tensor) -> bool:
    return not energy.requires_grad or torch.autograd.grad(energy, p, allow_unused=True)[0] is None


def hides(term: Term, rho: Density) -> bool:
    """Whether a term's energy changes with the density where autograd sees no dependence."""
    p = rho.coefficients.detach()
    with torch.enable_grad():
        seen = p.clone().requires_grad_()
        energy = term.energy(rho.at(seen)).sum()
        if not _unseen(energy, seen):
            return False
    moved = p + 0.1 * askew(p)
    change = term.energy(rho.at(moved)).sum() - energy.detach()
    return bool(change.abs() > 1e-10 * (1 + energy.detach().abs()))


def bends_down(term: Term, rho: Density) -> bool:
    """Whether a term's energy has negative curvature at a density; in large structures, if it couples atoms, along one way."""
    if term.local or (term.has_matrix and rho.basis.size * int(rho.structure.counts.max()) <= FEW):
        values = torch.linalg.eigvalsh(term.blocks(rho) if term.local else term.hessian(rho))
        return bool((values < -1e-8 * (1e-6 + values.abs().max())).any())
    v = askew(rho.coefficients)
    bent = term.curvature(rho)(v)
    return bool((v * bent).sum() < -1e-8 * (1e-6 + v.norm() * bent.norm()))


def check_charge(functional: Functional, problem: Problem, x: Tensor) -> None:
    """Raise a ValueError that names a user's term of the structure's total charge where a potential is given instead.

    It would see another charge than the one that is found.
    """
    if not problem.held:
        return
    with torch.enable_grad():
        charge = (problem.structure.charge.detach() + 0.1).requires_grad_()
        structure = problem.structure.charged(charge)
        for term in functional:
            if not is_foreign(term):
                continue
            energy = term.prepare(structure, problem.basis).energy(
                Density(structure, problem.basis, problem.density(x).coefficients)
            )
            if slope(energy, charge).any():
                raise ValueError(
                    f"`{term.name}` must not depend on structure.charge where charges are at a given potential, which finds "
                    "their sum: take rho.total(rho.charges)"
                )


def check_quadratic(problem: Minimisation, x: Tensor) -> None:
    """Raise a ValueError that names a term that couples atoms, is declared quadratic and, seen at x (n_x,), is not."""
    rho = problem.density(x)
    nothing = problem.nothing
    for term in problem.functional:
        if term.local or not term.quadratic:
            continue
        start, slope = term.gradient(nothing), term.gradient(rho)
        bent = term.curvature(nothing)(rho.coefficients)
        if not torch.allclose(slope - start, bent, rtol=1e-4, atol=1e-6 * float(slope.abs().max()) + 1e-12):
            raise ValueError(_not_quadratic(term))


def couples_atoms(term: Term, rho: Density) -> bool:
    """Whether the second derivatives of a term's energy couple atoms at a density, seen by autograd along one direction.

    Of a term that is local, H (w v) = w H v for a weight w of each atom.
    """
    with torch.enable_grad():
        p = rho.coefficients.detach().requires_grad_()
        gradient = slope(term.energy(rho.at(p)), p, graph=True)
    weight = torch.linspace(1.0, 2.0, len(p), dtype=p.dtype, device=p.device)[:, None]
    v = askew(p)
    both = [slope(gradient, p, one, keep=True) for one in (v, weight * v)]
    return not bool(((both[1] - weight * both[0]).abs() <= 1e-8 * (1.0 + both[0].abs().max())).all())


def _hidden(term: Term) -> str:
    return (
        f"`{term.name}` must be seen by torch, got an energy that changes with the density without a derivative: leave numpy, "
        "detach() and item() out"
    )


def _not_local(term: Term) -> str:
    return (
        f"`{term.name}` is declared local, but its second derivatives couple atoms: leave local=True out, or see "
        "cgdft.check_term"
    )


def _not_quadratic(term: Term) -> str:
    return (
        f"`{term.name}` is declared quadratic, but its second derivatives change with the density: leave quadratic=True out, "
        "or see cgdft.check_term"
    )
