"""Local terms that know directions of the environment: dipoles turned to one side, and charges off their centres."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.learning.environment import Environment
from cgdft.memo import once
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.structure import Structure
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles


class _Directed(Term, ABC):
    """A term with a vector v(h_i) = scale A h_i of each atom's environment, equivariant, as its parameter."""

    quadratic = True
    local = True
    convex = True

    def __init__(self, environment: Environment, scale: float) -> None:
        super().__init__()
        self.environment, self.scale = environment, scale
        self.vector = o3.Linear(environment.irreps, o3.Irreps("1x1o")).to(environment.precision)
        self._known: Tensor | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with its parameters on this structure kept."""
        prepared = super().prepare(structure, basis)
        assert isinstance(prepared, _Directed)
        prepared._known = once(self, structure, lambda: self._vectors(structure))
        return prepared

    def _vectors(self, structure: Structure) -> Float[Tensor, "n_atoms 3"]:
        if self._known is not None:
            return self._known
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
        return -rho.total((self._vectors(rho.structure) * rho.dipoles).sum(1))


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
        away = rho.dipoles - self._vectors(rho.structure) * rho.charges[:, None]
        return rho.total(0.5 * self.eta(rho.structure) * (away * away).sum(1))
