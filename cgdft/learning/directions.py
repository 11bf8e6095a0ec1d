"""Local terms that know directions of the environment: dipoles turned to one side, and charges off their centres."""

from __future__ import annotations

from abc import ABC

from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.learning.environment import Environment
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.structure import Structure
from cgdft.terms import Term


class _Directed(Term, ABC):
    """A term with a vector v(h_i) = scale A h_i of each atom's environment, equivariant, as its parameter."""

    quadratic = True
    local = True
    convex = True

    def __init__(self, environment: Environment, scale: float) -> None:
        super().__init__()
        self.environment, self.scale = environment, scale
        self.vector = o3.Linear(environment.irreps, o3.Irreps("1x1o")).to(environment.precision)

    def of_structure(self, structure: Structure) -> Float[Tensor, "n_atoms 3"]:
        """v of every atom, (n_atoms, 3)."""
        h = self.environment(structure)
        found: Tensor = self.scale * self.vector(h.to(self.vector.weight.dtype)).double()
        return found


class DipoleElectronegativity(_Directed):
    """E = -sum_i f(h_i) . d_i, f a vector of the environment: hartree / (e bohr), zero where the environment has no side.

    Args:
        environment: of the atoms, with vectors among its features.
        scale: of f before training.
    """

    def __init__(self, environment: Environment, scale: float = 0.02) -> None:
        super().__init__(environment, scale)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        return -rho.total((self.known(rho) * rho.dipoles).sum(1))


class OffCentre(_Directed):
    """E = 1/2 sum_i eta_i |d_i - a(h_i) q_i|^2: an inverse polarizability of dipoles about charges that sit at a(h_i), bohr.

    Args:
        eta: 1 / bohr^3, > 0, a head or any other parameter.
        environment: of the atoms, with vectors among its features.
        scale: of a before training, bohr.
    """

    def __init__(self, eta: ParameterLike, environment: Environment, scale: float = 0.1) -> None:
        super().__init__(environment, scale)
        self.eta = AtomParameter(eta, "eta", positive=True)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        away = rho.dipoles - self.known(rho) * rho.charges[:, None]
        return rho.total(0.5 * self.eta(rho.structure) * (away * away).sum(1))
