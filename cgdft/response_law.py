"""What answers to a potential: a law from potentials to densities, and the ansatz whose densities are its answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from cgdft.ansatz import Ansatz, Free
from cgdft.space import Space

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.constraint import Constraint
    from cgdft.functional import Functional
    from cgdft.problems.problem import Problem
    from cgdft.structure import Structure


class ResponseLaw(nn.Module, ABC):
    """p = F(R, v): the coefficients that answer to the potentials conjugate to them. A subclass says it by `forward`."""

    @abstractmethod
    def forward(self, structure: Structure, v: Float[Tensor, "n_atoms size"]) -> Float[Tensor, "n_atoms size"]:
        """p, (n_atoms, size), differentiable by v (hartree / e bohr^l) and positions."""


class GrandPotential(nn.Module, ABC):
    """Omega_s(R, v): the energy of what answers, without Coulomb interaction, in given potentials; p = dOmega_s/dv.

    It is concave in v, and dual to the functional G(p) = max over v of Omega_s(v) - v.p.
    """

    @abstractmethod
    def forward(self, structure: Structure, v: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_structures"]:
        """Omega_s of each structure, (n_structures,), hartree, twice differentiable by v."""


class Response(Ansatz):
    """p = F(R, v[p]): the density is what the potential makes of it, and makes the potential.

    In a `Model` with it, the functional is what makes potentials (v = dE/dp: Hartree and external terms), and `readout` is the
    energy. Of a `GrandPotential` the energy is known, G(p) + E(p), and no readout is needed: then forces and stress are those
    of a minimum of it.

    Args:
        law: F, or the grand potential of which it is the derivative.
        steps: so many answers, the first to no density at all, in place of self-consistency; each with the charges asked for.
    """

    def __init__(self, law: ResponseLaw | GrandPotential, steps: int | None = None) -> None:
        super().__init__()
        if not isinstance(law, ResponseLaw | GrandPotential):
            raise TypeError(f"`law` must be a ResponseLaw or a GrandPotential, got {law!r}")
        if steps is not None and steps < 1:
            raise ValueError(f"`steps` must be at least 1, or None for self-consistency, got {steps!r}")
        self.law, self.steps = law, steps

    def prepare(self, structure: Structure, basis: Multipoles) -> Space:
        """Every coefficient, as an input."""
        return Free().prepare(structure, basis)

    def problem(
        self,
        structure: Structure,
        basis: Multipoles,
        functional: Functional,
        constraints: list[Constraint],
        readout: Functional | None,
    ) -> Problem:
        """The self-consistency of input and output, or so many answers."""
        from cgdft.problems.recursion import Recursion
        from cgdft.problems.self_consistency import SelfConsistency

        kind = SelfConsistency if self.steps is None else Recursion
        return kind(structure, basis, functional, self, constraints, readout)
