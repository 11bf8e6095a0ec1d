"""A local functional that need not be quadratic and is convex by construction, whatever its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.learning.environment import Environment
from cgdft.learning.heads import perceptron, positive, softplus
from cgdft.structure import Structure
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles


class ConvexLocal(Term):
    """E = sum_i s sum_k a_k [softplus(w_k q_i / s_q + v_k r_i + b_k) - softplus(b_k) - sigmoid(b_k) w_k q_i / s_q] / n,

    r_i = sqrt(1 + |d_i|^2 / s_d^2) - 1, with a_k > 0, v_k > 0, w_k of either sign and b_k functions of the environment.
    Softplus is convex and rises, r is convex: E is convex in (q, d), whatever the weights; at q = 0, d = 0 it has no slope.

    Args:
        environment: of the atoms.
        units: n, number of k.
        scale: s, hartree.
        charge, dipole: s_q and s_d, e and e bohr, over which it bends.
    """

    local = True
    convex = True
    sign: Tensor

    def __init__(
        self, environment: Environment, units: int = 8, scale: float = 0.1, charge: float = 0.5, dipole: float = 0.5
    ) -> None:
        super().__init__()
        self.environment, self.units, self.scale, self.charge, self.dipole = environment, units, scale, charge, dipole
        self.heads = perceptron(environment, 4 * units)
        sign = torch.ones(units, dtype=torch.float64)
        sign[1::2] = -1.0
        self.register_buffer("sign", sign)
        self._known: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The same term with its parameters on this structure kept."""
        prepared = copy.copy(self)
        prepared._known = self._parameters_of(structure)
        return prepared

    def _parameters_of(self, structure: Structure) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, w, v, b = self.heads(self.environment(structure)).chunk(4, 1)
        return self.scale * positive(a) / self.units, self.sign * positive(w), positive(v), b

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """(n_structures,), hartree."""
        a, w, v, b = self._parameters_of(rho.structure) if self._known is None else self._known
        q = rho.charges[:, None] / self.charge
        d2 = (rho.dipoles**2).sum(1, keepdim=True) / self.dipole**2
        r = d2 / (1 + (1 + d2).sqrt())
        bend = softplus(w * q + v * r + b) - softplus(b) - torch.sigmoid(b) * w * q
        return rho.total((a * bend).sum(1))
