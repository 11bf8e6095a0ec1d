"""Local terms that know directions of the environment: dipoles turned to one side, and charges off their centres."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from e3nn import o3
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.learning.environment import Environment
from cgdft.parameter import AtomParameter, ParameterLike
from cgdft.structure import Structure
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles


class DipoleElectronegativity(Term):
    """E = -sum_i f(h_i) . d_i, f a vector of the environment: hartree / (e bohr), zero where the environment has no side.

    Args:
        environment: of the atoms, with vectors among its features.
        scale: of f before training.
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, environment: Environment, scale: float = 0.02) -> None:
        super().__init__()
        self.environment, self.scale = environment, scale
        weight = next(environment.parameters())
        self.vector = o3.Linear(environment.irreps, o3.Irreps("1x1o")).to(weight.dtype)
        self._known: Tensor | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with f on this structure kept."""
        prepared = copy.copy(self)
        prepared._known = self._force(structure)
        return prepared

    def _force(self, structure: Structure) -> Tensor:
        h = self.environment(structure)
        found: Tensor = self.scale * self.vector(h.to(self.vector.weight.dtype)).double()
        return found

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        force = self._force(rho.structure) if self._known is None else self._known
        return -rho.total((force * rho.dipoles).sum(1))


class OffCentre(Term):
    """E = 1/2 sum_i eta_i |d_i - a(h_i) q_i|^2: an inverse polarizability of dipoles about charges that sit at a(h_i), bohr.

    Args:
        eta: 1 / bohr^3, > 0, a head or any other parameter.
        environment: of the atoms, with vectors among its features.
        scale: of a before training, bohr.
    """

    quadratic = True
    local = True
    convex = True

    def __init__(self, eta: ParameterLike, environment: Environment, scale: float = 0.1) -> None:
        super().__init__()
        self.eta = AtomParameter(eta, "eta", positive=True)
        self.environment, self.scale = environment, scale
        self.vector = o3.Linear(environment.irreps, o3.Irreps("1x1o")).to(next(environment.parameters()).dtype)
        self._known: Tensor | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with eta and a on this structure kept."""
        prepared = super().prepare(structure, basis)
        assert isinstance(prepared, OffCentre)
        prepared._known = self._centre(structure)
        return prepared

    def _centre(self, structure: Structure) -> Tensor:
        h = self.environment(structure)
        found: Tensor = self.scale * self.vector(h.to(self.vector.weight.dtype)).double()
        return found

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        centre = self._centre(rho.structure) if self._known is None else self._known
        away = rho.dipoles - centre * rho.charges[:, None]
        return rho.total(0.5 * self.eta(rho.structure) * (away * away).sum(1))
